# SPDX-License-Identifier: Apache-2.0
"""Closes the sockets that may have missed a message: browsers then ask Superset what has happened.

Browsers repair a loss only after a close, so this is the one honest answer to it. They come back
after one to two seconds, and each that waits for charts asks Superset once. All at once would be a
storm, here and there, so they are closed a few at a time. Not before they can come back for good:
at the third attempt that fails a browser gives its charts up. And not the same ones once a second
where subscriptions come and go: see `owed`.
"""

from __future__ import annotations

import time

import gevent
from gevent.event import Event

from wsgi_ws.hub import Hub
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.realtime.owed import Claim, Owed
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode

RATE = 1000  # sockets per second: a third of what a worker takes back
STEP = 0.02  # seconds


class Resync:
    """`run` in a greenlet closes those that are owed it, until killed."""

    def __init__(self, hub: Hub, metrics: TransportMetrics) -> None:
        self._hub = hub
        self._metrics = metrics
        self._owed: Owed[Connection] = Owed()
        self._closing: set[Connection] = set()  # whether their browsers know it, their ends tell
        self._heirs: set[Connection] = set()  # those whose claims were handed down
        self._is_held = False
        self._reason = ""
        self._some = Event()

    def begin(self, reason: str) -> int:
        """Close every socket that is there now, soon.

        :param reason: of the close.
        :returns: how many of them were not to be closed before.
        """
        count = self._owed.owe_all(self._hub)
        self._heirs.clear()
        self._is_held = False
        self._reason = reason
        self._metrics.resynchronized(count)
        self._some.set()
        return count

    def add(self, connection: Connection, reason: str) -> None:
        """Close one more, to which a claim was handed down."""
        self._owed.owe(connection)
        self._heirs.add(connection)
        self._reason = reason
        self._metrics.resynchronized(1)
        self._some.set()

    def claim_of(self, connection: Connection) -> Claim:
        """What a connection's browser has not been told, as far as is known."""
        if connection not in self._owed and connection not in self._closing:
            return Claim.NONE
        return Claim.HANDED_DOWN if connection in self._heirs else Claim.OWN

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._owed.forget(connection)
        self._closing.discard(connection)
        self._heirs.discard(connection)

    def hold(self) -> None:
        """Close nobody until the next `begin`: whoever is closed now would have to be again."""
        self._is_held = True

    def run(self) -> None:
        """Close a few at a time, until killed."""
        while True:
            self._some.wait(self._patience())
            self._some.clear()
            while self._close_some():
                gevent.sleep(STEP)

    def _patience(self) -> float | None:
        """Seconds until somebody's turn, if nothing happens meanwhile."""
        due_at = None if self._is_held else self._owed.next_at()
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    def _close_some(self) -> int:
        if self._is_held:
            return 0
        connections = self._owed.take(time.monotonic(), int(RATE * STEP))
        self._closing.update(connections)
        for connection in connections:
            connection.close(CloseCode.SERVICE_RESTART, self._reason)
        return len(connections)
