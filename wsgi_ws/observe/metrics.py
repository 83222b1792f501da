# SPDX-License-Identifier: Apache-2.0
"""What is counted, behind one small interface; StatsD and Prometheus are where it goes.

StatsD has the names of the seed (`ws_connected_client`, `ws_client_send_error`) and of the newer
Node releases. It is UDP: it never blocks, and nobody listening is no error. What happens once per
event or per admitted client is only summed up here, and handed on by `report`: a datagram for each
client of a storm would cost 5 % of its handshake.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, Prometheus
from wsgi_ws.observe.statsd import StatsdClient


class Totals(NamedTuple):
    """What has happened since the worker's start."""

    events_read: int
    events_delivered: int
    events_malformed: int
    admitted: int
    refused: Mapping[str, int]
    catch_ups: int
    gaps: int


class Stock(NamedTuple):
    """What there is at the moment.

    :ivar lag: seconds that the reading is behind the stream.
    :ivar redis_reconnects: since the worker's start.
    """

    connections: int
    channels: int
    backlog_bytes: int
    pings_outstanding: int
    ready: bool
    lag: float
    redis_reconnects: int


# Close codes that are counted one by one: a client may send any of thousands.
_KNOWN_CODES = frozenset(range(1000, 1015))


class Metrics:
    """Everything that is counted, named after what happened."""

    def __init__(
        self,
        statsd: StatsdClient,
        prometheus: Prometheus | None = None,
        reasons: Iterable[str] = (),
    ) -> None:
        """
        :param reasons: of refusals, to be there from the start: a series that begins with its
            first event hides that.
        """
        self._statsd = statsd
        self._prometheus = prometheus or Prometheus()
        for reason in reasons:
            self._prometheus.handshakes_refused.labels(reason)
        self.events_read = 0
        self.events_matched = 0
        self.events_delivered = 0
        self.malformed_entries = 0
        self.gaps = 0
        self._admitted = 0
        self._refused: Counter[str] = Counter()
        self._catch_ups = 0
        self._latencies = [0] * (len(LATENCY_BOUNDS) + 1)  # of events: how many in each bucket
        self._latency_sum = 0.0
        # What has been handed on: admitted; events read, matched, delivered; reconnects.
        self._passed_on = (0, 0, 0, 0, 0)

    # --- clients ---------------------------------------------------------------------------------

    def client_connected(self) -> None:
        """A handshake was answered with 101."""
        self._admitted += 1

    def client_send_error(self) -> None:
        self._statsd.incr("ws_client_send_error")
        self._prometheus.send_errors.inc()

    def client_too_slow(self) -> None:
        self._statsd.incr("ws_client_backpressure_disconnect")
        self._prometheus.slow_disconnects.inc()

    def client_gone(self, by: str, code: int) -> None:
        """A socket has ended."""
        label = str(int(code)) if code in _KNOWN_CODES else "other"
        self._prometheus.connections_closed.labels(by, label).inc()

    def connection_rejected(self, reason: str) -> None:
        """An authenticated client was turned away for a limit."""
        self._statsd.incr("ws_connection_rejected", tags=[f"reason:{reason}"])
        self._prometheus.connections_rejected.labels(reason).inc()

    def upgrade_rejected(self, reason: str) -> None:
        """A handshake was refused."""
        self._refused[reason] += 1
        self._statsd.incr("ws_upgrade_rejected", tags=[f"reason:{reason}"])
        self._prometheus.handshakes_refused.labels(reason).inc()

    def bad_request(self) -> None:
        """A request was no HTTP."""
        self._prometheus.bad_requests.inc()

    # --- events ----------------------------------------------------------------------------------

    def delivered(self, events: int, matched: int, deliveries: int, oldest: bytes) -> None:
        """A batch of `events` was handed out: `matched` of them had sockets here, `deliveries` in
        all.

        :param oldest: ID of the batch's first entry. Its age now stands for all that were matched.
        """
        self.events_read += events
        if matched:
            self.events_matched += matched
            self.events_delivered += deliveries
            age = max(0.0, time.time() - int(oldest.partition(b"-")[0]) / 1000)
            self._latencies[bisect_left(LATENCY_BOUNDS, age)] += matched
            self._latency_sum += age * matched

    def malformed_entry(self) -> None:
        self.malformed_entries += 1
        self._statsd.incr("ws_malformed_entry")
        self._prometheus.events_malformed.inc()

    def stream_gap(self) -> None:
        """A client asked for events that are no longer there."""
        self.gaps += 1
        self._statsd.incr("stream_gap")
        self._prometheus.stream_gaps.inc()

    def caught_up(self, events: int, seconds: float) -> None:
        """A reconnected client got what it had missed."""
        self._catch_ups += 1
        self._statsd.incr("ws_catch_up")
        self._prometheus.catch_up_events.observe(events)
        self._prometheus.catch_up_duration.observe(seconds)

    # --- from time to time -----------------------------------------------------------------------

    def loop_delay(self, seconds: float) -> None:
        """How late the event loop came to a timer."""
        self._prometheus.loop_delay.observe(seconds)

    def connections_now(self, count: int) -> None:
        """The gauge of sockets now connected to this worker."""
        self._statsd.gauge("ws_connected_clients", count)
        self._statsd.flush()

    def report(self, stock: Stock) -> None:
        """Set the gauges, and pass on what was summed up."""
        prometheus = self._prometheus
        prometheus.workers.set(1)
        prometheus.workers_ready.set(stock.ready)
        prometheus.connections.set(stock.connections)
        prometheus.channels.set(stock.channels)
        prometheus.backlog.set(stock.backlog_bytes)
        prometheus.pings_outstanding.set(stock.pings_outstanding)
        prometheus.reader_lag.set(stock.lag)
        self._pass_on(stock.redis_reconnects)
        self.connections_now(stock.connections)

    def totals(self) -> Totals:
        """For the summary."""
        return Totals(
            self.events_read,
            self.events_delivered,
            self.malformed_entries,
            self._admitted,
            dict(self._refused),
            self._catch_ups,
            self.gaps,
        )

    def _pass_on(self, reconnects: int) -> None:
        prometheus = self._prometheus
        events = (self.events_read, self.events_matched, self.events_delivered)
        sums = (self._admitted, *events, reconnects)
        admitted, read, matched, delivered, reconnected = (
            now - before for now, before in zip(sums, self._passed_on, strict=True)
        )
        self._passed_on = sums
        if admitted:
            self._statsd.incr("ws_connected_client", admitted)
        prometheus.handshakes_admitted.inc(admitted)
        prometheus.events_read.inc(read)
        prometheus.events_unmatched.inc(read - matched)
        prometheus.events_delivered.inc(delivered)
        prometheus.redis_reconnects.inc(reconnected)
        prometheus.delivery_latency.add(self._latencies, self._latency_sum)
        self._latencies = [0] * len(self._latencies)
        self._latency_sum = 0.0
