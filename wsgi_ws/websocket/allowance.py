# SPDX-License-Identifier: Apache-2.0
"""What a client may still send: frames and bytes in a window of one second. Pure.

A window begins when a client sends and the one before is over, so a silent client costs nothing.
"""

from __future__ import annotations

import sys

WINDOW = 1.0  # seconds
UNLIMITED = sys.maxsize


class Allowance:
    """One client's. All times in seconds of one monotonic clock.

    :ivar frames_left: how many more frames the client may send in this window.
    """

    __slots__ = ("_bytes_left", "_max_bytes", "_max_frames", "_window_ends", "frames_left")

    def __init__(self, max_frames: int, max_bytes: int, now: float) -> None:
        """Begin the first window.

        :param max_frames: in each window; 0 = no bound.
        :param max_bytes: in each window; 0 = no bound.
        """
        self._max_frames = max_frames or UNLIMITED
        self._max_bytes = max_bytes or UNLIMITED
        self._begin_window(now)

    def take_bytes(self, count: int, now: float) -> bool:
        """Count bytes that have come; whether they were permitted."""
        if now >= self._window_ends:
            self._begin_window(now)
        self._bytes_left -= count
        return self._bytes_left >= 0

    def take_frame(self) -> bool:
        """Count a frame; whether it was permitted."""
        self.frames_left -= 1
        return self.frames_left >= 0

    def _begin_window(self, now: float) -> None:
        self._window_ends = now + WINDOW
        self.frames_left = self._max_frames
        self._bytes_left = self._max_bytes
