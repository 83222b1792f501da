# SPDX-License-Identifier: Apache-2.0
"""The verdict on a run: what is judged, against which bounds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from soak.samples import quantile
from soak.verdict import UNHEALTHY, Check, first_of

PAGE_GIVES_UP = 15.0  # seconds: six attempts of Superset up to 6.1, 2.5 s apart


class Wave(NamedTuple):
    """What the end of an instance did.

    :ivar what: the instance and the signal.
    :ivar stop: seconds from the signal to the end of its processes.
    :ivar start: seconds from its new beginning until /ready says 200.
    :ivar seconds: from the signal until the last socket was open again.
    :ivar away: seconds for which each socket was away, ascending.
    :ivar latencies: milliseconds, of live events meanwhile, ascending.
    :ivar cores: part → cores in use, on average and in the busiest half second.
    """

    what: str
    stop: float
    start: float
    seconds: float
    away: Sequence[float]
    latencies: Sequence[float]
    cores: Mapping[str, tuple[float, float]]


class Outcome(NamedTuple):
    """What is left of a run to judge.

    :ivar sockets: tabs.
    :ivar greeted: whether all had got their first event before anything happened.
    :ivar gave_up: tabs that failed too often in a row.
    :ivar published: events of both transports.
    :ivar problems: kind → tab and event of each.
    :ivar calm: cores in use before the first wave, as in `Wave`.
    :ivar calm_latencies: likewise.
    :ivar memory: part → MiB, with all sockets open; `kernel` is what these took there.
    :ivar bare: part → MiB without any socket.
    :ivar opening: seconds until all sockets were open.
    :ivar log: all that the instances have written.
    :ivar exit_codes: of all instances that were told to stop.
    """

    sockets: int
    greeted: bool
    gave_up: int
    published: int
    delivered: int
    problems: Mapping[str, Sequence[str]]
    waves: Sequence[Wave]
    calm: Mapping[str, tuple[float, float]]
    calm_latencies: Sequence[float]
    memory: Mapping[str, float]
    bare: Mapping[str, float]
    opening: float
    log: str
    exit_codes: Sequence[int]


def verdict(outcome: Outcome) -> list[Check]:
    """All checks."""
    nothing = [
        Check(kind.replace("_", " "), not found, first_of(found))
        for kind, found in outcome.problems.items()
    ]
    unhealthy = [word for word in UNHEALTHY if word in outcome.log]
    longest = max((quantile(wave.away, 1.0) for wave in outcome.waves if wave.away), default=0.0)
    idle = [wave.what for wave in outcome.waves if not wave.away]
    failed = [str(code) for code in outcome.exit_codes if code]
    return [
        *nothing,
        Check(
            "every tab had its first event, and more came",
            outcome.greeted and outcome.delivered > outcome.sockets,
            f"{outcome.delivered:,} deliveries to {outcome.sockets:,} tabs",
        ),
        Check("each end of an instance moved sockets", not idle, first_of(idle)),
        Check("no page gave up", not outcome.gave_up, f"{outcome.gave_up:,}"),
        Check(
            "nobody was away for as long as a page waits",
            longest < PAGE_GIVES_UP,
            f"{longest:.1f} s at most, {PAGE_GIVES_UP:g} allowed",
        ),
        Check("the logs have no tracebacks", not unhealthy, first_of(unhealthy)),
        Check("instances stop when told to", not failed, first_of(failed)),
    ]
