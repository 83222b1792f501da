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


class _Key(NamedTuple):
    """A message; one that is published again is the same one, and younger."""

    frame: bytes
    routes: tuple[str, ...] | None


class _Place(NamedTuple):
    """When a message was last handed out, and the how manieth it was."""

    at: float
    number: int


class Memory:
    """Messages by whom they are for, in the order in which they were last published."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        """
        :param seconds: how long a message is kept; 0: none is.
        :param max_bytes: about how much memory to use.
        """
        self.size_bytes = 0
        self._complete_since = float("-inf")  # of what is newer than that, nothing is forgotten
        self._seconds = seconds
        self._max_bytes = max_bytes if seconds else 0
        self._kept: dict[_Key, _Place] = {}
        self._by_route: dict[str | None, dict[_Key, _Place]] = {}  # None: for everybody
        self._numbers = itertools.count()

    def remember(self, frame: bytes, routes: tuple[str, ...] | None, now: float) -> None:
        """Keep a message that is handed out now.

        :param routes: None: it is for everybody.
        :param now: of a clock that doesn't go back, in seconds.
        """
        key = _Key(frame, routes)
        self._forget(key)
        place = _Place(now, next(self._numbers))
        self._kept[key] = place
        for route in _routes_of(key):
            self._by_route.setdefault(route, {})[key] = place
        self.size_bytes += _size_of(key)
        self._forget_old(now)

    def since(self, topics: Iterable[str | None], after: float) -> list[bytes]:
        """The frames for some topics that were handed out at `after` or later, each once.

        :param topics: routes, and None for what is for everybody.
        """
        found: dict[_Place, bytes] = {}
        for topic in topics:
            for key, place in reversed(self._by_route.get(topic, {}).items()):
                if place.at < after:
                    break
                found[place] = key.frame
        return [found[place] for place in sorted(found)]

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
            self._complete_since = at
            self._forget(oldest)

    def _forget(self, key: _Key) -> None:
        if self._kept.pop(key, None) is None:
            return
        self.size_bytes -= _size_of(key)
        for route in _routes_of(key):
            del self._by_route[route][key]
            if not self._by_route[route]:
                del self._by_route[route]


def _routes_of(key: _Key) -> tuple[str | None, ...]:
    return (None,) if key.routes is None else key.routes


def _size_of(key: _Key) -> int:
    return len(key.frame) + ENTRY_OVERHEAD_BYTES
