# SPDX-License-Identifier: Apache-2.0
"""What is counted, behind one small interface: a method for each thing that happens.

What belongs to one transport is counted by its `TransportMetrics`, the rest by `Metrics` itself.
StatsD and Prometheus are told at once, except of what happens for each batch of events and each
client that comes or has to go: this only grows an integer, which `report` hands on. A datagram for
each client of a storm would cost 5 % of its handshake.
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
    MERGED,
    REDIS_RECONNECTS,
    REFUSED,
    REJECTED,
    REPLAYED,
    RESYNCHRONIZED,
    RESYNCS,
    SEND_ERRORS,
    SLOW_DISCONNECTS,
    STREAM_GAPS,
    TOKEN_EXPIRED,
    Count,
)
from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, Prometheus
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.transport import Transport


class Totals(NamedTuple):
    """What has happened since the worker's start, as far as the summary has it.

    :ivar counts: by field of `SummaryLine`, of all transports together.
    :ivar refused: handshakes by reason.
    :ivar closed: sockets whose end the server began, by close code.
    """

    counts: Mapping[str, int]
    refused: Mapping[str, int]
    closed: Mapping[str, int]


class TransportStock(NamedTuple):
    """What there is of one transport at the moment; its fields name gauges of `Prometheus`.

    :ivar ready: whether its events reach sockets at once.
    :ivar lag: seconds that the reading is behind.
    :ivar redis_reconnects: since the worker's start.
    """

    connections: int
    channels: int
    ready: bool
    lag: float
    redis_reconnects: int


class Stock(NamedTuple):
    """What there is in the worker at the moment; its other fields name gauges of `Prometheus`.

    :ivar transports: those that the worker offers.
    :ivar ready: whether all are that the worker can have.
    :ivar log_lines_dropped: since the worker's start.
    """

    transports: Mapping[Transport, TransportStock]
    backlog_bytes: int
    pings_outstanding: int
    ready: bool
    log_lines_dropped: int

    @property
    def connections(self) -> int:
        """Sockets of all transports."""
        return sum(stock.connections for stock in self.transports.values())

    @property
    def channels(self) -> int:
        """Channels with sockets, of all transports."""
        return sum(stock.channels for stock in self.transports.values())

    @property
    def lag(self) -> float:
        """Seconds that the slowest transport's reading is behind."""
        return max(stock.lag for stock in self.transports.values())


# Close codes that are counted one by one: a client may send any of thousands.
_KNOWN_CODES = frozenset(range(1000, 1015))


class _Tally:
    """The counts of one transport, or of what belongs to none, and how much of them is told.

    :ivar totals: since the worker's start. May be grown from outside; `tell` tells the difference.
    """

    def __init__(
        self, statsd: StatsdClient, prometheus: Prometheus, transport: Transport | None = None
    ) -> None:
        self.totals = dict.fromkeys(COUNTS, 0)
        self._told = dict.fromkeys(COUNTS, 0)
        self._statsd = statsd
        self._prometheus = prometheus
        self._transport = (transport.value,) if transport else ()

    def add_one(self, count: Count, *labels: str) -> None:
        """One more, told at once.

        :param labels: values of the count's labels, without the transport.
        """
        self.totals[count] += 1
        self._tell(count, 1, labels)

    def tell(self) -> None:
        """Tell what was only summed up."""
        for count, total in self.totals.items():
            if total > self._told[count]:
                self._tell(count, total - self._told[count])

    def summary(self) -> Mapping[str, int]:
        """The counts that the summary has, by its fields."""
        return {count.summary: n for count, n in self.totals.items() if count.summary}

    def _tell(self, count: Count, number: int, labels: tuple[str, ...] = ()) -> None:
        self._told[count] += number
        transport = self._transport if count.is_by_transport else ()
        if count.statsd:
            tags = [f"transport:{name}" for name in transport]
            tags += [f"reason:{label}" for label in labels]
            self._statsd.incr(count.statsd, number, tags=tags)
        self._prometheus.add(count, number, (*transport, *labels))


