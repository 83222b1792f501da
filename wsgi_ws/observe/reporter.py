# SPDX-License-Identifier: Apache-2.0
"""Takes stock of a worker: gauges every few seconds, a summary in the log every minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

import gevent

from wsgi_ws.hub import Registry
from wsgi_ws.loop import give_way
from wsgi_ws.observe.log_lines import SummaryLine
from wsgi_ws.observe.metrics import Metrics, Stock, Totals
from wsgi_ws.sources.streams.history import History

log = logging.getLogger(__name__)

REPORT_INTERVAL = 5.0  # seconds
FIRST_REPORT = 1.0  # seconds after the start, when Redis has usually answered
SUMMARY_INTERVAL = 60.0  # seconds
PIECE = 1000  # sockets to look at without giving way: a fraction of a millisecond


class Reader(Protocol):
    """What is told of the reading of the stream."""

    @property
    def connected(self) -> Any:
        """An event that is set while Redis can be read."""

    @property
    def caught_up(self) -> bool:
        """Whether the last read brought all that there was."""

    @property
    def reconnects(self) -> int:
        """Outages survived."""


class Reporter:
    """`run` in a greenlet reports until killed."""

    def __init__(
        self, registry: Registry, history: History, metrics: Metrics, reader: Reader
    ) -> None:
        self._registry = registry
        self._history = history
        self._metrics = metrics
        self._reader = reader
        self._caught_up_at = self._summary_at = time.monotonic()
        self._summed_up = metrics.totals()

    def run(self) -> None:
        """Report every few seconds, and sum up when a summary is due."""
        gevent.sleep(FIRST_REPORT)
        while True:
            stock = self.report()
            now = time.monotonic()
            if now - self._summary_at >= SUMMARY_INTERVAL:
                log.info(self._summary(stock, now))
            gevent.sleep(min(REPORT_INTERVAL, SUMMARY_INTERVAL))

    def report(self) -> Stock:
        """Hand what there is now to the metrics."""
        backlog, pinged = self._look_at_all()
        stock = Stock(
            connections=len(self._registry),
            channels=self._registry.channels,
            backlog_bytes=backlog,
            pings_outstanding=pinged,
            ready=self._reader.connected.is_set() and self._reader.caught_up,
            lag=self._lag(),
            redis_reconnects=self._reader.reconnects,
        )
        self._metrics.report(stock)
        return stock

    def _look_at_all(self) -> tuple[int, int]:
        """Bytes that wait for clients, and clients that have not answered a ping."""
        backlog = pinged = 0
        connections = list(self._registry)
        for start in range(0, len(connections), PIECE):
            for connection in connections[start : start + PIECE]:
                backlog += connection.backlog_bytes
                pinged += connection.unanswered_since is not None
            give_way()
        return backlog, pinged

    def _lag(self) -> float:
        """Not longer than since the last time that nothing was left to read: the age of what was
        read last says nothing while nothing is written."""
        now = time.monotonic()
        if self._reader.connected.is_set() and self._reader.caught_up:
            self._caught_up_at = now
            return 0.0
        age = max(0.0, time.time() - self._history.position.ms / 1000)
        return min(age, now - self._caught_up_at)

    def _summary(self, stock: Stock, now: float) -> SummaryLine:
        totals, before = self._metrics.totals(), self._summed_up
        seconds = round(now - self._summary_at, 1)
        self._summed_up, self._summary_at = totals, now
        return _difference(totals, before, stock, seconds)


def _difference(totals: Totals, before: Totals, stock: Stock, seconds: float) -> SummaryLine:
    refused = _growth(totals.refused, before.refused)
    return SummaryLine(
        seconds=seconds,
        sockets=stock.connections,
        channels=stock.channels,
        refused={reason: count for reason, count in refused.items() if count},
        lag_s=round(stock.lag, 3),
        **_growth(totals.counts, before.counts),
    )


def _growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}
