# SPDX-License-Identifier: Apache-2.0
"""What a worker reports of itself: gauges, lag, and the difference between two summaries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.hub import Registry
from wsgi_ws.observe.metrics import Metrics
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.stream_id import StreamId


class Reader:
    """A stream follower's outside."""

    def __init__(self) -> None:
        self.up = True
        self.connected = SimpleNamespace(is_set=lambda: self.up)
        self.caught_up = True
        self.reconnects = 0


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def history() -> History:
    return History(1000)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(StatsdClient(StatsdSettings(mock=True)))


@pytest.fixture
def reporter(registry: Registry, history: History, metrics: Metrics, reader: Reader) -> Reporter:
    return Reporter(registry, history, metrics, reader)


def socket(channel: str, backlog: int = 0, pinged_at: float | None = None) -> Any:
    return _Socket(channel, backlog, pinged_at)


@dataclass(eq=False)
class _Socket:
    channel: str
    backlog_bytes: int
    unanswered_since: float | None


def test_a_report_takes_stock(registry: Registry, reporter: Reporter) -> None:
    for connection in (socket("a", backlog=10), socket("a", pinged_at=1.0), socket("b", 5, 2.0)):
        registry.add(connection)
        registry.subscribe(connection)
    registry.add(socket("c"))  # which is catching up
    stock = reporter.report()
    assert (stock.connections, stock.channels) == (4, 3)
    assert (stock.backlog_bytes, stock.pings_outstanding) == (15, 2)


def test_there_is_no_lag_while_everything_is_read(reporter: Reporter) -> None:
    stock = reporter.report()
    assert (stock.ready, stock.lag) == (True, 0.0)


def test_under_load_the_lag_is_the_age_of_what_was_read_last(
    reporter: Reporter, reader: Reader, history: History
) -> None:
    reporter._caught_up_at -= 100
    reader.caught_up = False
    history.start_at(StreamId(int((time.time() - 7) * 1000), 0))
    stock = reporter.report()
    assert (stock.ready, round(stock.lag)) == (False, 7)


def test_in_an_outage_the_lag_is_not_longer_than_that(
    reporter: Reporter, reader: Reader, history: History
) -> None:
    history.start_at(StreamId(1, 0))  # nothing was written for decades
    reporter._caught_up_at -= 3
    reader.up = False
    stock = reporter.report()
    assert (stock.ready, round(stock.lag)) == (False, 3)


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
