# SPDX-License-Identifier: Apache-2.0
"""The event loop: its constants, and fairness between long work and everything else on it."""

from __future__ import annotations

import time

import gevent

READ, WRITE = 1, 2  # libev's event bits, for `loop.io`

# How long a backlog may keep the loop from handshakes, pings and other events: seconds. Some dozen
# times the cost of a turn of the loop, and far below what a person or a probe notices.
SLICE = 0.003


def give_way() -> None:
    """Let the loop look for input and timers when it has not done so for a slice.

    By time, not by count: what one step costs depends on who is connected.
    """
    hub = gevent.get_hub()
    # The loop's own time is that of its last look. After a jump of the clock the difference says
    # nothing, whatever its sign, for one turn.
    if abs(time.time() - hub.loop.now()) >= SLICE:
        # gevent.sleep(0) would only let other greenlets run: the loop looks for input after fifty
        # such calls, which may be 150 ms later.
        hub.wait(hub.loop.timer(0.0))
