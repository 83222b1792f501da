# SPDX-License-Identifier: Apache-2.0
"""What a client may still send: frames and bytes in a window of one second. Pure.

A window begins when a client sends and the one before is over, so a silent client costs nothing.
Every browser answers pings, so an allowance is small: it keeps what is left, not the bounds.
"""

from __future__ import annotations

import sys

WINDOW = 1.0  # seconds
UNLIMITED = sys.maxsize


class Allowance:
    """One client's, for one window. All times in seconds of one monotonic clock.

    :ivar frames_left: how many more frames the client may send.
    """

    __slots__ = ("_bytes_left", "_ends", "frames_left")

    def __init__(self, max_frames: int, max_bytes: int, now: float) -> None:
        """Begin the window.

        :param max_frames: 0 = no bound.
        :param max_bytes: 0 = no bound.
        """
        self._ends = now + WINDOW
        self.frames_left = max_frames or UNLIMITED
        self._bytes_left = max_bytes or UNLIMITED

    def is_over(self, now: float) -> bool:
        """Whether what comes now belongs to another window."""
        return now >= self._ends

    def take_bytes(self, count: int) -> bool:
        """Count bytes that have come; whether they were permitted."""
        self._bytes_left -= count
        return self._bytes_left >= 0

    def take_frame(self) -> bool:
        """Count a frame; whether it was permitted."""
        self.frames_left -= 1
        return self.frames_left >= 0
