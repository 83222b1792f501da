# SPDX-License-Identifier: Apache-2.0
"""What is counted, and under which names StatsD and Prometheus are told."""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric

from tests.unit.observe.conftest import Listener, MakeClient
from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.observe.counts import COUNTS
from wsgi_ws.observe.metrics import Metrics, Stock, TransportMetrics, TransportStock
from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, BulkHistogram, Prometheus
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.transport import Transport

STREAMS, REALTIME = Transport.STREAMS, Transport.REALTIME

# --- what StatsD gets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happening", "line"),
    [
        (lambda m: m.client_send_error(), "ws_client_send_error:1|c"),
        (lambda m: m.client_too_slow(), "ws_client_backpressure_disconnect:1|c"),
        (
            lambda m: m.of(REALTIME).rejected("total"),
            "ws_connection_rejected:1|c|#transport:realtime,reason:total",
        ),
        (lambda m: m.upgrade_rejected("expired"), "ws_upgrade_rejected:1|c|#reason:expired"),
        (lambda m: m.connections_now(5), "ws_connected_clients:5|g"),
        (lambda m: m.connections_now(0), "ws_connected_clients:0|g"),
        (lambda m: m.of(STREAMS).malformed(), "ws_malformed_entry:1|c|#transport:streams"),
        (lambda m: m.of(STREAMS).gap(), "stream_gap:1|c"),
        (lambda m: m.of(STREAMS).caught_up(3, 0.1), "ws_catch_up:1|c"),
    ],
)
def test_a_happening_has_its_name(
    make_client: MakeClient, listener: Listener, happening: Callable[[Metrics], None], line: str
) -> None:
    happening(Metrics(make_client()))
    assert listener.packets() == [line]


def test_the_gauge_flushes_what_the_buffer_kept_back(
    make_client: MakeClient, listener: Listener
) -> None:
    metrics = Metrics(make_client(max_buffer_size=1000))
    metrics.client_too_slow()
    metrics.connections_now(1)
    assert listener.packets() == ["ws_client_backpressure_disconnect:1|c\nws_connected_clients:1|g"]


@pytest.mark.parametrize(
    ("happening", "name"),
    [
        (lambda m: m.connected(), "ws_connected_client"),
        (lambda m: m.token_expired(), "ws_token_expired_disconnect"),
    ],
)
def test_what_happens_to_many_clients_is_summed_up_until_the_report(
    make_client: MakeClient,
    listener: Listener,
    happening: Callable[[TransportMetrics], None],
    name: str,
) -> None:
    metrics = Metrics(make_client())
    happening(metrics.of(STREAMS))
    happening(metrics.of(STREAMS))
    before = listener.packets()
    metrics.report(STOCK)
    metrics.report(STOCK)
    gauge = f"ws_connected_clients:{STOCK.connections}|g"
    line = f"{name}:2|c|#transport:streams"
    assert (before, listener.packets()) == ([], [line, gauge, gauge])


def test_events_are_summed_up_not_sent(make_client: MakeClient, listener: Listener) -> None:
    metrics = Metrics(make_client())
    metrics.of(STREAMS).delivered_batch(events=3, matched=2, deliveries=5, oldest=b"1-0")
    metrics.of(REALTIME).delivered(events=1, sockets=7)
    assert listener.packets() == []


# --- what the summary gets -----------------------------------------------------------------------


def test_the_totals_are_of_all_transports_together(metrics: Metrics) -> None:
    metrics.of(STREAMS).delivered_batch(events=3, matched=2, deliveries=5, oldest=b"1-0")
    metrics.of(REALTIME).delivered(events=1, sockets=7)
    counts = metrics.totals().counts
    assert (counts["events_read"], counts["events_delivered"]) == (4, 12)


def test_the_totals_have_every_field_of_the_summary_from_the_start(metrics: Metrics) -> None:
    metrics.of(STREAMS)
    assert set(metrics.totals().counts) == {count.summary for count in COUNTS if count.summary}


