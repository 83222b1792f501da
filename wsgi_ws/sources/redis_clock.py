# SPDX-License-Identifier: Apache-2.0
"""Redis's clock, which makes the IDs of entries, as far as it is known here."""

from __future__ import annotations

import logging
import time
from typing import Any

from wsgi_ws.sources.redis_replies import clock_ms, told, will_pass

log = logging.getLogger(__name__)


class RedisClock:
    """Remembers what Redis's clock showed, and what has passed since.

    The command TIME takes a permission of its own. Without it this machine's clock must do.
    """

    def __init__(self) -> None:
        # What Redis's clock showed when `time.monotonic` was 0: this machine's own may be set anew.
        self._base_ms = time.time() * 1000 - time.monotonic() * 1000
        self._is_refused = False

    def now_ms(self) -> int:
        """Milliseconds since the epoch by Redis's clock, as of its last answer."""
        return int(self._base_ms + time.monotonic() * 1000)

    def read(self, reply: Any) -> int:
        """What a reply to TIME says, in milliseconds since the epoch.

        :param reply: also an error, which is said once.
        :raises redis.ResponseError: the error is one of the whole server, and will pass.
        """
        if isinstance(reply, Exception):
            if will_pass(reply):
                raise reply
            self._refuse(reply)
            self._base_ms = time.time() * 1000 - time.monotonic() * 1000
            return self.now_ms()
        now_ms = clock_ms(reply)
        self._base_ms = now_ms - time.monotonic() * 1000
        return now_ms

    def _refuse(self, error: Exception) -> None:
        if not self._is_refused:
            is_denied = "'time'" in str(error)
            log.warning(
                "Redis does not tell its time (%s): this machine's clock is used instead, and must "
                "not differ from Redis's by more than a second%s",
                *(told(error), "; to permit it: ACL SETUSER … +time" if is_denied else ""),
            )
        self._is_refused = True
