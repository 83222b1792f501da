# SPDX-License-Identifier: Apache-2.0
"""Churn, faults at random, growing and shrinking load on real servers; then a verdict.

The exit status is 0 when memory and descriptors are flat and nothing was lost, 1 otherwise.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import click

from bench import record
from soak.plan import Fault, Plan
from soak.report import document, lines, progress, save, summary
from soak.run import Soak
from soak.samples import Sample
from soak.verdict import verdict
from testbed.servers import ROOT

BUILD = ROOT / "build" / "soak"
PAGE = ROOT / "docs" / "reliability.md"
PICTURE = ROOT / "docs" / "reliability" / "soak.svg"


@click.command(help=__doc__)
@click.option("--minutes", default=20.0, help="How long.")
@click.option("--seed", type=int, help="Repeats a run's choices.")
@click.option("--sockets", default=(100, 1000), nargs=2, help="Fewest and most tabs.")
@click.option("--rate", default=(20.0, 500.0), nargs=2, help="Fewest and most events per second.")
@click.option("--port", default=0, help="The server's; Redis gets the next ones. 0: free ones.")
@click.option("--history-bytes", type=int, help="A worker's memory of the past.")
@click.option(
    "--save/--no-save", "keep", default=False, help="Keep the result, for docs/reliability.md."
)
def main(
    minutes: float,
    seed: int | None,
    sockets: tuple[int, int],
    rate: tuple[float, float],
    port: int,
    history_bytes: int | None,
    keep: bool,
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    plan = Plan(minutes * 60, seed, sockets, rate, history_bytes=history_bytes)
    click.echo(f"seed {seed}: repeat with --seed {seed} --minutes {minutes:g}")
    where = record.surroundings()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        outcome = Soak(plan, Path(directory), port).run(_show)
    checks = verdict(outcome)
    for line in summary(outcome):
        click.echo(line)
    result = BUILD / "soak.json"
    save(result, where, outcome, checks)
    (BUILD / "server.log").write_text(outcome.log, encoding="utf-8")
    click.echo(result)
    _draw(result, BUILD / "soak.svg")
    if keep:
        shutil.copy(result, record.RESULTS / f"{where['date'][:10]}-soak.json")
        _draw(result, PICTURE)
        document(PAGE, where, outcome, checks)
    for line in lines(checks):
        click.echo(line)
    sys.exit(any(check.passed is False for check in checks))


def _show(happened: Sample | Fault) -> None:
    line = progress(happened)
    if line:
        click.echo(line)


def _draw(result: Path, picture: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        click.echo("no picture: pip install -r requirements-bench.txt")
        return
    from soak.picture import draw  # matplotlib is only needed here

    draw(result, picture)
    click.echo(picture)


main()
