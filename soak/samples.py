# SPDX-License-Identifier: Apache-2.0
"""What is measured every second, from outside. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Process:
    """A worker.

    :ivar pss: MiB; pages that processes share are divided among them.
    :ivar cpu: cores in use.
    """

    pss: float
    rss: float
    descriptors: int
    cpu: float


@dataclass(frozen=True)
class Sample:
    """A second.

    :ivar at: seconds from the start.
    :ivar sockets: open at the clients, admitted or not.
    :ivar events: per second, published.
    :ivar p50: latency of the second's live events: milliseconds; NaN without any.
    :ivar client_cpu: cores that all clients and the producer use.
    :ivar workers: by process ID; those being replaced too.
    """

    at: float
    sockets: int
    events: float
    deliveries: float
    p50: float
    p99: float
    client_cpu: float
    workers: Mapping[int, Process]

    @property
    def pss(self) -> float:
        """MiB of all workers: how the sockets are spread over them does not matter then."""
        return sum(worker.pss for worker in self.workers.values())

    @property
    def descriptors(self) -> int:
        return sum(worker.descriptors for worker in self.workers.values())

    @property
    def surplus(self) -> int:
        """Descriptors that are not those of clients."""
        return self.descriptors - self.sockets


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value that `share` of all don't exceed; NaN of none."""
    if not ascending:
        return math.nan
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def row(sample: Sample) -> list[Any]:
    """As JSON, in the order of `COLUMNS`."""
    workers = {
        pid: [round(w.pss, 2), round(w.rss, 2), w.descriptors, round(w.cpu, 3)]
        for pid, w in sample.workers.items()
    }
    latencies = [None if math.isnan(x) else round(x, 2) for x in (sample.p50, sample.p99)]
    return [
        *(round(sample.at, 1), sample.sockets, round(sample.events), round(sample.deliveries)),
        *(*latencies, round(sample.client_cpu, 3), workers),
    ]


COLUMNS = (
    *("at_s", "sockets", "events_per_s", "deliveries_per_s", "p50_ms", "p99_ms", "client_cores"),
    "workers: pid to [pss_mib, rss_mib, descriptors, cores]",
)


def from_row(row: Sequence[Any]) -> Sample:
    """The reverse of `row`."""
    at, sockets, events, deliveries, p50, p99, client_cpu, workers = row
    p50, p99 = (math.nan if x is None else x for x in (p50, p99))
    processes = {int(pid): Process(*figures) for pid, figures in workers.items()}
    return Sample(at, sockets, events, deliveries, p50, p99, client_cpu, processes)
