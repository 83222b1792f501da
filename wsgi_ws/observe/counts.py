# SPDX-License-Identifier: Apache-2.0
"""Everything that is counted, each declared once with its name wherever it is shown. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)  # the key of a mapping, by identity: that is fast
class Count:
    """What is counted, and where it is told.

    :ivar prometheus: name of a counter for Prometheus.
    :ivar help: its text there, a sentence.
    :ivar labels: names of its labels there; `transport`, if it is one, comes first.
    :ivar statsd: name in StatsD, where the transport goes into the tag `transport`, and another
        label's value into the tag `reason`.
    :ivar summary: name of its field in the log's summary (`SummaryLine`).
    """

    prometheus: str | None = None
    help: str = ""
    labels: tuple[str, ...] = ()
    statsd: str | None = None
    summary: str | None = None

    @property
    def is_by_transport(self) -> bool:
        """Whether its series are told apart by transport. What only one of them has is not: a label
        that always has the same value says nothing."""
        return "transport" in self.labels


ADMITTED = Count(
    "wsgi_ws_handshakes_admitted_total",
    "Handshakes answered with 101.",
    ("transport",),
    statsd="ws_connected_client",
    summary="admitted",
)
REFUSED = Count(  # in the summary by reason
    "wsgi_ws_handshakes_refused_total",
    "Handshakes answered with an error, by reason.",
    ("reason",),
    statsd="ws_upgrade_rejected",
)
BAD_REQUESTS = Count("wsgi_ws_bad_requests_total", "Requests that were not valid HTTP.")
REJECTED = Count(
    "wsgi_ws_connections_rejected_total",
    "Clients turned away for a limit, by its key: those of the streams with 1013 at their "
    "socket's beginning, those of realtime with 503.",
    ("transport", "limit"),
    statsd="ws_connection_rejected",
)
CLOSED = Count(
    "wsgi_ws_connections_closed_total",
    "Sockets that ended, by who began it (client, server, network) and close code.",
    ("transport", "by", "code"),
)
TOKEN_EXPIRED = Count(
    "wsgi_ws_token_expired_total",
    "Sockets closed with 1008 since their token had expired.",
    ("transport",),
    statsd="ws_token_expired_disconnect",
)
EVENTS_READ = Count(
    "wsgi_ws_events_read_total",
    "Events read from Redis. Every worker reads all of them.",
    ("transport",),
    summary="events_read",
)
EVENTS_UNMATCHED = Count(
    "wsgi_ws_events_unmatched_total",
    "Events read for which the worker had no socket.",
    ("transport",),
)
EVENTS_MALFORMED = Count(
    "wsgi_ws_events_malformed_total",
    "Entries of the stream, or messages of the channel, that were skipped.",
    ("transport",),
    statsd="ws_malformed_entry",
    summary="events_malformed",
)
EVENTS_DELIVERED = Count(
    "wsgi_ws_events_delivered_total",
    "Live events handed to sockets, counted once for each socket.",
    ("transport",),
    summary="events_delivered",
)
CATCH_UPS = Count(statsd="ws_catch_up", summary="catch_ups")  # Prometheus has histograms of them
STREAM_GAPS = Count(
    "wsgi_ws_stream_gaps_total",
    "Times that events may have been lost: trimmed, flushed or restored streams.",
    statsd="stream_gap",
    summary="gaps",
)
RESYNCS = Count(
    "wsgi_ws_realtime_resyncs_total",
    "Times that live sockets of realtime were closed with 1012, since messages may have been "
    "missed.",
)
RESYNCHRONIZED = Count(
    "wsgi_ws_realtime_resynchronized_sockets_total",
    "Sockets that were to be closed at these times.",
)
REPLAYED = Count(
    "wsgi_ws_realtime_replayed_total",
    "Remembered messages handed to sockets of realtime that came back.",
)
MERGED = Count(
    "wsgi_ws_realtime_merged_total",
    "Messages of realtime that became one with an equal one before.",
)
SLOW_DISCONNECTS = Count(
    "wsgi_ws_slow_disconnects_total",
    "Clients cut because they read too slowly.",
    statsd="ws_client_backpressure_disconnect",
    summary="slow_disconnects",
)
SEND_ERRORS = Count(
    "wsgi_ws_send_errors_total",
    "Writes to sockets that failed.",
    statsd="ws_client_send_error",
)
REDIS_RECONNECTS = Count(
    "wsgi_ws_redis_reconnects_total",
    "Outages of Redis that were survived, counted by each transport.",
    ("transport",),
)
LOG_LINES_DROPPED = Count(
    "wsgi_ws_log_lines_dropped_total",
    "Log lines that could not be written: a full disk, a file out of reach, nobody who reads.",
)

COUNTS = tuple(value for value in vars().values() if isinstance(value, Count))
