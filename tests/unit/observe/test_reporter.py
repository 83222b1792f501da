# SPDX-License-Identifier: Apache-2.0
"""What a worker reports of itself: its stock, and the difference between two summaries."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.observe.metrics import Metrics, Stock
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.statsd import StatsdClient

STOCK = Stock(
    connections=4,
    channels=3,
    backlog_bytes=15,
    pings_outstanding=2,
    ready=True,
    lag=0.25,
    redis_reconnects=1,
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
    assert (summary.sockets, summary.channels, summary.lag_s) == (4, 3, 0.25)


def test_a_summary_is_about_its_own_interval(reporter: Reporter, metrics: Metrics) -> None:
    metrics.delivered(10, 4, 6, b"1-0")
    metrics.upgrade_rejected("expired")
    start = reporter._summary_at
    first = reporter._summary(reporter.report(), start + 60)
    metrics.delivered(3, 1, 1, b"1-0")
    metrics.upgrade_rejected("no_cookie")
    metrics.client_connected()
    second = reporter._summary(reporter.report(), start + 120)
    assert (first.events_read, first.events_delivered, first.refused) == (10, 6, {"expired": 1})
    assert (second.events_read, second.events_delivered, second.admitted) == (3, 1, 1)
    assert (second.refused, second.seconds) == ({"no_cookie": 1}, 60.0)
