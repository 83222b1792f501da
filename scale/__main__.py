# SPDX-License-Identifier: Apache-2.0
"""Several instances behind HAProxy, restarted one after the other under load; one is killed too.

The exit status is 0 when no event was lost, repeated, out of order or somebody else's, and no page
had to give up; 1 otherwise.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path

import click

from bench import record
from bench.table import replace_block
from scale import haproxy
from scale.plan import Plan
from scale.report import figures, summary, table
from scale.run import Run
from scale.verdict import verdict
from soak.report import lines
from testbed.servers import ROOT

BUILD = ROOT / "build" / "scale"
PAGE = ROOT / "docs" / "scaling.md"


@click.command(help=__doc__)
@click.option("--instances", default=Plan.instances, help="Servers behind the proxy.")
@click.option("--workers", default=Plan.workers, help="Of each instance.")
@click.option("--sockets", default=Plan.sockets, help="Tabs in all.")
@click.option("--rate", default=Plan.rate, help="Events per second.")
@click.option("--pages", default=Plan.pages, help="Share of the tabs that are Superset 7's.")
@click.option(
    "--save/--no-save", "keep", default=False, help="Keep the result, for docs/scaling.md."
)
def main(instances: int, workers: int, sockets: int, rate: float, pages: float, keep: bool) -> None:
    if haproxy.executable() is None:
        raise click.ClickException("no HAProxy found (on Debian: apt-get install haproxy)")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = Plan(instances, workers, sockets, rate, pages, descriptors=hard, restarts=instances)
    where = record.surroundings()
    with tempfile.TemporaryDirectory(prefix="scale-") as directory:
        outcome = Run(plan, Path(directory), click.echo).run()
    checks = verdict(outcome)
    result = {"name": "scale"} | where | figures(plan, outcome, checks)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "scale.json").write_text(json.dumps(result, indent=1) + "\n")
    (BUILD / "server.log").write_text(outcome.log, encoding="utf-8")
    for line in summary(result):
        click.echo(line)
    if keep:
        click.echo(record.save("scale", where, figures(plan, outcome, checks)))
        replace_block(PAGE, "scale", table(result))
    for line in lines(checks):
        click.echo(line)
    sys.exit(any(check.passed is False for check in checks))


if __name__ == "__main__":  # the client processes import it, too
    main()