# --- what Prometheus gets ------------------------------------------------------------------------

STOCK = Stock(
    {
        STREAMS: TransportStock(
            connections=5, channels=3, ready=True, lag=0.25, redis_reconnects=1
        ),
        REALTIME: TransportStock(
            connections=7, channels=2, ready=False, lag=0.0, redis_reconnects=4
        ),
    },
    backlog_bytes=1000,
    pings_outstanding=2,
    ready=True,
    log_lines_dropped=0,
)


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus()


@pytest.fixture
def metrics(make_client: MakeClient, prometheus: Prometheus) -> Metrics:
    return Metrics(make_client(mock=True), prometheus, reasons=["expired", "no_cookie"])


def value(prometheus: Prometheus, name: str, **labels: str) -> float | None:
    return prometheus.registry.get_sample_value(name, labels)


HAPPENINGS: list[tuple[Callable[[Metrics], None], str, dict[str, str]]] = [
    (lambda m: m.upgrade_rejected("expired"), "handshakes_refused_total", {"reason": "expired"}),
    (lambda m: m.bad_request(), "bad_requests_total", {}),
    (
        lambda m: m.of(REALTIME).rejected("total"),
        "connections_rejected_total",
        {"transport": "realtime", "limit": "total"},
    ),
    (
        lambda m: m.of(STREAMS).gone("client", 1000),
        "connections_closed_total",
        {"transport": "streams", "by": "client", "code": "1000"},
    ),
    (
        lambda m: m.of(STREAMS).gone("client", 4711),
        "connections_closed_total",
        {"transport": "streams", "by": "client", "code": "other"},
    ),
    (lambda m: m.client_send_error(), "send_errors_total", {}),
    (lambda m: m.client_too_slow(), "slow_disconnects_total", {}),
    (
        lambda m: m.of(REALTIME).malformed(),
        "events_malformed_total",
        {"transport": "realtime"},
    ),
    (lambda m: m.of(STREAMS).gap(), "stream_gaps_total", {}),
    (lambda m: m.of(STREAMS).caught_up(3, 0.1), "catch_up_events_count", {}),
    (lambda m: m.of(STREAMS).caught_up(3, 0.1), "catch_up_duration_seconds_count", {}),
    (lambda m: m.loop_delay(0.1), "loop_delay_seconds_count", {}),
]


@pytest.mark.parametrize(("happening", "name", "labels"), HAPPENINGS)
def test_a_happening_is_counted(
    metrics: Metrics,
    prometheus: Prometheus,
    happening: Callable[[Metrics], None],
    name: str,
    labels: dict[str, str],
) -> None:
    happening(metrics)
    assert value(prometheus, "wsgi_ws_" + name, **labels) == 1


def test_every_reason_is_there_from_the_start(metrics: Metrics, prometheus: Prometheus) -> None:
    assert value(prometheus, "wsgi_ws_handshakes_refused_total", reason="no_cookie") == 0


@pytest.mark.parametrize("name", ["events_read_total", "connections"])
def test_a_transports_series_are_there_from_the_start(
    metrics: Metrics, prometheus: Prometheus, name: str
) -> None:
    metrics.of(REALTIME)
    assert value(prometheus, "wsgi_ws_" + name, transport="realtime") == 0


def test_a_transport_that_is_not_offered_has_no_series(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    metrics.of(STREAMS)
    assert value(prometheus, "wsgi_ws_events_read_total", transport="realtime") is None


def test_a_transport_has_its_metrics_once(metrics: Metrics) -> None:
    assert metrics.of(STREAMS) is metrics.of(STREAMS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("workers", 1), ("workers_ready", 1), ("backlog_bytes", 1000), ("pings_outstanding", 2)],
)
def test_a_report_sets_the_workers_gauges(
    metrics: Metrics, prometheus: Prometheus, name: str, expected: float
) -> None:
    metrics.report(STOCK)
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_" + name) == expected


