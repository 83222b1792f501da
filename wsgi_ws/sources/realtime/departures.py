# SPDX-License-Identifier: Apache-2.0
"""What is known of the tabs whose sockets at this worker have ended.

What they have certainly got, and whether they may have missed something that their browsers have
not been told (a claim, see `owed`).

A pong proves that what was sent before its ping has arrived. What came after that may have been
dropped: a browser that has begun to close its socket takes nothing more. Two browsers of one user
may number their tabs alike, and tabs without a name are all alike: of those that are away the worst
is supposed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from wsgi_ws.hub import Hub
from wsgi_ws.sources.realtime.owed import RETURN_MIN, Claim
from wsgi_ws.websocket.connection import Connection

KEPT_MIN = 30.0  # seconds for which a departure is kept at least: no browser is away so long


@dataclass(slots=True)
class Departure:
    """The end of a tab's sockets at this worker.

    :ivar at: of the last one, by `time.monotonic`, as the other one.
    :ivar heard_at: until when the tab has certainly got everything.
    :ivar is_told: whether the browser asks Superset for what it has missed. It does not when it has
        closed the socket itself, to open the next one.
    :ivar claim: what the browser is not told yet.
    """

    at: float
    heard_at: float
    is_told: bool
    claim: Claim = Claim.NONE

    def join(self, other: Departure) -> None:
        """Suppose the worst of two that are away under one name."""
        self.at = max(self.at, other.at)
        self.heard_at = min(self.heard_at, other.heard_at)
        self.is_told = self.is_told and other.is_told
        self.claim = max(self.claim, other.claim)


class Departures:
    """The tabs' sockets that have ended lately."""

    def __init__(self, hub: Hub, seconds: float) -> None:
        """:param seconds: how long a departure is of interest, if that is more than `KEPT_MIN`."""
        self._hub = hub
        self._seconds = max(seconds, KEPT_MIN)
        # Both by tab's route (of a tab without a name, its principal's), the oldest first.
        self._departures: dict[str, Departure] = {}
        self._claimed_at: dict[str, float] = {}

    def note(self, connection: Connection, *, is_told: bool, claim: Claim) -> None:
        """A connection has ended; the hub still knows its topics."""
        now = time.monotonic()
        for topic in self._hub.topics_of(connection)[-1:]:
            departure = Departure(now, connection.taken_until, is_told, claim)
            before = self._departures.pop(topic, None)
            if before is not None:
                departure.join(before)
            self._departures[topic] = departure
        self._forget_old(now)

    def owe_all(self) -> None:
        """Something may have been missed: each browser that is between two sockets has a claim."""
        self._forget_old(time.monotonic())
        for departure in self._departures.values():
            if not departure.is_told:
                departure.claim = Claim.OWN

    def take(self, topic: str) -> Departure | None:
        """What is known of a tab that comes back; None when it was not here.

        A claim of its own is there for others of the name for a moment more: who comes before
        anybody can be back from a close is another browser, and may be the one that it is of.

        :param topic: the tab's route.
        """
        now = time.monotonic()
        self._forget_old(now)
        departure = self._departures.pop(topic, None)
        if departure is not None and departure.claim is Claim.OWN:
            self._claimed_at.pop(topic, None)
            self._claimed_at[topic] = now
        return departure

    def is_claimed(self, topic: str) -> bool:
        """Whether another socket has just taken a claim that may be this one's."""
        return time.monotonic() - self._claimed_at.get(topic, float("-inf")) < RETURN_MIN

    def _forget_old(self, now: float) -> None:
        while self._departures:
            oldest = next(iter(self._departures))
            if self._departures[oldest].at >= now - self._seconds:
                break
            del self._departures[oldest]
        while self._claimed_at:
            oldest = next(iter(self._claimed_at))
            if self._claimed_at[oldest] > now - RETURN_MIN:
                break
            del self._claimed_at[oldest]
