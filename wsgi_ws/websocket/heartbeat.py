# SPDX-License-Identifier: Apache-2.0
"""Pings and time-outs, spread evenly: which connections are due at which tick.

Theory. The interval between two pings is cut into slots, a wheel. A new connection gets the next
slot round robin, whatever the moment it came, so that ten thousand sockets that reconnect at once
are afterwards pinged a few at a time. Each tick pings one slot, and looks at the slot that was
pinged one time-out ago: who has not answered since then is dead.
"""

from __future__ import annotations

import contextlib
import math
import time

import gevent

from wsgi_ws.websocket.connection import Connection

SLOTS_MAX = 256
TICK_MIN = 0.02  # seconds; a shorter tick would cost more than it smooths


class Heartbeat:
    """The wheel of one worker. All times in seconds of one monotonic clock."""

    def __init__(self, interval: float, timeout: float) -> None:
        """
        :param interval: between two pings of a connection.
        :param timeout: how long a ping may stay unanswered.
        """
        count = max(1, min(SLOTS_MAX, int(interval / TICK_MIN)))
        self.tick_length = interval / count
        # Lists, since a set costs 50 bytes more for each connection. To leave one takes a search
        # through the 1/256 of all connections that are in it.
        self._slots: list[list[Connection]] = [[] for _ in range(count)]
        self._timeout = timeout
        # One more tick than the time-out, so that a tick that comes early still finds it over.
        self._lag = math.ceil(timeout / self.tick_length) + 1
        self._next_slot = 0
        self._tick = 0

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def add(self, connection: Connection) -> None:
        """Watch a connection: first ping within one interval."""
        connection.slot = self._next_slot
        self._slots[connection.slot].append(connection)
        self._next_slot = (self._next_slot + 1) % len(self._slots)

    def remove(self, connection: Connection) -> None:
        """Stop watching it, if it is watched."""
        with contextlib.suppress(ValueError):
            self._slots[connection.slot].remove(connection)

    def run(self) -> None:
        """Tick until killed. A late tick does not delay the next ones."""
        due = time.monotonic()
        while True:
            due += self.tick_length
            gevent.sleep(max(0.0, due - time.monotonic()))
            self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Terminate who timed out, ping who is due: the work of every `tick_length` seconds."""
        count = len(self._slots)
        for connection in self._slots[(self._tick - self._lag) % count]:
            since = connection.unanswered_since
            if since is not None and now - since >= self._timeout:
                connection.terminate(f"no pong for {now - connection.pong_at:.1f} s")
        for connection in self._slots[self._tick % count]:
            connection.ping(now)
        self._tick += 1
