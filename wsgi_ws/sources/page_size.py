# SPDX-License-Identifier: Apache-2.0
"""How many entries of a stream to ask for at once. Pure.

Redis counts entries, but its limits for a client are in bytes (`client-output-buffer-limit`,
`maxmemory-clients`), and so is the memory that a reply takes here. An event may have 300 bytes or
60,000. What the next ones weigh is guessed from the last ones.
"""

from __future__ import annotations

BUDGET_BYTES = 2 * 2**20  # of one reply
LEAST_BUDGET_BYTES = 2**16
FIRST = 100  # entries, while nothing is known
GROWTH = 4  # times what has been seen to work
RECOVERY = 600.0  # seconds without a reply that was too large, before the budget is doubled again


class PageSize:
    """Learns from each page that came, and from each that the connection was closed in place of."""

    def __init__(self, first: int = FIRST) -> None:
        """:param first: how many entries to ask for while nothing is known."""
        self._first = first
        self._works = first  # so many entries at once, as far as is known
        self._weight = 1.0  # bytes of an entry
        self._budget = BUDGET_BYTES
        self._refused_at = 0.0

    def entries(self, wanted: int) -> int:
        """How many to ask for: as many as wanted, or fewer, but at least one."""
        return max(1, min(wanted, self._works, int(self._budget / self._weight)))

    def entries_each(self, wanted: int, commands: int) -> int:
        """How many to ask for in each of several commands that go out together."""
        return max(1, min(wanted, self.entries(wanted * commands) // commands))

    def came(self, entries: int, size_bytes: int, now: float) -> None:
        """A page has come. Heavier entries count at once, lighter ones by and by.

        :param now: seconds, by a monotonic clock.
        """
        if self._budget < BUDGET_BYTES and now - self._refused_at >= RECOVERY:
            self._budget *= 2
            self._works = max(self._works, self._first)
            self._refused_at = now
        if entries:
            self._weight = max(1.0, size_bytes / entries, self._weight / 2)
            self._works = max(self._works, GROWTH * entries)

    def refused(self, entries: int, now: float) -> None:
        """The connection was closed when so many entries had been asked for."""
        self._works = max(1, entries // GROWTH)
        self._budget = max(LEAST_BUDGET_BYTES, self._budget // 2)
        self._refused_at = now
