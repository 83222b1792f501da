# SPDX-License-Identifier: Apache-2.0
"""Tabs that are opened and closed for good, so that their number follows the plan's wave."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

LEAVING = 0.01  # of all tabs, per second, for good; others come instead


class Living(Protocol):
    """A tab."""

    async def live(self) -> None:
        """Connect, go and come back, until cancelled."""


T = TypeVar("T", bound=Living)


class Crowd(Generic[T]):
    """The tabs that are open, in no order."""

    def __init__(
        self, rng: random.Random, make: Callable[[], T], leaves: Callable[[T], None]
    ) -> None:
        """
        :param make: a new tab.
        :param leaves: hears of each tab that is closed for good.
        """
        self._rng = rng
        self._make = make
        self._leaves = leaves
        self._tabs: list[tuple[T, asyncio.Task[None]]] = []

    def __iter__(self) -> Iterator[T]:
        return (tab for tab, _ in self._tabs)

    def follow(self, target: int, seconds: float) -> None:
        """Let some go, and have as many as there should be.

        :param seconds: since the last time.
        """
        expected = LEAVING * seconds * len(self._tabs)
        leaving = int(expected) + (self._rng.random() < expected % 1)
        for _ in range(leaving):
            self._drop(self._rng.randrange(len(self._tabs)))
        while len(self._tabs) < target:
            tab = self._make()
            self._tabs.append((tab, asyncio.create_task(tab.live())))
        while len(self._tabs) > target:
            self._drop(self._rng.randrange(len(self._tabs)))

    async def leave(self) -> None:
        """Close all of them."""
        tasks = [task for _, task in self._tabs]
        while self._tabs:
            self._drop(len(self._tabs) - 1)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, index: int) -> None:
        self._tabs[index], self._tabs[-1] = self._tabs[-1], self._tabs[index]
        tab, task = self._tabs.pop()
        if task.done():
            task.result()  # which raises: a tab lives until it is cancelled
        task.cancel()
        self._leaves(tab)
