# SPDX-License-Identifier: Apache-2.0
"""How many entries to ask Redis for at once, so that a reply has a bound in bytes. Pure.

Redis counts entries only. What the next ones weigh is guessed from the last ones.
"""

from __future__ import annotations

import time

BUDGET_BYTES = 2 * 2**20  # of one reply; Redis's own limits for a client begin at some megabytes
LEAST_BUDGET_BYTES = 2**16
FIRST_GUESS_BYTES = 512  # an event of Superset's with what Redis sends around it
RECOVERY = 60.0  # seconds after a refusal before more is asked for again


class Ration:
    """Learns from each reply, and from connections that Redis closed instead of one."""

    def __init__(self) -> None:
        self._budget = BUDGET_BYTES
        self._weight = float(FIRST_GUESS_BYTES)
        self._refused_at = -RECOVERY

    @property
    def entries(self) -> int:
        """How many entries the next replies together may have, at least one."""
        return max(1, int(self._budget / self._weight))

    def weigh(self, entries: int, size_bytes: int, now: float | None = None) -> None:
        """A reply has come. Heavier entries count at once, lighter ones by and by.

        :param now: by `time.monotonic`.
        """
        weight = size_bytes / entries if entries else 0.0
        self._weight = max(weight, self._weight / 2, FIRST_GUESS_BYTES / 4)
        now = time.monotonic() if now is None else now
        if self._budget < BUDGET_BYTES and now - self._refused_at >= RECOVERY:
            self._budget *= 2

    def refuse(self, now: float | None = None) -> None:
        """The connection has been lost, perhaps because of the size of the reply."""
        self._refused_at = time.monotonic() if now is None else now
        self._budget = max(LEAST_BUDGET_BYTES, self._budget // 2)
