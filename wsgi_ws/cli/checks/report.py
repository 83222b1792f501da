# SPDX-License-Identifier: Apache-2.0
"""A check's report as text or JSON. Knows findings and values, not where they come from.

Colours only on a terminal that has not refused them (NO_COLOR).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from wsgi_ws.cli.checks.words import Finding, Level, worst
from wsgi_ws.config.set_by import Kind, SetBy

_MARKS = {
    Level.GREEN: ("ok  ", "green"),
    Level.YELLOW: ("look", "yellow"),
    Level.RED: ("BAD ", "red"),
}
_WIDTH_OF_FILES = 100  # when the output is no terminal
_VALUE_WIDTH = 38


@dataclass(frozen=True, slots=True)
class Value:
    """A key of the configuration as the report shows it."""

    key: str
    value: str
    source: SetBy

    @property
    def is_default(self) -> bool:
        return self.source.kind is Kind.DEFAULT


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a check."""

    configuration: Sequence[Value]
    findings: Sequence[Finding]

    @property
    def level(self) -> Level:
        return worst(self.findings)


def as_json(report: Report) -> str:
    """For programs."""
    document = {
        "level": report.level.name.lower(),
        "configuration": [
            {"key": v.key, "value": v.value, "source": "default" if v.is_default else str(v.source)}
            for v in report.configuration
        ],
        "findings": [
            {"level": f.level.name.lower(), "what": f.what, "sentence": f.sentence}
            for f in report.findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(report: Report, *, colours: bool, width: int) -> str:
    """For people: the configuration, then the findings, the worst at the end of the screen."""
    lines = [*_configuration_lines(report.configuration, width)]
    lines += _finding_lines(report, colours, width)
    return "\n".join([*lines, "", _summary(report, colours)])


def print_report(report: Report, *, json_wanted: bool) -> None:
    """Write it to standard output."""
    if json_wanted:
        click.echo(as_json(report))
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH_OF_FILES
    text = as_text(report, colours=terminal and "NO_COLOR" not in os.environ, width=width)
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "replace").decode(encoding), color=terminal)


def _configuration_lines(values: Sequence[Value], width: int) -> Iterator[str]:
    """A line for each key that somebody has set; then all defaults in one paragraph."""
    if not values:
        return
    chosen = [value for value in values if not value.is_default]
    key_width = max((len(value.key) for value in chosen), default=0)
    yield "Configuration"
    for value in chosen:
        shown = textwrap.shorten(value.value, _VALUE_WIDTH, placeholder="…")
        yield f"  {value.key:{key_width}}  {shown:{_VALUE_WIDTH}}  {value.source}".rstrip()
    defaults = " ".join(f"{v.key}={v.value}" for v in values if v.is_default)
    if defaults:
        yield from _wrapped(f"by default: {defaults}", "  ", "    ", width)
    yield ""


def _finding_lines(report: Report, colours: bool, width: int) -> Iterator[str]:
    what_width = max((len(f.what) for f in report.findings), default=0)
    indent = " " * (10 + what_width)
    yield "Findings"
    for finding in sorted(report.findings, key=lambda f: f.level):
        mark, colour = _MARKS[finding.level]
        shown = click.style(mark, fg=colour, bold=finding.level is Level.RED) if colours else mark
        first, *more = _wrapped(finding.sentence, "", "", width - len(indent))
        yield f"  {shown}  {finding.what:{what_width}}  {first}"
        yield from (indent + line for line in more)


def _wrapped(text: str, first: str, others: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(report: Report, colours: bool) -> str:
    counts = {level: sum(f.level is level for f in report.findings) for level in Level}
    text = (
        f"{counts[Level.RED]} wrong, {counts[Level.YELLOW]} to look at, {counts[Level.GREEN]} fine"
    )
    if counts[Level.RED] > 1:
        text += "; begin with the first that is wrong, the others may go with it"
    return click.style(text, fg=_MARKS[report.level][1], bold=True) if colours else text
