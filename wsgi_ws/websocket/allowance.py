# SPDX-License-Identifier: Apache-2.0
"""What clients may still send: frames and bytes in a window of one second. Pure.

A window begins when any client sends and the one before is over, and it is the same for all.
Every browser answers pings now and then. Its allowance goes with the window: to keep one for each
client would cost 150 bytes per socket.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable

WINDOW = 1.0  # seconds
UNLIMITED = sys.maxsize


class Allowance:
    """One client's, for one window.

    :ivar frames_left: how many more frames the client may send.
    """

    __slots__ = ("_bytes_left", "frames_left")

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        """
        :param max_frames: 0 = no bound.
        :param max_bytes: 0 = no bound.
        """
        self.frames_left = max_frames or UNLIMITED
        self._bytes_left = max_bytes or UNLIMITED

    def take_bytes(self, count: int) -> bool:
        """Count bytes that have come; whether they were permitted."""
        self._bytes_left -= count
        return self._bytes_left >= 0

    def take_frame(self) -> bool:
        """Count a frame; whether it was permitted."""
        self.frames_left -= 1
        return self.frames_left >= 0


class Allowances:
    """Those of all clients who have sent in the window. Times in seconds of one monotonic clock."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        """
        :param max_frames: of each client; 0 = no bound.
        :param max_bytes: likewise.
        """
        self._bounds = (max_frames, max_bytes)
        self._ends = -math.inf
        self._of: dict[Hashable, Allowance] = {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, client: Hashable, now: float) -> Allowance:
        """A client's, in the window that it sends in."""
        if now >= self._ends:
            self._ends = now + WINDOW
            self._of = {}
        allowance = self._of.get(client)
        if allowance is None:
            allowance = self._of[client] = Allowance(*self._bounds)
        return allowance
