# SPDX-License-Identifier: Apache-2.0
"""What a worker reports of itself: its stock, and the difference between two summaries."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.observe.metrics import Metrics, Stock, TransportStock
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.transport import Transport

STOCK = Stock(
    {
        Transport.STREAMS: TransportStock(
            connections=4, channels=3, ready=True, lag=0.25, redis_reconnects=1
        ),
        Transport.REALTIME: TransportStock(
            connections=2, channels=1, ready=True, lag=0.0, redis_reconnects=1
        ),
    },
    backlog_bytes=15,
    pings_outstanding=2,
    ready=True,
    log_lines_dropped=0,
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(StatsdClient(StatsdSettings(mock=True)))


@pytest.fixture
def reporter(metrics: Metrics) -> Reporter:
    return Reporter(metrics, lambda: STOCK)


def test_a_report_hands_the_stock_to_the_metrics() -> None:
    metrics = Mock(spec=Metrics)
    Reporter(metrics, lambda: STOCK).report()
    metrics.report.assert_called_once_with(STOCK)


def test_a_summary_has_the_stock_of_its_moment(reporter: Reporter) -> None:
    summary = reporter._summary(reporter.report(), reporter._summary_at + 60)
    assert (summary.sockets, summary.channels, summary.lag_s) == (6, 4, 0.25)
    assert summary.sockets_by_transport == {"streams": 4, "realtime": 2}


def test_a_summary_is_about_its_own_interval(reporter: Reporter, metrics: Metrics) -> None:
    metrics.of(Transport.STREAMS).delivered_batch(10, 4, 6, b"1-0")
    metrics.upgrade_rejected("expired")
    metrics.client_too_slow()
    start = reporter._summary_at
    first = reporter._summary(reporter.report(), start + 60)
    metrics.of(Transport.STREAMS).delivered_batch(3, 1, 1, b"1-0")
    metrics.upgrade_rejected("no_cookie")
    metrics.of(Transport.REALTIME).connected()
    second = reporter._summary(reporter.report(), start + 120)
    assert (first.events_read, first.events_delivered, first.refused) == (10, 6, {"expired": 1})
    assert (first.slow_disconnects, second.slow_disconnects) == (1, 0)
    assert (second.events_read, second.events_delivered, second.admitted) == (3, 1, 1)
    assert (second.refused, second.seconds) == ({"no_cookie": 1}, 60.0)


def test_a_summary_tells_with_which_codes_the_server_has_closed(
    reporter: Reporter, metrics: Metrics
) -> None:
    start = reporter._summary_at
    metrics.of(Transport.REALTIME).gone("server", 1012)
    reporter._summary(reporter.report(), start + 60)
    for transport, by, code in (
        (Transport.STREAMS, "server", 1013),
        (Transport.REALTIME, "server", 1013),
        (Transport.REALTIME, "server", 1008),
        (Transport.REALTIME, "client", 1000),
        (Transport.REALTIME, "network", 1006),
    ):
        metrics.of(transport).gone(by, code)
    assert reporter._summary(reporter.report(), start + 120).closed == {"1013": 2, "1008": 1}
