# SPDX-License-Identifier: Apache-2.0
"""Notices when something blocks the event loop, and logs the stack of what blocks it.

No greenlet runs while the loop is blocked, so a native thread watches it.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable

import gevent
from gevent import monkey

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds without a turn of the loop that are worth a line
BEAT = 0.25  # seconds

_native_sleep = monkey.get_original("time", "sleep")
_native_thread_id = monkey.get_original("_thread", "get_ident")


class Watchdog:
    """`run`, in a greenlet, beats while the loop turns; a native thread looks at the beats."""

    def __init__(self, on_delay: Callable[[float], None]) -> None:
        """:param on_delay: called at each beat with the seconds by which the loop was late."""
        self._on_delay = on_delay
        self._beat_at = time.monotonic()
        self._loop_thread = _native_thread_id()
        self._stopped = False

    def run(self) -> None:
        """Beat until killed."""
        gevent.get_hub().threadpool.spawn(self._watch)
        try:
            while True:
                due = time.monotonic() + BEAT
                gevent.sleep(BEAT)
                self._beat_at = time.monotonic()
                self._on_delay(max(0.0, self._beat_at - due))
        finally:
            self._stopped = True

    def _watch(self) -> None:
        reported = 0.0
        while not self._stopped:
            _native_sleep(BEAT)
            beat_at = self._beat_at
            blocked = time.monotonic() - beat_at - BEAT
            if blocked > PATIENCE and beat_at != reported:
                reported = beat_at  # one line for each time it happens
                log.error("the event loop is blocked since %.1f s by:\n%s", blocked, self._stack())

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)[-8:]).rstrip()
