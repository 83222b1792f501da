# SPDX-License-Identifier: Apache-2.0
"""Decides which of many alike log lines are written: one per key and interval. Pure."""

from __future__ import annotations


class LogLimiter:
    """Remembers when each key's last line was written, and counts those held back since.

    Keys must be few and fixed, never what a client sent: they are kept for ever.
    """

    def __init__(self, interval: float) -> None:
        """:param interval: seconds between two lines of the same key."""
        self._interval = interval
        self._written_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def admit(self, key: str, now: float) -> int | None:
        """None: hold the line back. Else write it; the number is of lines held back since the last.

        :param now: seconds of one monotonic clock.
        """
        written_at = self._written_at.get(key)
        if written_at is not None and now - written_at < self._interval:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return None
        self._written_at[key] = now
        return self._held_back.pop(key, 0)
