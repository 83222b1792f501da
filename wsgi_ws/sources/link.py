# SPDX-License-Identifier: Apache-2.0
"""Whether Redis serves one source: outages are told once each, and retried with growing delays."""

from __future__ import annotations

import logging
import random
import time

import gevent
from gevent.event import Event

from wsgi_ws.sources.redis_replies import Permission, is_forbidden, told
from wsgi_ws.transport import Transport

log = logging.getLogger(__name__)

RETRY_DELAY_MIN, RETRY_DELAY_MAX = 0.1, 5.0  # seconds
# A transport that Redis's user may not use is tried now and then all the same: permissions change.
FORBIDDEN_DELAY = 10.0  # seconds


class Link:
    """The state of one source's connection to Redis.

    :ivar connected: set while Redis serves the source.
    :ivar reconnects: outages survived.
    :ivar lost_at: when it was last connected, or the beginning: by `time.monotonic`.
    :ivar forbidden: that Redis's user may not use the transport, and what would permit it; empty
        when it may, as far as is known.
    """

    def __init__(
        self, transport: Transport, permission: Permission, *, is_optional: bool, meanwhile: str
    ) -> None:
        """
        :param permission: what the transport takes.
        :param is_optional: whether the other transport is enough if this one is not permitted.
        :param meanwhile: what happens during an outage, the end of a sentence.
        """
        self.connected = Event()
        self.reconnects = 0
        self.lost_at = time.monotonic()
        self.forbidden = ""
        self._transport = transport
        self._permission = permission
        self._is_optional = is_optional
        self._meanwhile = meanwhile
        self._delay = RETRY_DELAY_MIN
        self._outage = ""
        self._was_up = False

    @property
    def is_off(self) -> bool:
        """Whether the transport is not permitted and never was, and nobody has asked for it."""
        return bool(self.forbidden) and self._is_optional and not self._was_up

    def up(self) -> None:
        """Redis has answered."""
        if self._outage:
            self.reconnects += 1
        self._outage = self.forbidden = ""
        self._was_up = True
        self._delay = RETRY_DELAY_MIN
        self.connected.set()

    def down(self, outage: Exception) -> None:
        """Redis can't be used: log it if that is news."""
        error = told(outage)
        if self.connected.is_set():
            self.lost_at = time.monotonic()
        self.connected.clear()
        self.forbidden = self._permission.explain(outage) if is_forbidden(outage) else ""
        if self._outage != error:
            self._tell(error)
        self._outage = error

    def pause(self) -> None:
        """Wait before the next attempt: each outage begins with short waits."""
        if self.is_off:
            gevent.sleep(FORBIDDEN_DELAY)
            return
        gevent.sleep(self._delay * random.uniform(0.5, 1.0))
        self._delay = min(self._delay * 2, RETRY_DELAY_MAX)

    def _tell(self, error: str) -> None:
        name = self._transport.value
        why = f": {self.forbidden}" if self.forbidden else ""
        if self.is_off:
            log.warning(
                "the transport %s is switched off (%s)%s, or set transports (TRANSPORTS) to what "
                "this server is for",
                *(name, error, why),
            )
        elif not self._outage:
            log.error("Redis can't be read for %s (%s)%s; %s", name, error, why, self._meanwhile)
        else:  # is news: first "closed", then "wrong password"
            log.warning("Redis still can't be read for %s (%s)%s", name, error, why)