@pytest.mark.parametrize(
    ("name", "of_streams", "of_realtime"),
    [
        ("transport_ready", 1, 0),
        ("connections", 5, 7),
        ("channels", 3, 2),
        ("reader_lag_seconds", 0.25, 0),
        ("redis_reconnects_total", 1, 4),
    ],
)
def test_a_report_sets_each_transports_gauges(
    metrics: Metrics, prometheus: Prometheus, name: str, of_streams: float, of_realtime: float
) -> None:
    metrics.report(STOCK)
    metrics.report(STOCK)
    found = [value(prometheus, "wsgi_ws_" + name, transport=each.value) for each in Transport]
    assert found == [of_streams, of_realtime]


@pytest.mark.parametrize(
    ("happening", "name"),
    [
        (lambda m: m.connected(), "handshakes_admitted_total"),
        (lambda m: m.token_expired(), "token_expired_total"),
    ],
)
def test_a_report_passes_on_the_clients_since_the_last_one(
    metrics: Metrics,
    prometheus: Prometheus,
    happening: Callable[[TransportMetrics], None],
    name: str,
) -> None:
    for _ in range(2):
        happening(metrics.of(REALTIME))
        metrics.report(STOCK)
    found = [value(prometheus, "wsgi_ws_" + name, transport=each.value) for each in Transport]
    assert found == [0, 2]


# --- events --------------------------------------------------------------------------------------


def events_counted(prometheus: Prometheus, transport: Transport) -> list[float | None]:
    """Read, unmatched, delivered."""
    names = ("events_read_total", "events_unmatched_total", "events_delivered_total")
    return [value(prometheus, "wsgi_ws_" + each, transport=transport.value) for each in names]


