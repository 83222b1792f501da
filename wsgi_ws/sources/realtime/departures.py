# SPDX-License-Identifier: Apache-2.0
"""Until when a tab has certainly got everything, by its sockets at this worker that have ended.

A pong proves that what was sent before its ping has arrived. What came after that may have been
dropped: a browser that has begun to close its socket takes nothing more. Two browsers of one user
may number their tabs alike: of those that are away the one counts that has got the least.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from wsgi_ws.hub import Hub
from wsgi_ws.websocket.connection import Connection


class Departure(NamedTuple):
    """The end of a tab's sockets at this worker.

    :ivar at: of the last one, by `time.monotonic`, as the other one.
    :ivar heard_at: until when the tab has certainly got everything.
    :ivar is_told: whether the browser asks Superset for what it has missed. It does not when it has
        closed the socket itself, to open the next one.
    :ivar is_owed: whether the socket was still to be closed, since something may have been missed.
    """

    at: float
    heard_at: float
    is_told: bool
    is_owed: bool = False


class Departures:
    """The tabs' sockets that have ended lately."""

    def __init__(self, hub: Hub, seconds: float) -> None:
        """:param seconds: how long a departure is of interest."""
        self._hub = hub
        self._seconds = seconds
        self._departures: dict[str, Departure] = {}  # by tab's route, the oldest first

    def note(self, connection: Connection, *, is_told: bool, is_owed: bool) -> None:
        """A connection has ended; the hub still knows its topics."""
        now = time.monotonic()
        for topic in self._hub.topics_of(connection)[1:]:  # the first one is the principal's
            before = self._departures.pop(topic, None)
            heard = connection.taken_until
            if before is not None:
                heard = min(heard, before.heard_at)
            self._departures[topic] = Departure(now, heard, is_told, is_owed)
        self._forget_old(now)

    def take(self, topic: str) -> Departure | None:
        """What is known of a tab that comes back; None when it was not here.

        :param topic: the tab's route.
        """
        self._forget_old(time.monotonic())
        return self._departures.pop(topic, None)

    def _forget_old(self, now: float) -> None:
        while self._departures:
            oldest = next(iter(self._departures))
            if self._departures[oldest].at >= now - self._seconds:
                return
            del self._departures[oldest]
