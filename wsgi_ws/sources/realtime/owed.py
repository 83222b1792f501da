# SPDX-License-Identifier: Apache-2.0
"""The sockets that are owed a close, and when each may have it. Pure.

They are owed it by a claim: something may have been missed, and the browser has not been told.

A tab that was closed is back within seconds, and what it has missed until then it has asked for. If
subscriptions come and go, each new one owes all sockets a close; but a tab is not to be closed once
a second. So a socket whose tab may have been closed lately has to reach some age before its turn.
Which one that is, is told by times alone: a tab need not have a name, so that only of all closes
together it is known when they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from itertools import islice, takewhile
from typing import Generic, Protocol, TypeVar

INTERVAL = 10.0  # seconds between two closes of a tab, at least
# A browser that is told by a close comes back after a second at the earliest.
RETURN_MIN = 0.9  # seconds


class Claim(IntEnum):
    """A tab may have missed something, and its browser has not been told. The greater, the worse.

    A claim ends when the browser knows of the end of a socket. Until then it goes from a socket to
    the tab's next one. Which that is, is not always known: a claim of the tab's own goes to each
    that may be it, one that was handed down goes to one. So claims can't multiply among browsers
    that number their tabs alike.
    """

    NONE = 0
    HANDED_DOWN = 1
    OWN = 2  # the tab itself was there when something may have been missed


class Timed(Protocol):
    """What has a beginning."""

    @property
    def opened_at(self) -> float:
        """Seconds of the clock that all times here are of."""


SocketT = TypeVar("SocketT", bound=Timed)


class Owed(Generic[SocketT]):
    """A queue; `len` is how many wait in it.

    Its order is that in which the sockets were opened, so a look at the first ones is enough.
    Closes that follow each other within `INTERVAL` are a series. A socket from before its first
    close has not been closed in it, nor has its tab.
    """

    def __init__(self) -> None:
        self._sockets: dict[SocketT, None] = {}
        self._series_began = float("-inf")
        self._closed_at = float("-inf")  # the last one

    def __len__(self) -> int:
        return len(self._sockets)

    def __contains__(self, socket: SocketT) -> bool:
        return socket in self._sockets

    def owe_all(self, sockets: Iterable[SocketT]) -> int:
        """Owe it to these and to nobody else; returns to how many it was not owed before.

        :param sockets: the oldest first.
        """
        before = self._sockets
        self._sockets = dict.fromkeys(sockets)
        return len(self._sockets.keys() - before.keys())

    def owe(self, socket: SocketT) -> None:
        """Owe it to one that has just been opened."""
        self._sockets[socket] = None

    def forget(self, socket: SocketT) -> None:
        """A socket has ended."""
        self._sockets.pop(socket, None)

    def next_at(self) -> float | None:
        """When the next one may be closed; None: there is none."""
        return next(map(self._due_at, self._sockets), None)

    def take(self, now: float, count: int) -> list[SocketT]:
        """Those whose turn it is, to be closed now; `count` at most."""
        first = islice(self._sockets, count)
        taken = list(takewhile(lambda socket: self._due_at(socket) <= now, first))
        for socket in taken:
            del self._sockets[socket]
        if taken:
            if now - self._closed_at > INTERVAL:
                self._series_began = now
            self._closed_at = now
        return taken

    def _due_at(self, socket: SocketT) -> float:
        opened_at = socket.opened_at
        first, last = self._series_began + RETURN_MIN, self._closed_at + INTERVAL
        return opened_at + INTERVAL if first <= opened_at <= last else opened_at