def test_a_report_passes_on_the_events_since_the_last_one(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    for _ in range(2):
        metrics.of(STREAMS).delivered_batch(events=10, matched=4, deliveries=7, oldest=b"1-0")
        metrics.report(STOCK)
    assert events_counted(prometheus, STREAMS) == [20, 12, 14]


def test_an_event_of_one_transport_is_none_of_the_others(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    metrics.of(STREAMS).delivered_batch(events=10, matched=4, deliveries=7, oldest=b"1-0")
    metrics.report(STOCK)
    assert events_counted(prometheus, REALTIME) == [0, 0, 0]


def test_events_for_the_same_sockets_count_once_for_each_of_them(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    metrics.of(REALTIME).delivered(events=3, sockets=5)
    metrics.report(STOCK)
    assert events_counted(prometheus, REALTIME) == [3, 0, 15]


def test_events_for_no_socket_are_unmatched(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.of(REALTIME).delivered(events=3, sockets=0)
    metrics.report(STOCK)
    assert events_counted(prometheus, REALTIME) == [3, 3, 0]


def test_the_latency_is_the_age_of_the_batchs_oldest_event_for_all_that_were_delivered(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    oldest = b"%d-5" % ((time.time() - 2) * 1000)
    metrics.of(STREAMS).delivered_batch(events=10, matched=4, deliveries=7, oldest=oldest)
    metrics.report(STOCK)
    name = "wsgi_ws_delivery_latency_seconds"
    assert value(prometheus, name + "_bucket", le="1.0") == 0
    assert value(prometheus, name + "_bucket", le="2.5") == 4
    assert value(prometheus, name + "_count") == 4
    assert value(prometheus, name + "_sum") == pytest.approx(8, abs=0.5)


def test_what_nobody_got_has_no_latency(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.of(STREAMS).delivered_batch(events=10, matched=0, deliveries=0, oldest=b"1-0")
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_delivery_latency_seconds_count") == 0


def test_a_redis_whose_clock_is_ahead_makes_no_negative_latency(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    ahead = b"%d-0" % ((time.time() + 60) * 1000)
    metrics.of(STREAMS).delivered_batch(events=1, matched=1, deliveries=1, oldest=ahead)
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_delivery_latency_seconds_sum") == 0


# --- what only realtime has ----------------------------------------------------------------------


def test_a_merged_message_was_read_too(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.of(REALTIME).merged()
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_realtime_merged_total") == 1
    assert events_counted(prometheus, REALTIME) == [1, 0, 0]


def test_replayed_messages_are_counted(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.of(REALTIME).replayed(3)
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_realtime_replayed_total") == 3


def resynchronized(prometheus: Prometheus) -> list[float | None]:
    """Times, and sockets."""
    names = ("resyncs_total", "resynchronized_sockets_total")
    return [value(prometheus, "wsgi_ws_realtime_" + name) for name in names]


def test_a_resynchronization_is_counted_with_its_sockets(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    metrics.of(REALTIME).resynchronized(40)
    metrics.report(STOCK)
    assert resynchronized(prometheus) == [1, 40]


def test_without_sockets_there_is_nothing_to_resynchronize(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    metrics.of(REALTIME).resynchronized(0)
    metrics.report(STOCK)
    assert resynchronized(prometheus) == [0, 0]


# --- how long realtime has been silent -----------------------------------------------------------


class Listening:
    """A worker's reports at times of our own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.prometheus = Prometheus()
        metrics = Metrics(StatsdClient(StatsdSettings(mock=True)), self.prometheus)
        self.metrics = metrics.of(REALTIME)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def silence(self, after: float, *, ready: bool = True, reconnects: int = 0) -> float | None:
        """Seconds, as told by a report some seconds after the last one."""
        self.now += after
        self.metrics.report(TransportStock(1, 1, ready, 0.0, reconnects))
        return value(self.prometheus, "wsgi_ws_realtime_silence_seconds")


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Listening:
    return Listening(monkeypatch)


def test_a_silence_begins_with_the_subscription(listening: Listening) -> None:
    assert [listening.silence(after) for after in (0, 5, 60)] == [0, 5, 65]


def test_whoever_is_not_subscribed_hears_no_silence(listening: Listening) -> None:
    listening.silence(0)
    assert listening.silence(60, ready=False) == 0


def test_a_silence_begins_anew_after_an_outage_between_two_reports(listening: Listening) -> None:
    listening.silence(0)
    assert listening.silence(5, reconnects=1) == 0


@pytest.mark.parametrize(
    "happening",
    [lambda m: m.delivered(1, 1), lambda m: m.delivered(1, 0), lambda m: m.malformed()],
)
def test_whatever_comes_ends_a_silence(
    listening: Listening, happening: Callable[[TransportMetrics], None]
) -> None:
    listening.silence(0)
    listening.silence(60)
    happening(listening.metrics)
    assert listening.silence(5) == 0


# --- the library ---------------------------------------------------------------------------------


def samples(histogram: Histogram) -> list[Any]:
    """Buckets, count and sum, which adding up may round differently."""
    (metric,) = histogram.collect()
    return [
        (s.name, s.labels, pytest.approx(s.value))
        for s in metric.samples
        if not s.name.endswith("_created")
    ]


@given(st.lists(st.floats(0, 100)))
def test_observations_in_bulk_are_those_one_at_a_time(values: list[float]) -> None:
    bounds = LATENCY_BOUNDS
    slow = Histogram("x", "x", registry=None, buckets=bounds)
    fast = BulkHistogram("x", "x", registry=None, buckets=bounds)
    counts = [0] * (len(bounds) + 1)
    for number in values:
        slow.observe(number)
        counts[bisect_left(bounds, number)] += 1
    fast.add(counts, sum(values))
    assert samples(fast) == samples(slow)


@pytest.mark.parametrize("family", list(Prometheus().registry.collect()), ids=lambda f: f.name)
def test_a_name_follows_prometheuss_conventions(family: Metric) -> None:
    assert re.fullmatch(r"wsgi_ws_[a-z_]+", family.name)
    assert family.documentation.endswith(".")
    if family.type == "histogram":
        assert family.name.endswith(("_seconds", "_events"))
