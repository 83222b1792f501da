# SPDX-License-Identifier: Apache-2.0
"""How much of everything there is. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

TABS_OF_A_USER = 3
SOCKETS_OF_A_CROWD = 15_000  # a client process keeps a core busy with more, when all come back


@dataclass(frozen=True)
class Plan:
    """A run.

    :ivar sockets: tabs in all.
    :ivar rate: events per second, of both transports.
    :ivar pages: share of the tabs that are Superset 7's.
    :ivar calm: seconds of nothing but events, before the first restart.
    :ivar rest: seconds between a wave's end and the next signal.
    :ivar descriptors: that one process may open.
    :ivar restarts: instances that are restarted, one after the other.
    :ivar kill: whether one is killed afterwards.
    """

    instances: int = 3
    workers: int = 2
    sockets: int = 30_000
    rate: float = 1000.0
    pages: float = 0.1
    calm: float = 10.0
    rest: float = 3.0
    descriptors: int = 20_000
    restarts: int = 3
    kill: bool = True

    @property
    def crowds(self) -> int:
        """Client processes: two at least, for two cores."""
        return max(2, math.ceil(self.sockets / min(SOCKETS_OF_A_CROWD, self.descriptors - 200)))

    @property
    def proxies(self) -> int:
        """HAProxy processes: each holds two descriptors for a socket."""
        return math.ceil(self.sockets / self.connections)

    @property
    def connections(self) -> int:
        """That one HAProxy process takes."""
        return min(self.sockets + 100, (self.descriptors - 200) // 2)

    def users(self, crowd: int) -> tuple[int, int]:
        """Users of Superset up to 6.1 and of Superset 7 in a client process."""
        users = self.sockets // TABS_OF_A_USER
        mine = users // self.crowds + (crowd < users % self.crowds)
        seven = round(mine * self.pages)
        return mine - seven, seven

    @property
    def tabs(self) -> int:
        """Sockets that there are: each user has the same number of tabs."""
        return self.sockets // TABS_OF_A_USER * TABS_OF_A_USER
