# SPDX-License-Identifier: Apache-2.0
"""What a StatsD server gets to see: a real one on loopback, as far as UDP goes."""

from __future__ import annotations

import logging
import re
import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import Metric

from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.observe.metrics import Metrics, StatsdClient, Stock
from wsgi_ws.observe.prometheus import LATENCY_BOUNDS, BulkHistogram, Prometheus


class Listener:
    """A StatsD server's socket. On loopback what has been sent is there at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def packets(self) -> list[str]:
        """All that has arrived since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


MakeClient = Callable[..., StatsdClient]


@pytest.fixture
def make_client(listener: Listener) -> Iterator[MakeClient]:
    """Clients of the listener with the options given; closed after the test."""
    made: list[StatsdClient] = []

    def make(extra_tags: list[str] | None = None, **options: Any) -> StatsdClient:
        settings = StatsdSettings(**{"port": listener.port} | options)
        made.append(StatsdClient(settings, extra_tags or []))
        return made[-1]

    yield make
    for client in made:
        client.close()


# --- the form of a line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        pytest.param({}, "hits:1|c", id="plain"),
        pytest.param({"prefix": "ws."}, "ws.hits:1|c", id="prefix, nothing added to it"),
        pytest.param({"suffix": "_x"}, "hits_x:1|c", id="suffix"),
        pytest.param({"prefix": "a.", "suffix": ".b"}, "a.hits.b:1|c", id="both"),
        pytest.param({"global_tags": ("a", "b:c")}, "hits:1|c|#a,b:c", id="DogStatsD tags"),
        pytest.param(
            {"global_tags": ("a", "b:c"), "tag_prefix": "@", "tag_separator": ";"},
            "hits:1|c|@a;b:c",
            id="DogStatsD tags with other separators",
        ),
        pytest.param({"telegraf": True}, "hits:1|c", id="Telegraf without tags"),
        pytest.param(
            {"global_tags": ("b:c", "d:e"), "telegraf": True},
            "hits,b=c,d=e:1|c",
            id="Telegraf tags",
        ),
        pytest.param(
            {"global_tags": ("b:c",), "telegraf": True, "prefix": "p.", "suffix": ".s"},
            "p.hits.s,b=c:1|c",
            id="Telegraf tags with prefix and suffix",
        ),
    ],
)
def test_a_counter_is_one_line(
    make_client: MakeClient, listener: Listener, options: dict[str, Any], line: str
) -> None:
    make_client(**options).incr("hits")
    assert listener.packets() == [line]


def test_a_counter_may_count_more_than_one(make_client: MakeClient, listener: Listener) -> None:
    make_client().incr("hits", 3)
    assert listener.packets() == ["hits:3|c"]


def test_a_gauge_is_one_line(make_client: MakeClient, listener: Listener) -> None:
    make_client(global_tags=("a",)).gauge("size", 7)
    assert listener.packets() == ["size:7|g|#a"]


def test_tags_come_in_the_order_global_then_the_processs_then_the_metrics(
    make_client: MakeClient, listener: Listener
) -> None:
    make_client(["worker:1"], global_tags=("env:x",)).incr("hits", tags=["reason:y"])
    assert listener.packets() == ["hits:1|c|#env:x,worker:1,reason:y"]


def test_tags_need_not_be_ascii(make_client: MakeClient, listener: Listener) -> None:
    make_client(global_tags=("ort:Zürich",)).incr("hits")
    assert listener.packets() == ["hits:1|c|#ort:Zürich"]


# --- how it is sent ------------------------------------------------------------------------------


