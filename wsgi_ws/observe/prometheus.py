# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus (counters from `counts`, gauges and histograms), and what it scrapes.

Imported in workers only, when the server's `MetricsDirectory` has set their environment: at its
import the library decides whether values are shared between processes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from wsgi_ws.observe.counts import COUNTS, Count

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
DELAY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
CATCH_UP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
CATCH_UP_EVENT_BOUNDS = (0, 1, 5, 10, 50, 100, 500, 1000, 5000)


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once, sorted into its buckets by the caller.

    The library takes them one at a time, which costs more than the whole way of an event for which
    no client is here.
    """

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add observations. `_buckets` and `_sum` are not public.

        :param counts: observations per bucket, the last for those above all bounds.
        :param total: the sum of their values.
        """
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Prometheus:
    """One worker's values. Counters and histograms add up over workers that ever were, gauges over
    those that live (`livesum`) or show the worst of them (`livemax`).

    :ivar gauges: by field of `Stock`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()  # not what is scraped: that comes from all workers
        sum_of = functools.partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        worst_of = functools.partial(Gauge, registry=self.registry, multiprocess_mode="livemax")
        histogram = functools.partial(Histogram, registry=self.registry)

        self._counters = {
            count: Counter(count.prometheus, count.help, count.labels, registry=self.registry)
            for count in COUNTS
            if count.prometheus
        }
        self.workers = sum_of("wsgi_ws_workers", "Workers that report.")
        self.gauges = {
            "ready": sum_of(
                "wsgi_ws_workers_ready", "Workers that read the stream and are not behind it."
            ),
            "connections": sum_of("wsgi_ws_connections", "Open sockets."),
            "channels": sum_of(
                "wsgi_ws_channels",
                "Channels with open sockets, counted in each worker that has some.",
            ),
            "backlog_bytes": sum_of(
                "wsgi_ws_backlog_bytes", "Bytes that clients have not read yet."
            ),
            "pings_outstanding": sum_of(
                "wsgi_ws_pings_outstanding", "Sockets with a ping that is not answered yet."
            ),
            "lag": worst_of(
                "wsgi_ws_reader_lag_seconds", "How far the slowest worker's reading is behind."
            ),
        }
        self.delivery_latency = BulkHistogram(
            "wsgi_ws_delivery_latency_seconds",
            "From an event's entry in Redis (by Redis's clock) to the last send of its batch.",
            registry=self.registry,
            buckets=LATENCY_BOUNDS,
        )
        self.catch_up_duration = histogram(
            "wsgi_ws_catch_up_duration_seconds",
            "From a reconnected client's handshake until it was live again.",
            buckets=CATCH_UP_BOUNDS,
        )
        self.catch_up_events = histogram(
            "wsgi_ws_catch_up_events",
            "Missed events that a reconnected client was sent.",
            buckets=CATCH_UP_EVENT_BOUNDS,
        )
        self.loop_delay = histogram(
            "wsgi_ws_loop_delay_seconds",
            "How late the event loop came to a timer, measured four times a second.",
            buckets=DELAY_BOUNDS,
        )

    def add(self, count: Count, number: int, labels: Iterable[str] = ()) -> None:
        """Add to a counter, if the count has one here.

        :param number: 0 makes a series of these labels begin at 0.
        """
        counter = self._counters.get(count)
        if counter is not None:
            (counter.labels(*labels) if labels else counter).inc(number)


def scrape(directory: str) -> tuple[str, bytes]:
    """Content type and text of the metrics of all workers that share a directory."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return CONTENT_TYPE_LATEST, generate_latest(registry)
