# SPDX-License-Identifier: Apache-2.0
"""Fairness between greenlets that could go on for long and everything else on the loop."""

from __future__ import annotations

import time

import gevent

# How long a backlog may keep the loop from handshakes, pings and other events: seconds. Some dozen
# times the cost of a switch, and far below what a person or a probe notices.
SLICE = 0.003


class TimeSlice:
    """Yields by time, not by count: what one step costs depends on who is connected."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = 0.0

    def give_way(self) -> None:
        """Let the loop run when this greenlet has had it for a slice."""
        if time.monotonic() >= self._end:
            gevent.sleep(0)
            self._end = time.monotonic() + SLICE
