# SPDX-License-Identifier: Apache-2.0
"""Everything that is counted, each declared once with its name wherever it is shown. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)  # the key of a mapping, by identity: that is fast
class Count:
    """What is counted, and where it is told.

    :ivar prometheus: name of a counter for Prometheus.
    :ivar help: its text there, a sentence.
    :ivar labels: names of its labels there.
    :ivar statsd: name in StatsD, where a label's value goes into the tag `reason`.
    :ivar summary: name of its field in the log's summary (`SummaryLine`).
    """

    prometheus: str | None = None
    help: str = ""
    labels: tuple[str, ...] = ()
    statsd: str | None = None
    summary: str | None = None


ADMITTED = Count(
    "wsgi_ws_handshakes_admitted_total",
    "Handshakes answered with 101.",
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
    "Sockets closed with 1013 at their beginning, by the limit that was reached.",
    ("limit",),
    statsd="ws_connection_rejected",
)
CLOSED = Count(
    "wsgi_ws_connections_closed_total",
    "Sockets that ended, by who began it (client, server, network) and close code.",
    ("by", "code"),
)
EVENTS_READ = Count(
    "wsgi_ws_events_read_total",
    "Events read from the stream. Every worker reads all of them.",
    summary="events_read",
)
EVENTS_UNMATCHED = Count(
    "wsgi_ws_events_unmatched_total",
    "Events read for whose channel the worker had no socket.",
)
EVENTS_MALFORMED = Count(
    "wsgi_ws_events_malformed_total",
    "Entries of the stream that were skipped.",
    statsd="ws_malformed_entry",
    summary="events_malformed",
)
EVENTS_DELIVERED = Count(
    "wsgi_ws_events_delivered_total",
    "Live events handed to sockets, counted once for each socket.",
    summary="events_delivered",
)
CATCH_UPS = Count(statsd="ws_catch_up", summary="catch_ups")  # Prometheus has histograms of them
STREAM_GAPS = Count(
    "wsgi_ws_stream_gaps_total",
    "Times that events may have been lost: trimmed, flushed or restored streams.",
    statsd="stream_gap",
    summary="gaps",
)
SLOW_DISCONNECTS = Count(
    "wsgi_ws_slow_disconnects_total",
    "Clients cut because they read too slowly.",
    statsd="ws_client_backpressure_disconnect",
)
SEND_ERRORS = Count(
    "wsgi_ws_send_errors_total",
    "Writes to sockets that failed.",
    statsd="ws_client_send_error",
)
REDIS_RECONNECTS = Count("wsgi_ws_redis_reconnects_total", "Outages of Redis that were survived.")
LOG_LINES_DROPPED = Count(
    "wsgi_ws_log_lines_dropped_total",
    "Log lines that could not be written: a full disk, a file out of reach, nobody who reads.",
)

COUNTS = tuple(value for value in vars().values() if isinstance(value, Count))
