# SPDX-License-Identifier: Apache-2.0
"""The command line: `run` and `curves` measure, `plot` and `table` write docs/performance."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from bench import cases, peers, realtime, record
from bench.curves import CURVES
from bench.readers import READERS, by_readers
from wsgi_ws.transport import Transport

CASES = cases.CASES | realtime.CASES
COMPARED = cases.COMPARED | realtime.COMPARED


@click.group(help=__doc__)
def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@main.command()
@click.argument("names", nargs=-1, metavar="[CASES]...")
@click.option("--repeat", default=1, help="Runs of each case.")
@click.option("--save/--no-save", default=True, help="Keep the results in bench/results.")
def run(names: Sequence[str], repeat: int, save: bool) -> None:
    """Measure CASES, or all of them."""
    chosen = _chosen(names, CASES)
    where = record.surroundings()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for _ in range(repeat):  # in rounds: a disturbance then hits one run of a case, not all
        for name in chosen:
            figures = _checked(name, CASES[name]())
            runs[name].append(figures)
            _show(name, figures)
    if save:
        click.echo(record.save("cases", where, {"cases": _with_older("cases", runs, where)}))


@main.command()
@click.argument("names", nargs=-1, metavar="[CURVES]...")
@click.option("--save/--no-save", default=True, help="Keep the results in bench/results.")
def curves(names: Sequence[str], save: bool) -> None:
    """Measure CURVES, or all of them."""
    where = record.surroundings()
    points: dict[str, list[dict[str, Any]]] = {}
    for name in _chosen(names, CURVES):
        start = time.monotonic()
        points[name] = list(_shown(name, CURVES[name]()))
        click.echo(f"{name} took {time.monotonic() - start:.0f} s")
    if save:
        click.echo(record.save("curves", where, {"curves": _with_older("curves", points, where)}))


@main.command()
@click.argument("names", nargs=-1, metavar="[CASES]...")
@click.option("--rounds", default=5, help="Runs of each case at each server, in turn.")
@click.option("--save/--no-save", default=True, help="Keep the results in bench/results.")
def compare(names: Sequence[str], rounds: int, save: bool) -> None:
    """Measure CASES beside other servers that are found here: see bench/peers.py."""
    chosen = _chosen(names, COMPARED)
    try:
        others = list(peers.found())
    except peers.PeerNotFound as error:
        raise click.ClickException(str(error)) from None
    where = record.surroundings()
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in chosen}
    for _ in range(rounds):
        for name in chosen:
            for server, peer in _asked(name, others).items():
                figures = record.rounded(COMPARED[name](peer=peer))
                runs[name].setdefault(server, []).append(figures)
                _show(f"{name} {server}", figures)
    if save:
        click.echo(record.save("peers", where, {"peers": runs}))


@main.command()
@click.argument("counts", nargs=-1, type=int, metavar="[COUNTS]...")
@click.option("--save/--no-save", default=True, help="Keep the results in bench/results.")
def readers(counts: Sequence[int], save: bool) -> None:
    """Measure what COUNTS of workers cost Redis, for docs/scaling.md."""
    where = record.surroundings()
    points: dict[str, list[dict[str, Any]]] = {}
    for point in by_readers(counts or READERS):
        figures = record.rounded(point)
        points.setdefault(str(point["readers"]), []).append(figures)
        click.echo("  ".join(f"{name} {value}" for name, value in figures.items()))
    if save:
        points = _with_older("readers", points, where)
        click.echo(record.save("readers", where, {"readers": points}))


@main.command()
def plot() -> None:
    """Draw the newest curves into docs/performance."""
    from bench.plots import draw  # matplotlib is only needed here

    for path in draw(record.newest("curves")["curves"]):
        click.echo(path)


@main.command()
def table() -> None:
    """Write the newest figures into docs/performance.md."""
    from bench.table import refresh

    click.echo(refresh())


def _chosen(names: Sequence[str], there: dict[str, Any]) -> list[str]:
    for name in names:
        if name not in there:
            raise click.BadParameter(f"{name} is none of {', '.join(there)}")
    return list(names or there)


def _asked(case: str, others: Sequence[peers.Peer]) -> dict[str, peers.Peer | None]:
    """This server, and the others that have the case's transport."""
    transport = Transport.REALTIME if case in realtime.COMPARED else Transport.STREAMS
    return {"here": None} | {peer.name: peer for peer in others if transport in peer.transports}


def _with_older(name: str, new: dict[str, Any], where: dict[str, Any]) -> dict[str, Any]:
    """What was measured earlier on the same day at the same revision stays."""
    try:
        older = record.newest(name)
    except FileNotFoundError:
        return new
    same = older["date"][:10] == where["date"][:10] and older["revision"] == where["revision"]
    return (older[name] if same else {}) | new


def _shown(name: str, points: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for point in points:
        figures = _checked(name, point)
        _show(name, figures)
        yield figures


def _checked(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Rounded.

    :raises RuntimeError: when clients have got less or more than was due: no figure counts then.
    """
    if figures.get("delivered") != figures.get("expected") or figures.get("refused"):
        raise RuntimeError(f"{name}: {figures}")
    return record.rounded(figures)


def _show(name: str, figures: dict[str, Any]) -> None:
    click.echo(f"{name:14s} " + "  ".join(f"{k} {v:g}" for k, v in figures.items()))


main()
