# SPDX-License-Identifier: Apache-2.0
"""Closes the sockets that may have missed a message: browsers then ask Superset what has happened.

Browsers repair a loss only after a close, so this is the one honest answer to it. They come back
after one to two seconds, and each that waits for charts asks Superset once. All at once would be a
storm, here and there, so they are closed a few at a time. Not before they can come back for good:
at the third attempt that fails a browser gives its charts up.
"""

from __future__ import annotations

from itertools import islice

import gevent
from gevent.event import Event

from wsgi_ws.hub import Hub
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode

RATE = 1000  # sockets per second: a third of what a worker takes back
STEP = 0.02  # seconds


class Resync:
    """`run` in a greenlet closes what `begin` has named, until killed."""

    def __init__(self, hub: Hub, metrics: TransportMetrics) -> None:
        self._hub = hub
        self._metrics = metrics
        self._waiting: dict[Connection, None] = {}  # the next one first
        self._reason = ""
        self._some = Event()

    def begin(self, reason: str) -> int:
        """Close every socket that is there now, soon.

        :param reason: of the close.
        :returns: how many they are.
        """
        self._waiting = dict.fromkeys(self._hub)
        self._reason = reason
        self._metrics.resynchronized(len(self._waiting))
        self._some.set()
        return len(self._waiting)

    def add(self, connection: Connection, reason: str) -> None:
        """Close one more."""
        self._waiting[connection] = None
        self._reason = reason
        self._metrics.resynchronized(1)
        self._some.set()

    def leave(self, connection: Connection) -> bool:
        """Forget a connection that has ended; returns whether its turn was still to come."""
        return self._waiting.pop(connection, True) is None

    def stop(self) -> None:
        """Leave those alone that are not closed yet."""
        self._waiting.clear()

    def run(self) -> None:
        """Close a few at a time, until killed."""
        while True:
            self._some.wait()
            self._some.clear()
            while self._waiting:
                for connection in list(islice(self._waiting, int(RATE * STEP))):
                    del self._waiting[connection]
                    connection.close(CloseCode.SERVICE_RESTART, self._reason)
                gevent.sleep(STEP)
