# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus, all declared here, and the text that it scrapes.

Imported in workers only, when `exposure` has set their environment: at its import the library
decides whether values are shared between processes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
DELAY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
CATCH_UP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
CATCH_UP_EVENT_BOUNDS = (0, 1, 5, 10, 50, 100, 500, 1000, 5000)


class BulkHistogram(Histogram):
    """One that takes many observations at once, sorted into its buckets by the caller.

    The library takes them one at a time, which costs more than the way of an event that nobody
    here waits for.
    """

    def add(self, counts: Sequence[int], total: float) -> None:
        """
        :param counts: observations per bucket, the last for those above all bounds.
        :param total: the sum of their values.
        """
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Prometheus:
    """One worker's values. Counters and histograms add up over workers that ever were, gauges over
    those that live (`livesum`) or show the worst of them (`livemax`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()  # not what is scraped: that comes from all workers
        total = functools.partial(Counter, registry=self.registry)
        sum_of = functools.partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        worst_of = functools.partial(Gauge, registry=self.registry, multiprocess_mode="livemax")
        histogram = functools.partial(Histogram, registry=self.registry)

        self.workers = sum_of("wsgi_ws_workers", "Workers that report.")
        self.workers_ready = sum_of(
            "wsgi_ws_workers_ready", "Workers that read the stream and are not behind it."
        )
        self.connections = sum_of("wsgi_ws_connections", "Open sockets.")
        self.channels = sum_of(
            "wsgi_ws_channels", "Channels with open sockets, counted in each worker that has some."
        )
        self.handshakes_admitted = total(
            "wsgi_ws_handshakes_admitted_total", "Handshakes answered with 101."
        )
        self.handshakes_refused = total(
            "wsgi_ws_handshakes_refused_total",
            "Handshakes answered with an error, by reason.",
            ["reason"],
        )
        self.bad_requests = total(
            "wsgi_ws_bad_requests_total", "Requests that were not valid HTTP."
        )
        self.connections_rejected = total(
            "wsgi_ws_connections_rejected_total",
            "Sockets closed with 1013 at their beginning, by the limit that was reached.",
            ["limit"],
        )
        self.connections_closed = total(
            "wsgi_ws_connections_closed_total",
            "Sockets that ended, by who began it (client, server, network) and close code.",
            ["by", "code"],
        )
        self.events_read = total(
            "wsgi_ws_events_read_total",
            "Events read from the stream. Every worker reads all of them.",
        )
        self.events_unmatched = total(
            "wsgi_ws_events_unmatched_total",
            "Events read for whose channel the worker had no socket.",
        )
        self.events_malformed = total(
            "wsgi_ws_events_malformed_total", "Entries of the stream that were skipped."
        )
        self.events_delivered = total(
            "wsgi_ws_events_delivered_total",
            "Live events handed to sockets, counted once for each socket.",
        )
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
        self.stream_gaps = total(
            "wsgi_ws_stream_gaps_total",
            "Times that events may have been lost: trimmed, flushed or restored streams.",
        )
        self.backlog = sum_of("wsgi_ws_backlog_bytes", "Bytes that clients have not read yet.")
        self.slow_disconnects = total(
            "wsgi_ws_slow_disconnects_total", "Clients cut because they read too slowly."
        )
        self.send_errors = total("wsgi_ws_send_errors_total", "Writes to sockets that failed.")
        self.pings_outstanding = sum_of(
            "wsgi_ws_pings_outstanding", "Sockets with a ping that is not answered yet."
        )
        self.reader_lag = worst_of(
            "wsgi_ws_reader_lag_seconds", "How far the slowest worker's reading is behind."
        )
        self.redis_reconnects = total(
            "wsgi_ws_redis_reconnects_total", "Outages of Redis that were survived."
        )
        self.loop_delay = histogram(
            "wsgi_ws_loop_delay_seconds",
            "How late the event loop came to a timer, measured four times a second.",
            buckets=DELAY_BOUNDS,
        )


def scrape(directory: str) -> tuple[str, bytes]:
    """Content type and text of the metrics of all workers that share a directory."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return CONTENT_TYPE_LATEST, generate_latest(registry)
