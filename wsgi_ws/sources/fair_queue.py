# SPDX-License-Identifier: Apache-2.0
"""A queue in which nobody waits for another's long line: keys are served in turn. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in lines, one line per key."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}  # none is empty; the next one to serve is the first
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, key: str, item: T) -> None:
        """Let an item wait at the end of its key's line."""
        self._lines.setdefault(key, deque()).append(item)
        self._length += 1

    def take(self, limit: int) -> list[T]:
        """The first of each line, in turn, of at most `limit` lines."""
        items = []
        for key in list(self._lines)[:limit]:
            line = self._lines.pop(key)
            items.append(line.popleft())
            if line:
                self._lines[key] = line  # behind all others
        self._length -= len(items)
        return items
