# SPDX-License-Identifier: Apache-2.0
"""The messages of the last seconds, for tabs whose socket was away for a moment. Pure.

A browser closes its socket before it opens the next one (every nine minutes, to renew its token),
and at a restart all of them come back. What is published in between is not asked for by lists. Only
what may come twice without harm is kept, since whether a browser has it can't always be known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

ENTRY_OVERHEAD_BYTES = 400  # what a message costs besides its frame
ROUTE_OVERHEAD_BYTES = 250  # and each of its routes, besides its text

_Message = tuple[bytes, tuple[str, ...] | None]  # frame, routes


class _Kept(NamedTuple):
    """A message, and when it was last handed out.

    :ivar message: the same one when it is published again.
    """

    message: _Message
    at: float


class Memory:
    """Messages by whom they are for, in the order in which they were last published.

    They go by numbers that rise: to compare the routes of one for each of its routes would take a
    second where there are ten thousand.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        """
        :param seconds: how long a message is kept; 0: none is.
        :param max_bytes: about how much memory to use.
        """
        self.size_bytes = 0
        self._complete_since = float("-inf")  # of what is newer than that, nothing is forgotten
        self._seconds = seconds
        self._max_bytes = max_bytes if seconds else 0
        self._kept: dict[int, _Kept] = {}
        self._numbers: dict[_Message, int] = {}
        self._by_route: dict[str | None, dict[int, None]] = {}  # None: for everybody
        self._count = itertools.count()

    def remember(self, frame: bytes, routes: tuple[str, ...] | None, now: float) -> None:
        """Keep a message that is handed out now.

        :param routes: None: it is for everybody.
        :param now: of a clock that doesn't go back, in seconds.
        """
        message = (frame, routes)
        size = size_of(message)
        if size > self._max_bytes:
            self._complete_since = now
            return
        if message in self._numbers:
            self._forget(self._numbers[message])
        number = next(self._count)
        self._numbers[message] = number
        self._kept[number] = _Kept(message, now)
        for route in _routes_of(message):
            self._by_route.setdefault(route, {})[number] = None
        self.size_bytes += size
        self._forget_old(now)

    def since(self, topics: Iterable[str | None], after: float) -> list[bytes]:
        """The frames for some topics that were handed out at `after` or later, each once.

        :param topics: routes, and None for what is for everybody.
        """
        found: set[int] = set()
        for topic in topics:
            for number in reversed(self._by_route.get(topic, {})):
                if self._kept[number].at < after:
                    break
                found.add(number)
        return [self._kept[number].message[0] for number in sorted(found)]

    def is_complete_since(self, after: float) -> bool:
        """Whether nothing that was handed out after this moment had to be forgotten for its size
        or its age."""
        return after > self._complete_since

    def _forget_old(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            at = self._kept[oldest].at
            if self.size_bytes <= self._max_bytes and at >= now - self._seconds:
                return
            self._complete_since = max(self._complete_since, at)
            self._forget(oldest)

    def _forget(self, number: int) -> None:
        message = self._kept.pop(number).message
        del self._numbers[message]
        self.size_bytes -= size_of(message)
        for route in _routes_of(message):
            del self._by_route[route][number]
            if not self._by_route[route]:
                del self._by_route[route]


def _routes_of(message: _Message) -> tuple[str | None, ...]:
    _, routes = message
    return (None,) if routes is None else routes


def size_of(message: _Message) -> int:
    """About how much memory a message takes, in bytes."""
    frame, routes = message
    overhead = ENTRY_OVERHEAD_BYTES + sum([len(r) + ROUTE_OVERHEAD_BYTES for r in routes or ()])
    return len(frame) + overhead