class TransportMetrics:
    """What happens to the sockets and events of one transport, named after it."""

    def __init__(self, statsd: StatsdClient, prometheus: Prometheus, transport: Transport) -> None:
        """Its series are there from now on: one that begins with its first event hides that."""
        self._prometheus = prometheus
        self._transport = transport
        self._tally = _Tally(statsd, prometheus, transport)
        for count in COUNTS:
            if count.labels == ("transport",):
                prometheus.add(count, 0, (transport.value,))
        for gauge in prometheus.transport_gauges.values():
            gauge.labels(transport.value)
        self._totals = self._tally.totals
        self.closed: Counter[str] = Counter()  # by the server, by close code
        self._latencies = [0] * (len(LATENCY_BOUNDS) + 1)  # of events: how many in each bucket
        self._latency_sum = 0.0
        self._heard: tuple[int, ...] = ()  # what had come at the last report
        self._heard_at = 0.0  # by `time.monotonic`

    # --- clients ---------------------------------------------------------------------------------

    def connected(self) -> None:
        """A handshake was answered with 101."""
        self._totals[ADMITTED] += 1

    def rejected(self, limit: str) -> None:
        """An authenticated client was turned away for a limit.

        :param limit: its key.
        """
        self._tally.add_one(REJECTED, limit)

    def token_expired(self) -> None:
        """A socket is closed since its token has expired."""
        self._totals[TOKEN_EXPIRED] += 1

    def gone(self, by: str, code: int) -> None:
        """A socket has ended.

        :param by: client, server or network.
        """
        shown = str(int(code)) if code in _KNOWN_CODES else "other"
        self._tally.add_one(CLOSED, by, shown)
        if by == "server":
            self.closed[shown] += 1

    # --- events ----------------------------------------------------------------------------------

    def delivered(self, events: int, sockets: int) -> None:
        """Some events were handed to the same sockets, each to every one; or there were none."""
        totals = self._totals
        totals[EVENTS_READ] += events
        if sockets:
            totals[EVENTS_DELIVERED] += events * sockets
        else:
            totals[EVENTS_UNMATCHED] += events

    def delivered_batch(self, events: int, matched: int, deliveries: int, oldest: bytes) -> None:
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

    def malformed(self) -> None:
        """What was read is no event, and was skipped."""
        self._tally.add_one(EVENTS_MALFORMED)

    # --- what streams have -----------------------------------------------------------------------

    def gap(self) -> None:
        """A client asked for events that are no longer there."""
        self._tally.add_one(STREAM_GAPS)

    def caught_up(self, events: int, seconds: float) -> None:
        """A reconnected client got what it had missed."""
        self._tally.add_one(CATCH_UPS)
        self._prometheus.catch_up_events.observe(events)
        self._prometheus.catch_up_duration.observe(seconds)

    # --- what realtime has -----------------------------------------------------------------------

    def merged(self) -> None:
        """An event was read that is the same as one which still waits: it goes out with that."""
        self._totals[EVENTS_READ] += 1
        self._totals[MERGED] += 1

    def replayed(self, events: int) -> None:
        """A client that came back was sent some remembered events."""
        self._totals[REPLAYED] += events

    def resynchronized(self, sockets: int) -> None:
        """Events may have been missed, so the sockets that are there are going to be closed.

        Nobody has missed anything where there are none, as at a worker's start.
        """
        if sockets:
            self._totals[RESYNCS] += 1
            self._totals[RESYNCHRONIZED] += sockets

    # --- from time to time -----------------------------------------------------------------------

    def report(self, stock: TransportStock) -> None:
        """Set the gauges, and tell what was only summed up."""
        values = stock._asdict()
        for field, gauge in self._prometheus.transport_gauges.items():
            gauge.labels(self._transport.value).set(values[field])
        self._totals[REDIS_RECONNECTS] = stock.redis_reconnects
        if self._transport is Transport.REALTIME:
            self._prometheus.silence.set(self._silence(stock, time.monotonic()))
        self._tally.tell()
        self._tell_latencies()

    def summary(self) -> Mapping[str, int]:
        """The counts that the summary has, by its fields."""
        return self._tally.summary()

    def _silence(self, stock: TransportStock, now: float) -> float:
        """Seconds since something came or the subscription began, as seen from one report to the
        next: a clock on the way of each event would cost more than counting it."""
        totals = self._totals
        heard = (totals[EVENTS_READ], totals[EVENTS_MALFORMED], stock.redis_reconnects)
        if heard != self._heard or not stock.ready:
            self._heard, self._heard_at = heard, now
        return now - self._heard_at

    def _tell_latencies(self) -> None:
        self._prometheus.delivery_latency.add(self._latencies, self._latency_sum)
        self._latencies = [0] * len(self._latencies)
        self._latency_sum = 0.0


class Metrics:
    """What belongs to no transport, named after what happened; and the transports' own metrics."""

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
        self._tally = _Tally(statsd, self._prometheus)
        self._of: dict[Transport, TransportMetrics] = {}
        self._refused: Counter[str] = Counter()

    def of(self, transport: Transport) -> TransportMetrics:
        """Those of a transport, which this worker then offers."""
        if transport not in self._of:
            self._of[transport] = TransportMetrics(self._statsd, self._prometheus, transport)
        return self._of[transport]

    # --- clients ---------------------------------------------------------------------------------

    def client_send_error(self) -> None:
        """A write to a client's socket failed."""
        self._tally.add_one(SEND_ERRORS)

    def client_too_slow(self) -> None:
        """A client was cut because it read too slowly."""
        self._tally.add_one(SLOW_DISCONNECTS)

    def upgrade_rejected(self, reason: str) -> None:
        """A handshake was refused."""
        self._refused[reason] += 1
        self._tally.add_one(REFUSED, reason)

    def bad_request(self) -> None:
        """A request was no HTTP."""
        self._tally.add_one(BAD_REQUESTS)

    # --- from time to time -----------------------------------------------------------------------

    def loop_delay(self, seconds: float) -> None:
        """How late the event loop came to a timer."""
        self._prometheus.loop_delay.observe(seconds)

    def connections_now(self, count: int) -> None:
        """The gauge of sockets now connected to this worker. One for all transports: where tags are
        not understood, the second of two would overwrite the first."""
        self._statsd.gauge("ws_connected_clients", count)
        self._statsd.flush()

    def report(self, stock: Stock) -> None:
        """Set the gauges, and tell what was only summed up."""
        self._prometheus.workers.set(1)
        values = stock._asdict()
        for field, gauge in self._prometheus.gauges.items():
            gauge.set(values[field])
        for transport, own in stock.transports.items():
            self.of(transport).report(own)
        self._tally.totals[LOG_LINES_DROPPED] = stock.log_lines_dropped
        self._tally.tell()
        self._prometheus.share()
        self.connections_now(stock.connections)

    def totals(self) -> Totals:
        """For the summary."""
        counts = Counter(self._tally.summary())
        closed: Counter[str] = Counter()
        for transport in self._of.values():
            counts.update(transport.summary())
            closed.update(transport.closed)
        return Totals(counts, dict(self._refused), closed)
