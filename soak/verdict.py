# SPDX-License-Identifier: Apache-2.0
"""The verdict on a soak: what is judged, against which bounds, and why these. Pure.

Nothing is judged by single samples. Waves are alike, so medians of whole waves are compared: what
differs between them is noise or growth.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from soak.plan import WAVES, Happened, Plan
from soak.samples import Sample

# MiB that all workers together may grow by from the first judged wave to the last: what is left of
# the allocator's steps. In twenty minutes a leak of 11 bytes per event or 120 per connection is
# more than that.
MEMORY_GROWTH = 4.0
# Descriptors of all workers without clients, from wave to wave: handshakes and refusals under way,
# connections to Redis that an outage has ended. Leaks come by the thousand.
DESCRIPTOR_SPREAD = 8
# How many more than before the first client each worker may have after the last one: the catch-up's
# connection to Redis, which is opened when it is first needed, and the metrics' files.
DESCRIPTORS_LEFT = 4
# The median of the calm seconds' p99, last quarter to first. A queue that grows would show as a
# multiple; others who use the machine make half of that.
LATENCY_RATIO = 3.0
# Seconds after a fault until latencies count as calm: a half-open connection is found out after 6,
# then there is a backlog and the clients come back.
RECOVERY = 8.0
CALM_SECONDS = 10  # in each quarter, or there is nothing to compare

SHORTEST_WAVE = 8.0  # seconds: in shorter ones there are always some dozens of handshakes under way
QUARTER = 0.25
UNANSWERED = ("never ended", "wrong answer")  # what clients note
UNHEALTHY = ("Traceback", " died (", "were still registered")  # in the server's log


# What clients and producers must have gone through, or a run says little.
TROUBLES = ("closed", "reset", "hung up", "vanished", "caught up", "orphans")
TROUBLES_OF_PAGES = (
    *("renewed", "reset", "hung up", "vanished", "closed 1012"),
    *("charts told by a message", "charts that Superset was asked for"),
    "published while some worker had no subscription",
)


class Check(NamedTuple):
    """One part of the verdict.

    :ivar passed: None when the run was too short to tell.
    """

    name: str
    passed: bool | None
    figures: str


class Outcome(NamedTuple):
    """What is left of a run to judge.

    :ivar tabs: how many there have been, of Superset up to 6.1.
    :ivar pages: likewise, of Superset 7.
    :ivar events: published, and taken by Redis.
    :ivar happened: connections, endings and misdeeds of clients; orphans that producers left.
    :ivar happened_to_pages: connections and endings of Superset 7's tabs, and what was published.
    :ivar problems: kind → tab and event of each.
    :ivar idle_descriptors: of each worker before the first client.
    :ivar left_descriptors: of each worker after the last one.
    :ivar log: all that the server has written.
    :ivar exit_code: of the server, stopped at the end.
    """

    plan: Plan
    samples: Sequence[Sample]
    faults: Sequence[Happened]
    tabs: int
    pages: int
    events: int
    happened: Mapping[str, int]
    happened_to_pages: Mapping[str, int]
    problems: Mapping[str, Sequence[str]]
    idle_descriptors: Sequence[int]
    left_descriptors: Sequence[int]
    log: str
    exit_code: int


def verdict(outcome: Outcome) -> list[Check]:
    """All checks."""
    return [*correctness(outcome), *endurance(outcome)]


def correctness(outcome: Outcome) -> list[Check]:
    """What must be right however short a run is."""
    nothing = [
        Check(kind.replace("_", " "), not found, first_of(found))
        for kind, found in outcome.problems.items()
    ]
    both = outcome.happened, outcome.happened_to_pages
    missing = missing_troubles(*both, outcome.faults)
    unanswered = [
        f"{n} {name}"
        for happened in both
        for name, n in happened.items()
        if name.endswith(UNANSWERED)
    ]
    delivered = [happened.get("delivered", 0) for happened in both]
    unhealthy = [word for word in UNHEALTHY if word in outcome.log]
    return [
        *nothing,
        Check(
            "something was delivered",
            min(delivered) > 0,
            " and ".join(f"{times:,}" for times in delivered) + " times",
        ),
        Check("every kind of trouble happened", not missing or None, _absent(missing)),
        Check("misdeeds are answered and ended", not unanswered, first_of(unanswered)),
        Check("the log has no tracebacks", not unhealthy, first_of(unhealthy)),
        Check("the server stops when told to", not outcome.exit_code, f"exit {outcome.exit_code}"),
        descriptors_are_given_back(outcome.idle_descriptors, outcome.left_descriptors),
    ]


def missing_troubles(
    happened: Mapping[str, int], to_pages: Mapping[str, int], faults: Iterable[Happened]
) -> list[str]:
    """What has not happened to anybody yet."""
    missing = [trouble for trouble in TROUBLES if not happened.get(trouble)]
    missing += [f"realtime {what}" for what in TROUBLES_OF_PAGES if not to_pages.get(what)]
    if not any(fault.kind.startswith("worker killed") for fault in faults):
        missing.append("a worker killed")
    return missing


def endurance(outcome: Outcome) -> list[Check]:
    """What only time can tell."""
    plan = outcome.plan
    judged = [sample for sample in outcome.samples if sample.at >= plan.judged_from]
    return [
        workers_lived_on(judged),
        memory_is_flat(judged, plan.wave),
        descriptors_follow_sockets(judged, plan.wave, outcome.idle_descriptors),
        latency_stays(outcome.samples, outcome.faults, plan.seconds),
    ]


def workers_lived_on(judged: Sequence[Sample]) -> Check:
    """Nobody was replaced in the time that counts: else memory would start anew."""
    pids = {pid for sample in judged for pid in sample.workers}
    same = bool(judged) and all(set(sample.workers) == pids for sample in judged)
    return Check("workers lived on", same, f"{len(pids)} processes")


def memory_is_flat(judged: Sequence[Sample], wave: float) -> Check:
    """Growth of all workers' memory, from wave to wave."""
    waves = by_wave(judged, wave, lambda sample: sample.pss)
    grown = growth(waves)
    figures = f"{grown:+.2f} MiB over {len(waves)} waves, {MEMORY_GROWTH} allowed"
    return Check("memory is flat", _at_most(grown, MEMORY_GROWTH), figures)


