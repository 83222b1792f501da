# SPDX-License-Identifier: Apache-2.0
"""What is counted, behind one small interface: a method for each thing that happens.

StatsD and Prometheus are told at once, except of what happens for each batch of events and each
admitted client: this only grows an integer, which `report` hands on. A datagram for each client of
a storm would cost 5 % of its handshake.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wsgi_ws.observe.counts import (
    ADMITTED,
    BAD_REQUESTS,
    CATCH_UPS,
    CLOSED,
    COUNTS,
    EVENTS_DELIVERED,
    EVENTS_MALFORMED,
    EVENTS_READ,
    EVENTS_UNMATCHED,
    LOG_LINES_DROPPED,
    REDIS_RECONNECTS,
    REFUSED,
    REJECTED,
    SEND_ERRORS,
    SLOW_DISCONNECTS,
    STREAM_GAPS,
    Count,
)
from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, Prometheus
from wsgi_ws.observe.statsd import StatsdClient


class Totals(NamedTuple):
    """What has happened since the worker's start, as far as the summary has it.

    :ivar counts: by field of `SummaryLine`.
    :ivar refused: handshakes by reason.
    """

    counts: Mapping[str, int]
    refused: Mapping[str, int]


class Stock(NamedTuple):
    """What there is at the moment; its fields name the gauges of `Prometheus`.

    :ivar lag: seconds that the reading is behind the stream.
    :ivar redis_reconnects: since the worker's start, as `log_lines_dropped`.
    """

    connections: int
    channels: int
    backlog_bytes: int
    pings_outstanding: int
    ready: bool
    lag: float
    redis_reconnects: int
    log_lines_dropped: int


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
            self._prometheus.add(REFUSED, 0, [reason])
        self._totals = dict.fromkeys(COUNTS, 0)
        self._told = dict.fromkeys(COUNTS, 0)  # how much of it StatsD and Prometheus know
        self._refused: Counter[str] = Counter()
        self._latencies = [0] * (len(LATENCY_BOUNDS) + 1)  # of events: how many in each bucket
        self._latency_sum = 0.0

    # --- clients ---------------------------------------------------------------------------------

    def client_connected(self) -> None:
        """A handshake was answered with 101."""
        self._totals[ADMITTED] += 1

    def client_send_error(self) -> None:
        """A write to a client's socket failed."""
        self._count(SEND_ERRORS)

    def client_too_slow(self) -> None:
        """A client was cut because it read too slowly."""
        self._count(SLOW_DISCONNECTS)

    def client_gone(self, by: str, code: int) -> None:
        """A socket has ended.

        :param by: client, server or network.
        """
        self._count(CLOSED, by, str(int(code)) if code in _KNOWN_CODES else "other")

    def connection_rejected(self, reason: str) -> None:
        """An authenticated client was turned away for a limit."""
        self._count(REJECTED, reason)

    def upgrade_rejected(self, reason: str) -> None:
        """A handshake was refused."""
        self._refused[reason] += 1
        self._count(REFUSED, reason)

    def bad_request(self) -> None:
        """A request was no HTTP."""
        self._count(BAD_REQUESTS)

    # --- events ----------------------------------------------------------------------------------

    def delivered(self, events: int, matched: int, deliveries: int, oldest: bytes) -> None:
        """A batch of `events` was handed out: `matched` of them had sockets here, `deliveries` in
        all.

        :param oldest: ID of the batch's first entry. Its age now stands for all that were matched.
        """
        totals = self._totals
        totals[EVENTS_READ] += events
        totals[EVENTS_UNMATCHED] += events - matched
        if matched:
            totals[EVENTS_DELIVERED] += deliveries
            age = max(0.0, time.time() - int(oldest.partition(b"-")[0]) / 1000)
            self._latencies[bisect_left(LATENCY_BOUNDS, age)] += matched
            self._latency_sum += age * matched

    def malformed_entry(self) -> None:
        """An entry of the stream was skipped."""
        self._count(EVENTS_MALFORMED)

    def stream_gap(self) -> None:
        """A client asked for events that are no longer there."""
        self._count(STREAM_GAPS)

    def caught_up(self, events: int, seconds: float) -> None:
        """A reconnected client got what it had missed."""
        self._count(CATCH_UPS)
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
        """Set the gauges, and tell what was only summed up."""
        self._prometheus.workers.set(1)
        values = stock._asdict()
        for field, gauge in self._prometheus.gauges.items():
            gauge.set(values[field])
        self._totals[REDIS_RECONNECTS] = stock.redis_reconnects
        self._totals[LOG_LINES_DROPPED] = stock.log_lines_dropped
        for count, total in self._totals.items():
            if total > self._told[count]:
                self._tell(count, total - self._told[count])
        self._tell_latencies()
        self._prometheus.share()
        self.connections_now(stock.connections)

    def totals(self) -> Totals:
        """For the summary."""
        counts = {count.summary: n for count, n in self._totals.items() if count.summary}
        return Totals(counts, dict(self._refused))

    # --- to StatsD and Prometheus ----------------------------------------------------------------

    def _count(self, count: Count, *labels: str) -> None:
        """One more, told at once."""
        self._totals[count] += 1
        self._tell(count, 1, labels)

    def _tell(self, count: Count, number: int, labels: tuple[str, ...] = ()) -> None:
        self._told[count] += number
        if count.statsd:
            self._statsd.incr(count.statsd, number, tags=[f"reason:{label}" for label in labels])
        self._prometheus.add(count, number, labels)

    def _tell_latencies(self) -> None:
        self._prometheus.delivery_latency.add(self._latencies, self._latency_sum)
        self._latencies = [0] * len(self._latencies)
        self._latency_sum = 0.0
