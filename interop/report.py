# SPDX-License-Identifier: Apache-2.0
"""The verdict as a line, as a file, and as the table of docs/interop.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.table import replace_block
from interop.environment import Environment
from testbed.servers import ROOT

RESULTS = ROOT / "interop" / "results"
PAGE = ROOT / "docs" / "interop.md"
KEPT_PICTURES = ROOT / "docs" / "interop"
# What the browser and Superset speak with; the rest stands in the lock file.
PARTS = ("apache-superset", "celery", "flask", "pyjwt", "redis")


class Result(NamedTuple):
    """What came of a scenario."""

    name: str
    passed: bool
    figures: dict[str, int]
    reason: str = ""  # of a failure


def line(result: Result) -> str:
    """For the terminal."""
    told = _listed(result.figures) or result.reason
    return f"{'ok' if result.passed else 'FAILED':6s}  {result.name}: {told}"


def save(
    where: dict[str, Any],
    environment: Environment,
    browser: str,
    results: Sequence[Result],
    pictures: Path,
) -> None:
    """Keep a run: the record, the pictures, the table of its release in the page."""
    installed = dict(each.split("==") for each in environment.frozen().split() if "==" in each)
    versions = {name: installed[name] for name in PARTS}
    RESULTS.mkdir(exist_ok=True)
    whole = where | {
        "superset": versions,
        "browser": browser,
        "results": [result._asdict() for result in results],
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    (RESULTS / f"superset-{environment.version}.json").write_text(text + "\n", encoding="utf-8")
    KEPT_PICTURES.mkdir(exist_ok=True)
    for picture in pictures.glob(f"superset-{environment.version}-*.png"):
        shutil.copy(picture, KEPT_PICTURES)
    replace_block(
        PAGE,
        f"superset-{environment.version}",
        table(where, f"{_listed(versions)}; {browser}", results),
    )


def table(where: dict[str, Any], parts: str, results: Sequence[Result]) -> str:
    """What the page says of a run."""
    names = list(next((result.figures for result in results if result.figures), {}))
    rows = [f"| scenario | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
    for result in results:
        cells = [str(result.figures[name]) for name in names] if result.passed else ["FAILED"]
        rows.append(f"| {result.name} | {' | '.join(cells)} |")
    head = f"Recorded {where['date'][:10]} at revision {where['revision']}: {parts}."
    return "\n".join([head, "", *rows, ""])


def _listed(named: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {each}" for name, each in named.items())
