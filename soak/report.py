# SPDX-License-Identifier: Apache-2.0
"""The verdict as text, and a run as a file from which its picture can be drawn again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.table import replace_block
from soak.plan import Fault
from soak.samples import COLUMNS, Sample, row
from soak.verdict import Check, Outcome

MARKS = {True: "ok", False: "FAILED", None: "–"}
EVERY = 15  # samples between two that are shown


def progress(happened: Sample | Fault) -> str:
    """A line while it goes on; nothing for most samples."""
    if isinstance(happened, Fault):
        return f"{happened.at:6.0f} s  {happened.kind}"
    if round(happened.at) % EVERY:
        return ""
    return (
        f"{happened.at:6.0f} s  {happened.sockets} sockets, {happened.events:.0f} events/s, "
        f"p50 {happened.p50:.1f} ms, p99 {happened.p99:.1f} ms, {happened.pss:.1f} MiB, "
        f"{happened.descriptors} descriptors, {happened.client_cpu:.0%} of a core for the clients"
    )


def summary(outcome: Outcome) -> Iterator[str]:
    """What has happened, in figures."""
    faults = Counter(fault.kind for fault in outcome.faults)
    peak = max((sample.sockets for sample in outcome.samples), default=0)
    yield f"seed {outcome.plan.seed}, {outcome.plan.seconds / 60:g} minutes"
    yield (
        f"{outcome.tabs:,} tabs, up to {peak:,} at once, {outcome.events:,} events, "
        f"{outcome.happened['delivered']:,} deliveries"
    )
    of_pages = outcome.happened_to_pages
    yield (
        f"{outcome.pages:,} tabs of Superset 7, {of_pages['published']:,} messages, "
        f"{of_pages['delivered']:,} deliveries"
    )
    yield f"{len(outcome.faults)} faults: {_counted(faults)}"
    yield _counted(outcome.happened)
    yield f"of Superset 7: {_counted(of_pages)}"


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """The verdict."""
    for check in checks:
        yield f"{MARKS[check.passed]:6s}  {check.name}: {check.figures}"
    failed = sum(check.passed is False for check in checks)
    yield f"verdict: {failed} of {len(checks)} FAILED" if failed else "verdict: ok"


def save(path: Path, where: dict[str, Any], outcome: Outcome, checks: Sequence[Check]) -> None:
    """Write it as JSON, a sample to a line."""
    head = where | {
        "name": "soak",
        "seed": outcome.plan.seed,
        "seconds": outcome.plan.seconds,
        "judged_from_s": outcome.plan.judged_from,
        "verdict": [check._asdict() for check in checks],
        "columns": COLUMNS,
    }
    faults = [[fault.kind, round(fault.begin, 1), round(fault.end, 1)] for fault in outcome.faults]
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    text += f',\n "faults": {_a_line_each(faults)}'
    text += f',\n "samples": {_a_line_each([row(sample) for sample in outcome.samples])}\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def document(page: Path, where: dict[str, Any], outcome: Outcome, checks: Sequence[Check]) -> None:
    """Write the run into its page."""
    machine = where["machine"]
    run, tabs, pages, faults, *_ = summary(outcome)
    text = (
        f"Recorded {where['date'][:10]} at revision {where['revision']}, {machine['cores']} cores "
        f"of {machine['cpu']}: {run}; {tabs}; {pages}; {faults}.\n\n"
        "| verdict | | |\n|---|---|---|\n"
    )
    text += "".join(f"| {c.name} | {MARKS[c.passed]} | {c.figures} |\n" for c in checks)
    replace_block(page, "soak", text)


def _a_line_each(rows: Sequence[Any]) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(each) for each in rows) + "\n ]"


def _counted(happened: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in sorted(happened.items()))
