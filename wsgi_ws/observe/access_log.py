# SPDX-License-Identifier: Apache-2.0
"""Access lines, written by a greenlet of their own some moments later.

A handshake is the whole life of its greenlet, and in a fresh one all that logging touches is cold:
a line costs twice as much there as it does here, where many are written in a row.
"""

from __future__ import annotations

import logging
import time
from collections import deque

import gevent
from gevent.event import Event

from wsgi_ws.loop import give_way
from wsgi_ws.observe.log_lines import CloseLine, HandshakeLine

PAUSE = 0.05  # seconds in which lines are collected


class AccessLog:
    """The lines of one worker, with the times at which they were handed in."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("wsgi_ws.access")
        self._lines: deque[tuple[float, HandshakeLine | CloseLine]] = deque()
        self._some = Event()

    @property
    def wanted(self) -> bool:
        """Whether it is worth making a line."""
        return self._logger.isEnabledFor(logging.INFO)

    def write(self, line: HandshakeLine | CloseLine) -> None:
        """Take a line. Never blocks."""
        if not self._lines:
            self._some.set()
        self._lines.append((time.time(), line))

    def run(self) -> None:
        """Write until killed."""
        while True:
            self._some.wait()
            gevent.sleep(PAUSE)
            self._some.clear()
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        while self._lines:
            at, line = self._lines.popleft()
            name, level = self._logger.name, logging.INFO
            record = self._logger.makeRecord(name, level, "", 0, line, (), None)
            record.created, record.msecs = at, at % 1 * 1000
            self._logger.handle(record)
            give_way()