def test_without_a_buffer_each_metric_is_sent_at_once(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client()
    client.incr("a")
    client.incr("b")
    assert listener.packets() == ["a:1|c", "b:1|c"]


def test_a_buffer_keeps_metrics_back_until_the_flush(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client(max_buffer_size=100)
    client.incr("a")
    client.incr("b")
    before = listener.packets()
    client.flush()
    assert (before, listener.packets()) == ([], ["a:1|c\nb:1|c"])


@pytest.mark.parametrize(
    ("size", "packets"),
    [
        (12, ["a:1|c\nb:1|c", "c:1|c"]),
        (11, ["a:1|c", "b:1|c", "c:1|c"]),  # the seed's library counts each line's newline
    ],
)
def test_a_full_buffer_is_sent_before_it_would_overflow(
    make_client: MakeClient, listener: Listener, size: int, packets: list[str]
) -> None:
    client = make_client(max_buffer_size=size)
    for name in "abc":
        client.incr(name)
    client.flush()
    assert listener.packets() == packets


def test_no_packet_is_larger_than_the_buffer(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(max_buffer_size=100, global_tags=("ü" * 10,))
    for _ in range(50):
        client.incr("hits")
    client.flush()
    assert max(len(packet.encode()) for packet in listener.packets()) <= 100


def test_a_metric_larger_than_the_buffer_is_sent_alone(
    make_client: MakeClient, listener: Listener
) -> None:
    client = make_client(max_buffer_size=5)
    client.incr("a-long-name")
    client.incr("b")
    client.flush()
    assert listener.packets() == ["a-long-name:1|c", "b:1|c"]


def test_closing_sends_what_was_kept_back(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(max_buffer_size=100)
    client.incr("a")
    client.close()
    assert listener.packets() == ["a:1|c"]


def test_an_empty_flush_sends_nothing(make_client: MakeClient, listener: Listener) -> None:
    make_client(max_buffer_size=100).flush()
    assert listener.packets() == []


def test_a_mock_sends_nothing(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(mock=True)
    client.incr("hits")
    client.gauge("size", 1)
    client.close()
    assert listener.packets() == []


# --- what goes wrong -----------------------------------------------------------------------------


def test_nobody_listening_is_no_error(make_client: MakeClient, listener: Listener) -> None:
    listener.close()
    client = make_client()
    for _ in range(10):
        client.incr("hits")  # the kernel reports each refusal at the next send


def test_a_closed_client_is_silent(make_client: MakeClient, listener: Listener) -> None:
    client = make_client()
    client.close()
    client.incr("hits")
    assert listener.packets() == []


def test_a_host_that_can_not_be_resolved_warns_with_the_key(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    make_client(host="statsd.example")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "statsd.host 'statsd.example'" in record.getMessage()


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"], ids=["dots", "long", "bytes"])
def test_a_host_that_is_no_name_warns_too(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    make_client(host=host)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_without_its_host_a_client_is_silent(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(host="a b")
    client.incr("hits")
    assert listener.packets() == []


def test_a_tag_that_can_not_be_encoded_is_no_error(
    make_client: MakeClient, listener: Listener
) -> None:
    make_client(global_tags=("x:\udcff",)).incr("hits")  # a byte of the environment, not UTF-8
    (packet,) = listener.packets()
    assert packet.startswith("hits:1|c|#x:")


# --- what is counted -----------------------------------------------------------------------------


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
    sums = (metrics.events_read, metrics.events_matched, metrics.events_delivered)
    assert (sums, listener.packets()) == ((4, 2, 5), [])


# --- what Prometheus gets ------------------------------------------------------------------------

STOCK = Stock(
    connections=5,
    channels=3,
    backlog_bytes=1000,
    pings_outstanding=2,
    ready=True,
    lag=0.25,
    redis_reconnects=1,
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


@given(st.lists(st.floats(0, 100)))
def test_observations_in_bulk_are_those_one_at_a_time(values: list[float]) -> None:
    bounds = LATENCY_BOUNDS
    one_by_one, bulk = CollectorRegistry(), CollectorRegistry()
    slow = Histogram("x", "x", registry=one_by_one, buckets=bounds)
    fast = BulkHistogram("x", "x", registry=bulk, buckets=bounds)
    counts = [0] * (len(bounds) + 1)
    for number in values:
        slow.observe(number)
        counts[bisect_left(bounds, number)] += 1
    fast.add(counts, sum(values))
    buckets = [[s.value for s in m.samples if s.name == "x_bucket"] for m in one_by_one.collect()]
    assert buckets == [[s.value for s in m.samples if s.name == "x_bucket"] for m in bulk.collect()]


@pytest.mark.parametrize("family", list(Prometheus().registry.collect()), ids=lambda f: f.name)
def test_a_name_follows_prometheuss_conventions(family: Metric) -> None:
    assert re.fullmatch(r"wsgi_ws_[a-z_]+", family.name)
    assert family.documentation.endswith(".")
    if family.type == "histogram":
        assert family.name.endswith(("_seconds", "_events"))
