# SPDX-License-Identifier: Apache-2.0
"""Takes stock of a worker: gauges every few seconds, a summary in the log every minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import gevent

from wsgi_ws.observe.log_lines import SummaryLine
from wsgi_ws.observe.metrics import Metrics, Stock, Totals

log = logging.getLogger(__name__)

REPORT_INTERVAL = 5.0  # seconds
FIRST_REPORT = 1.0  # seconds after the start, when Redis has usually answered
SUMMARY_INTERVAL = 60.0  # seconds


class Reporter:
    """`run` in a greenlet reports until killed."""

    def __init__(self, metrics: Metrics, take_stock: Callable[[], Stock]) -> None:
        """:param take_stock: may give way to other greenlets."""
        self._metrics = metrics
        self._take_stock = take_stock
        self._summary_at = time.monotonic()
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
        stock = self._take_stock()
        self._metrics.report(stock)
        return stock

    def _summary(self, stock: Stock, now: float) -> SummaryLine:
        totals, before = self._metrics.totals(), self._summed_up
        seconds = round(now - self._summary_at, 1)
        self._summed_up, self._summary_at = totals, now
        return _difference(totals, before, stock, seconds)


def _difference(totals: Totals, before: Totals, stock: Stock, seconds: float) -> SummaryLine:
    return SummaryLine(
        seconds=seconds,
        sockets=stock.connections,
        channels=stock.channels,
        refused=_grown(totals.refused, before.refused),
        closed=_grown(totals.closed, before.closed),
        lag_s=round(stock.lag, 3),
        sockets_by_transport={
            transport.value: own.connections for transport, own in stock.transports.items()
        },
        **_growth(totals.counts, before.counts),
    )


def _grown(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What has grown at all."""
    return {name: growth for name, growth in _growth(now, before).items() if growth}


def _growth(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}
