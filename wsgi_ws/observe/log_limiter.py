# SPDX-License-Identifier: Apache-2.0
"""Decides which of many alike log lines are written: one per key and interval. Pure."""

from __future__ import annotations

from collections.abc import Callable

from wsgi_ws.observe.log_lines import and_more


class LogLimiter:
    """Remembers when each key's last line was written, and counts those held back since.

    Keys must be few and fixed, never what a client sent: they are kept for ever.
    """

    def __init__(self, interval: float) -> None:
        """:param interval: seconds between two lines of the same key."""
        self._interval = interval
        self._written_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def write(
        self, log: Callable[..., object], key: str, now: float, text: str, *arguments: object
    ) -> None:
        """Write a line, unless one of its key was written lately; it tells how many were held back.

        :param log: as `Logger.warning`, with `text` and `arguments` as it takes them.
        :param now: seconds of one monotonic clock.
        """
        held_back = self.admit(key, now)
        if held_back is not None:
            log(f"{text}%s", *arguments, and_more(held_back))

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
