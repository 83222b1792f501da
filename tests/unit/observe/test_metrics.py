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
from wsgi_ws.observe.metrics import Metrics, Stock
from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, BulkHistogram, Prometheus

# --- what StatsD gets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happening", "line"),
    [
        (lambda m: m.client_send_error(), "ws_client_send_error:1|c"),
        (lambda m: m.client_too_slow(), "ws_client_backpressure_disconnect:1|c"),
        (lambda m: m.connection_rejected("total"), "ws_connection_rejected:1|c|#reason:total"),
        (lambda m: m.upgrade_rejected("expired"), "ws_upgrade_rejected:1|c|#reason:expired"),
        (lambda m: m.connections_now(5), "ws_connected_clients:5|g"),
        (lambda m: m.connections_now(0), "ws_connected_clients:0|g"),
        (lambda m: m.malformed_entry(), "ws_malformed_entry:1|c"),
        (lambda m: m.stream_gap(), "stream_gap:1|c"),
        (lambda m: m.caught_up(3, 0.1), "ws_catch_up:1|c"),
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
    metrics.malformed_entry()
    metrics.connections_now(1)
    assert listener.packets() == ["ws_malformed_entry:1|c\nws_connected_clients:1|g"]


def test_clients_are_summed_up_until_the_report(
    make_client: MakeClient, listener: Listener
) -> None:
    metrics = Metrics(make_client())
    metrics.client_connected()
    metrics.client_connected()
    before = listener.packets()
    metrics.report(STOCK)
    metrics.report(STOCK)
    gauge = f"ws_connected_clients:{STOCK.connections}|g"
    assert (before, listener.packets()) == ([], ["ws_connected_client:2|c", gauge, gauge])


def test_events_are_summed_up_not_sent(make_client: MakeClient, listener: Listener) -> None:
    metrics = Metrics(make_client())
    metrics.delivered(events=3, matched=2, deliveries=5, oldest=b"1-0")
    metrics.delivered(events=1, matched=0, deliveries=0, oldest=b"1-0")
    counts = metrics.totals().counts
    assert (counts["events_read"], counts["events_delivered"]) == (4, 5)
    assert listener.packets() == []


# --- what Prometheus gets ------------------------------------------------------------------------

STOCK = Stock(
    connections=5,
    channels=3,
    backlog_bytes=1000,
    pings_outstanding=2,
    ready=True,
    lag=0.25,
    redis_reconnects=1,
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
    (lambda m: m.connection_rejected("total"), "connections_rejected_total", {"limit": "total"}),
    (
        lambda m: m.client_gone("client", 1000),
        "connections_closed_total",
        {"by": "client", "code": "1000"},
    ),
    (
        lambda m: m.client_gone("client", 4711),
        "connections_closed_total",
        {"by": "client", "code": "other"},
    ),
    (lambda m: m.client_send_error(), "send_errors_total", {}),
    (lambda m: m.client_too_slow(), "slow_disconnects_total", {}),
    (lambda m: m.malformed_entry(), "events_malformed_total", {}),
    (lambda m: m.stream_gap(), "stream_gaps_total", {}),
    (lambda m: m.caught_up(3, 0.1), "catch_up_events_count", {}),
    (lambda m: m.caught_up(3, 0.1), "catch_up_duration_seconds_count", {}),
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("workers", 1),
        ("workers_ready", 1),
        ("connections", 5),
        ("channels", 3),
        ("backlog_bytes", 1000),
        ("pings_outstanding", 2),
        ("reader_lag_seconds", 0.25),
        ("redis_reconnects_total", 1),
    ],
)
def test_a_report_sets_the_gauges(
    metrics: Metrics, prometheus: Prometheus, name: str, expected: float
) -> None:
    metrics.report(STOCK)
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_" + name) == expected


def test_a_report_passes_on_the_admitted_clients_since_the_last_one(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    for _ in range(2):
        metrics.client_connected()
        metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_handshakes_admitted_total") == 2


def test_a_report_passes_on_the_events_since_the_last_one(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    for _ in range(2):
        metrics.delivered(events=10, matched=4, deliveries=7, oldest=b"1-0")
        metrics.report(STOCK)
    names = ("events_read_total", "events_unmatched_total", "events_delivered_total")
    assert [value(prometheus, "wsgi_ws_" + name) for name in names] == [20, 12, 14]


def test_the_latency_is_the_age_of_the_batchs_oldest_event_for_all_that_were_delivered(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    oldest = b"%d-5" % ((time.time() - 2) * 1000)
    metrics.delivered(events=10, matched=4, deliveries=7, oldest=oldest)
    metrics.report(STOCK)
    name = "wsgi_ws_delivery_latency_seconds"
    assert value(prometheus, name + "_bucket", le="1.0") == 0
    assert value(prometheus, name + "_bucket", le="2.5") == 4
    assert value(prometheus, name + "_count") == 4
    assert value(prometheus, name + "_sum") == pytest.approx(8, abs=0.5)


def test_what_nobody_got_has_no_latency(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.delivered(events=10, matched=0, deliveries=0, oldest=b"1-0")
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_delivery_latency_seconds_count") == 0


def test_a_redis_whose_clock_is_ahead_makes_no_negative_latency(
    metrics: Metrics, prometheus: Prometheus
) -> None:
    ahead = b"%d-0" % ((time.time() + 60) * 1000)
    metrics.delivered(events=1, matched=1, deliveries=1, oldest=ahead)
    metrics.report(STOCK)
    assert value(prometheus, "wsgi_ws_delivery_latency_seconds_sum") == 0


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
