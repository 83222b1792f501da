# SPDX-License-Identifier: Apache-2.0
"""What a soak does and when, drawn from a seed: the load's waves and the faults. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# All waves are alike, so that one can be compared with another.
WAVES = 20
FAULTY_WAVES = 6  # the first ones, in which workers are killed and replaced too
PAGES = 0.25  # of Superset 7, for each tab of Superset 6.1
TASKS = 0.02  # of Superset 7, for each event: three to four messages, most of them for every page
RATE_WAVES = 3  # of the event rate, in each wave of sockets: many of both, few of both, mixtures

REDIS_FAULTS = (
    "clients killed",  # CLIENT KILL of all connections, the producer's too
    "clients killed again and again",  # as soon as they are back
    "clients paused",  # CLIENT PAUSE
    "subscribers overrun",  # more is published at once than Redis keeps for a subscriber
    "Redis stopped",  # SIGSTOP: connections stay, nothing answers
    "Redis restarted",  # SIGKILL, some seconds of nothing, its data loaded
    "network cut",  # resets, then refusals
    "network half-open",  # connections that swallow everything and never end
)
HARMLESS = (
    "log rotated",  # renamed, then SIGUSR1
    "log out of reach",  # a directory in its place
    "metrics out of reach",  # a file in place of their directory
)
WORKER_FAULTS = (
    *("worker killed", "worker stopped", "workers reloaded"),  # KILL, TERM, HUP
    "worker killed, network cut",  # the new one starts without Redis
)

LONGEST_FAULT = 8.0  # seconds: well below the 15 s for which a catch-up waits for Redis
FAULTS = 60  # as long as they are not too close to each other then
REST = 1.0  # second at least between two of them


class Fault(NamedTuple):
    """Something that goes wrong.

    :ivar at: seconds from the start.
    :ivar seconds: how long it lasts, of those that last.
    """

    at: float
    kind: str
    seconds: float


class Happened(NamedTuple):
    """A fault as it was: seconds from the start."""

    kind: str
    begin: float
    end: float


@dataclass(frozen=True)
class Plan:
    """How long, how much.

    :ivar sockets: fewest and most tabs of Superset up to 6.1.
    :ivar rate: fewest and most events per second.
    :ivar faulty_waves: how many waves workers are killed and replaced in.
    :ivar seconds_per_connection: how long a tab keeps its connection, on average.
    :ivar producers: processes that write to the same channels; half of them die again and again.
    :ivar shared_rate: events per second of all of these.
    :ivar seconds_per_death: how long such a process lives, on average.
    :ivar workers: of the server.
    :ivar history_bytes: a worker's memory of the past; None: what comes in half a wave.
    """

    seconds: float
    seed: int
    sockets: tuple[int, int] = (100, 1000)
    rate: tuple[float, float] = (20.0, 500.0)
    faulty_waves: int = FAULTY_WAVES
    seconds_per_connection: float = 40.0
    seconds_per_fault: float = 0.0  # 0: as it fits the whole time
    producers: int = 4
    shared_rate: float = 40.0
    seconds_per_death: float = 20.0
    history_bytes: int | None = None
    workers: int = 2

    @property
    def wave(self) -> float:
        """Seconds of a wave."""
        return self.seconds / WAVES

    @property
    def judged_from(self) -> float:
        """Seconds from the start: from here on, no worker is replaced and nothing may grow.

        A wave before that is for the last new workers to fill their histories and pools.
        """
        return self.wave * (self.faulty_waves + 1)

    def sockets_at(self, at: float) -> int:
        return round(_between(*self.sockets, _swell(at, self.wave)))

    def pages_at(self, at: float) -> int:
        """Tabs of Superset 7."""
        return round(PAGES * self.sockets_at(at))

    def tasks_at(self, at: float) -> float:
        """Superset 7's tasks per second."""
        return TASKS * self.rate_at(at)

    def rate_at(self, at: float) -> float:
        """Events per second."""
        return _between(*self.rate, _swell(at, self.wave / RATE_WAVES))

    def faults(self) -> Iterator[Fault]:
        """Without end: every kind about as often as every other of its time."""
        rng = random.Random(self.seed)
        gap = self.seconds_per_fault or max(LONGEST_FAULT, self.seconds / FAULTS)
        longest = min(LONGEST_FAULT, gap)
        gentle = REDIS_FAULTS + HARMLESS
        at, bag, only_gentle = gap / 2, list[str](), False
        while True:
            if not only_gentle and at >= self.wave * self.faulty_waves:
                bag, only_gentle = [], True
            if not bag:
                bag = list(gentle if only_gentle else gentle + WORKER_FAULTS)
                rng.shuffle(bag)
            yield Fault(at, bag.pop(), rng.uniform(longest / 10, longest))
            at += gap * rng.uniform(0.5, 1.5)


def _swell(at: float, period: float) -> float:
    """0 at the start of a period, 1 in its middle."""
    return (1 - math.cos(2 * math.pi * at / period)) / 2


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
