# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus (counters from `counts`, gauges and histograms), and what it scrapes.

Imported in workers only, with no `PROMETHEUS_MULTIPROC_DIR` in their environment: the library's own
way of sharing values maps files, and a full file system or a damaged file then ends the process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wsgi_ws.observe.counts import COUNTS, Count
from wsgi_ws.observe.shared_values import Series, Values, WorkerFile

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
DELAY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
CATCH_UP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
CATCH_UP_EVENT_BOUNDS = (0, 1, 5, 10, 50, 100, 500, 1000, 5000)
# Gauges of which the largest counts, not the sum. Of the silence too, although all workers hear the
# same messages: a worker that has just begun to listen must not hide a long silence, and one that
# alone hears nothing must show.
WORST = {"wsgi_ws_reader_lag_seconds", "wsgi_ws_realtime_silence_seconds"}


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
    those that live, or they show the worst of them.

    :ivar gauges: by field of `Stock`.
    :ivar transport_gauges: by field of `TransportStock`; each has the label `transport`.
    """

    def __init__(self, shared: WorkerFile | None = None) -> None:
        """:param shared: where the other workers' values are; None: there are none."""
        self.registry = CollectorRegistry()  # not what is scraped: that comes from all workers
        self._shared = shared or WorkerFile(None, "")
        gauge = functools.partial(Gauge, registry=self.registry)
        histogram = functools.partial(Histogram, registry=self.registry)

        self._counters = {
            count: Counter(count.prometheus, count.help, count.labels, registry=self.registry)
            for count in COUNTS
            if count.prometheus
        }
        self.workers = gauge("wsgi_ws_workers", "Workers that report.")
        self.gauges = {
            "ready": gauge(
                "wsgi_ws_workers_ready",
                "Workers whose transports are all ready, except one that Redis forbids.",
            ),
            "backlog_bytes": gauge(
                "wsgi_ws_backlog_bytes", "Bytes that clients have not read yet."
            ),
            "pings_outstanding": gauge(
                "wsgi_ws_pings_outstanding", "Sockets with a ping that is not answered yet."
            ),
        }
        by_transport = functools.partial(gauge, labelnames=["transport"])
        self.transport_gauges = {
            "ready": by_transport(
                "wsgi_ws_transport_ready",
                "Workers that read the stream and are not behind it, or are subscribed to the "
                "channel.",
            ),
            "connections": by_transport("wsgi_ws_connections", "Open sockets."),
            "channels": by_transport(
                "wsgi_ws_channels",
                "Channels with open sockets, counted in each worker that has some.",
            ),
            "lag": by_transport(
                "wsgi_ws_reader_lag_seconds",
                "How far the slowest worker's reading is behind; of realtime, for how long it "
                "could not be read.",
            ),
        }
        self.silence = gauge(
            "wsgi_ws_realtime_silence_seconds",
            "Since realtime's last message or subscription, in the worker where that is longest.",
        )
        self.delivery_latency = BulkHistogram(
            "wsgi_ws_delivery_latency_seconds",
            "From an event's entry in Redis (by Redis's clock) to the last send of its batch. "
            "Streams only: messages of realtime have no time.",
            registry=self.registry,
            buckets=LATENCY_BOUNDS,
        )
        self.catch_up_duration = histogram(
            "wsgi_ws_catch_up_duration_seconds",
            "From a reconnected client's handshake until it was live again. Streams only.",
            buckets=CATCH_UP_BOUNDS,
        )
        self.catch_up_events = histogram(
            "wsgi_ws_catch_up_events",
            "Missed events that a reconnected client was sent. Streams only.",
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

    def share(self) -> None:
        """Let all workers see these values."""
        self._shared.write(self._values())

    def scrape(self) -> tuple[str, bytes]:
        """Content type and text of the metrics of all workers, as they have shared them: this one
        just now, so that what is told once is known to all."""
        values = self._values()
        self._shared.write(values)
        registry = CollectorRegistry()
        registry.register(_AddedUp(self.registry, self._shared.read(values)))
        return CONTENT_TYPE_LATEST, generate_latest(registry)

    def _values(self) -> Values:
        values = Values()
        for family in self.registry.collect():
            kept = values.gauges if family.type == "gauge" else values.counters
            kept.update(_series_of(family))
        return values


class _AddedUp(Collector):
    """The values of several workers, as metrics."""

    def __init__(self, declared: CollectorRegistry, workers: Sequence[Values]) -> None:
        self._declared = declared
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Each family that this worker knows. Another version's, before a reload, may have more."""
        families: dict[str, dict[Series, float]] = {}
        for values in self._workers:
            for series, value in (*values.counters.items(), *values.gauges.items()):
                total = families.setdefault(series.family, {})
                known = total.get(series, 0.0)
                worst = series.family in WORST
                total[series] = max(known, value) if worst else known + value
        for family in self._declared.collect():
            family.samples = []
            for series, value in families.get(family.name, {}).items():
                family.add_sample(series.sample, dict(series.labels), value)
            yield family


def _series_of(family: Metric) -> dict[Series, float]:
    """A family's values, without the times at which its series began in this process."""
    return {
        Series(family.name, sample.name, tuple(sample.labels.items())): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