def descriptors_follow_sockets(judged: Sequence[Sample], wave: float, idle: Sequence[int]) -> Check:
    """Descriptors are the clients' sockets and a constant."""
    surplus = by_wave(judged, wave, lambda sample: sample.surplus)
    spread = max(surplus) - min(surplus) if len(surplus) > 1 else math.nan
    over = max(surplus) - sum(idle) if surplus else math.nan
    figures = (
        f"{sum(idle)} {over:+g} without sockets, {spread:g} between waves, "
        f"{DESCRIPTOR_SPREAD} allowed"
    )
    passed = _at_most(spread, DESCRIPTOR_SPREAD) if wave >= SHORTEST_WAVE else None
    if passed:
        passed = over <= DESCRIPTORS_LEFT * len(idle)
    return Check("descriptors are sockets and a constant", passed, figures)


def descriptors_are_given_back(idle: Sequence[int], left: Sequence[int]) -> Check:
    """When all clients are gone, so are their descriptors."""
    passed = bool(left) and max(left) <= max(idle) + DESCRIPTORS_LEFT
    before, now = (", ".join(map(str, counts)) for counts in (idle, left))
    figures = f"{before} before the first client, {now} after the last one"
    return Check("descriptors are given back", passed, figures)


def latency_stays(samples: Sequence[Sample], faults: Sequence[Happened], seconds: float) -> Check:
    """Calm seconds of the last quarter against those of the first."""
    calm = [s for s in samples if not math.isnan(s.p99) and is_calm(s.at, faults)]
    first = [s.p99 for s in calm if s.at < seconds * QUARTER]
    last = [s.p99 for s in calm if s.at >= seconds * (1 - QUARTER)]
    if min(len(first), len(last)) < CALM_SECONDS:
        return Check("latency stays", None, f"{len(first)} and {len(last)} calm seconds")
    before, after = statistics.median(first), statistics.median(last)
    figures = (
        f"p99 {before:.1f} ms in the first quarter, {after:.1f} ms in the last, "
        f"× {LATENCY_RATIO:g} allowed"
    )
    return Check("latency stays", after <= before * LATENCY_RATIO, figures)


# --- statistics ----------------------------------------------------------------------------------


def is_calm(at: float, faults: Iterable[Happened]) -> bool:
    """Whether a second is away from all faults and their consequences."""
    return not any(fault.begin <= at <= fault.end + RECOVERY for fault in faults)


def by_wave(
    samples: Iterable[Sample], wave: float, figure: Callable[[Sample], float]
) -> list[float]:
    """Median of each wave."""
    values: dict[int, list[float]] = {}
    for sample in samples:
        values.setdefault(int(sample.at / wave), []).append(figure(sample))
    return [statistics.median(found) for number, found in sorted(values.items()) if number < WAVES]


def growth(points: Sequence[float]) -> float:
    """From the first wave to the last: the median of the differences between one and the next,
    times their number; NaN of fewer than three waves.

    A leak is in most of the differences. A step is in one: the allocator takes memory for the
    largest backlog so far and does not give it back, which a line through all would call a slope.
    """
    if len(points) < 3:
        return math.nan
    return statistics.median(b - a for a, b in pairwise(points)) * (len(points) - 1)


def first_of(found: Sequence[str]) -> str:
    """How many there are, and some of them."""
    shown = ", ".join(found[:3])
    return f"{len(found)}: {shown}{' …' if len(found) > 3 else ''}" if found else "0"


def _at_most(value: float, bound: float) -> bool | None:
    return None if math.isnan(value) else value <= bound


def _absent(missing: Sequence[str]) -> str:
    return f"not: {', '.join(missing)}" if missing else "all"
