# SPDX-License-Identifier: Apache-2.0
"""Access lines: handed in where something happens, written some moments later by one greenlet.

The handshake or the close that hands in a line does not wait until it is formatted and written.
Other lines do: a warning about a socket stands behind the line of its handshake.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque

import gevent
from gevent.event import Event

from wsgi_ws.loop import give_way
from wsgi_ws.observe.log_lines import CloseLine, HandshakeLine
from wsgi_ws.observe.log_output import together

PAUSE = 0.05  # seconds in which lines are collected
PIECE = 32  # lines that are written together: some hundred microseconds, and a page of a pipe


class AccessLog:
    """The lines of one worker, each with the time at which it was handed in: that is its time."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("wsgi_ws.access")
        # What all records of this process have in common. To find it out anew for each line takes
        # twice as long as the text of the line.
        name, level = self._logger.name, logging.INFO
        self._common = vars(self._logger.makeRecord(name, level, "", 0, "", (), None))
        self._lines: deque[tuple[float, HandshakeLine | CloseLine]] = deque()
        self._some = Event()

    @property
    def wanted(self) -> bool:
        """Whether lines are written at all: ask before making one."""
        return self._logger.isEnabledFor(logging.INFO)

    def write(self, line: HandshakeLine | CloseLine) -> None:
        """Take a line. Never blocks."""
        if not self._lines:
            self._some.set()
        self._lines.append((time.time(), line))

    def run(self) -> None:
        """Write until killed."""
        for handler in logging.getLogger("wsgi_ws").handlers:
            handler.addFilter(self._write_first)
        while True:
            self._some.wait()
            gevent.sleep(PAUSE)
            self._some.clear()
            self.flush()

    def flush(self) -> None:
        """Write the lines handed in so far; gives way in between."""
        while self._lines:
            self._write_some()
            give_way()

    def _write_first(self, record: logging.LogRecord) -> bool:
        """What was handed in before a line of another logger; called with each line."""
        if record.name != self._logger.name:
            while self._lines:
                self._write_some()
        return True

    def _write_some(self) -> None:
        """Write some lines, in as few writes as they need: each costs as much as making a line."""
        with together(), contextlib.suppress(IndexError):  # the watchdog has a thread of its own
            for _ in range(PIECE):
                self._write_one(*self._lines.popleft())

    def _write_one(self, at: float, line: HandshakeLine | CloseLine) -> None:
        record = logging.LogRecord.__new__(logging.LogRecord)
        vars(record).update(self._common)
        record.msg, record.created, record.msecs = line, at, at % 1 * 1000
        self._logger.handle(record)
