# SPDX-License-Identifier: Apache-2.0
"""The real Superset, a real browser and this server: whether charts are drawn by our events.

The exit status is 0 when every scenario has passed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from bench import record
from interop import report, scenarios
from interop.browser import version as version_of_browser
from interop.environment import BUILD, VERSIONS, Environment
from interop.report import Result
from interop.scenarios import Scenario, World
from interop.stack import Stack
from testbed.browser import chromium

PICTURES = BUILD / "pictures"


@click.command(help=__doc__)
@click.argument("versions", nargs=-1, metavar="[VERSION]…")
@click.option("-k", "chosen", default="", help="Only scenarios whose name has this.")
@click.option("--save/--no-save", "keep", default=False, help="Keep it, for docs/interop.md.")
def main(versions: tuple[str, ...], chosen: str, keep: bool) -> None:
    every = (*scenarios.ON_TWO_PORTS, *scenarios.BEHIND_NGINX)
    if not _wanted(every, chosen):
        raise click.UsageError(f"no scenario's name has {chosen!r}")
    if chosen and keep:
        raise click.UsageError("--save is for whole runs")
    # Also then everything that runs is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    where = record.surroundings()
    passed = True
    for version in versions or VERSIONS:
        environment = Environment(version)
        environment.install()
        results = _run(environment, chosen)
        passed &= all(result.passed for result in results)
        if keep:
            report.save(where, environment, version_of_browser(), results, PICTURES)
    sys.exit(not passed)


def _run(environment: Environment, chosen: str) -> list[Result]:
    click.echo(f"Superset {environment.version}")
    home = Path(tempfile.mkdtemp(prefix="interop-"))
    results = []
    logs = BUILD / f"logs-{environment.version}"
    try:
        with contextlib.closing(Stack(environment, home)) as stack, chromium() as browser:
            stack.start()
            world = World(stack, browser, PICTURES)
            stack.serve_directly()
            results += [_judge(each, world) for each in _wanted(scenarios.ON_TWO_PORTS, chosen)]
            wanted = _wanted(scenarios.BEHIND_NGINX, chosen)
            if wanted:
                stack.serve_through_nginx()
            results += [_judge(each, world) for each in wanted]
    finally:
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(home, logs, ignore=_all_but_logs)
        shutil.rmtree(home, ignore_errors=True)
    click.echo(f"logs: {logs}")
    return results


def _wanted(every: tuple[Scenario, ...], chosen: str) -> list[Scenario]:
    return [scenario for scenario in every if chosen in scenario.__name__]


def _judge(scenario: Scenario, world: World) -> Result:
    """Run it; whatever goes wrong in it is its failure, and the next one is run all the same."""
    name = str(scenario.__doc__)
    try:
        result = Result(name, True, scenario(world))
    except Exception as error:
        result = Result(name, False, {}, f"{type(error).__name__}: {error}")
    click.echo(report.line(result))
    return result


def _all_but_logs(directory: str, names: list[str]) -> set[str]:
    return {n for n in names if not n.endswith(".log") and not os.path.isdir(f"{directory}/{n}")}


if __name__ == "__main__":
    main()
