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

from wsgi_ws.cli.findings import Finding, Level, worst

_MARKS = {
    Level.GREEN: ("ok  ", "green"),
    Level.YELLOW: ("look", "yellow"),
    Level.RED: ("BAD ", "red"),
}
_WIDTH_OF_FILES = 100  # when the output is no terminal
_VALUE_WIDTH = 38


@dataclass(frozen=True, slots=True)
class Value:
    """One key of the configuration as it is shown."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a check has to say."""

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
            {"key": v.key, "value": v.value, "source": v.source} for v in report.configuration
        ],
        "findings": [
            {"level": f.level.name.lower(), "what": f.what, "sentence": f.sentence}
            for f in report.findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(report: Report, *, colours: bool, width: int) -> str:
    """For people: the configuration, then the findings, the worst at the end where eyes are."""
    lines = [*_configuration_lines(report.configuration), *_finding_lines(report, colours, width)]
    return "\n".join([*lines, "", _summary(report, colours)])


def show(report: Report, *, json_wanted: bool) -> None:
    """Write it to standard output."""
    if json_wanted:
        click.echo(as_json(report))
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH_OF_FILES
    text = as_text(report, colours=terminal and "NO_COLOR" not in os.environ, width=width)
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "replace").decode(encoding), color=terminal)


def _configuration_lines(values: Sequence[Value]) -> Iterator[str]:
    if not values:
        return
    key_width = max(len(value.key) for value in values)
    yield "Configuration"
    for value in values:
        shown = textwrap.shorten(value.value, _VALUE_WIDTH, placeholder="…")
        yield f"  {value.key:{key_width}}  {shown:{_VALUE_WIDTH}}  {value.source}".rstrip()
    yield ""


def _finding_lines(report: Report, colours: bool, width: int) -> Iterator[str]:
    what_width = max((len(f.what) for f in report.findings), default=0)
    indent = " " * (10 + what_width)
    yield "Findings"
    for finding in sorted(report.findings, key=lambda f: f.level):
        mark, colour = _MARKS[finding.level]
        shown = click.style(mark, fg=colour, bold=finding.level is Level.RED) if colours else mark
        text = textwrap.wrap(
            finding.sentence,
            max(width - len(indent), 40),
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield f"  {shown}  {finding.what:{what_width}}  {text[0]}"
        yield from (indent + line for line in text[1:])


def _summary(report: Report, colours: bool) -> str:
    counts = {level: sum(f.level is level for f in report.findings) for level in Level}
    text = (
        f"{counts[Level.RED]} wrong, {counts[Level.YELLOW]} to look at, {counts[Level.GREEN]} fine"
    )
    return click.style(text, fg=_MARKS[report.level][1], bold=True) if colours else text
