# SPDX-License-Identifier: Apache-2.0
"""Whether Redis serves one source: outages are told once each, and retried with growing delays.

A connection counts as good when it has lasted for a while. Until then the next one waits longer,
and what is said of it is held back: something that cuts each connection after a second (a proxy,
a CLIENT KILL in a loop, a message larger than Redis's output buffer) is one trouble, not thousands.
"""

from __future__ import annotations

import gc
import logging
import random
import time
from collections import deque

import gevent
from gevent.event import Event

from wsgi_ws.command import command
from wsgi_ws.observe.log_lines import printable
from wsgi_ws.sources.redis_replies import Permission, is_forbidden, told
from wsgi_ws.transport import Transport
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

RETRY_DELAY_MIN, RETRY_DELAY_MAX = 0.1, 5.0  # seconds
YOUNGEST = 0  # generation: the objects since the last collection, which take it a millisecond
# A transport that Redis's user may not use is tried now and then all the same: permissions change.
FORBIDDEN_DELAY = 10.0  # seconds
LASTING = 10.0  # seconds after which a connection counts as good
TOLD_IN_FULL = 3  # connections in a row that do not last, before lines are held back
KINDS_TOLD = 8  # errors of one outage, before lines are held back
TROUBLE_SHOWN = 500  # characters
ALIKE_INTERVAL = 60.0  # seconds between two lines about what follows


class Retries:
    """How long to wait before the next attempt.

    Delays grow from attempt to attempt while these fail, and from one outage to the next while the
    connections between them do not last.
    """

    def __init__(self) -> None:
        self._begun = 0  # connections since the last one that has lasted
        self._delay = RETRY_DELAY_MIN

    @property
    def is_flapping(self) -> bool:
        """Whether connections come and go."""
        return self._begun > TOLD_IN_FULL

    def connected(self) -> None:
        """A connection has begun. If it does not last, the next outage begins with a longer wait
        than the one before it."""
        self._delay = min(RETRY_DELAY_MIN * 2.0 ** min(self._begun, 10), RETRY_DELAY_MAX)
        self._begun += 1

    def lasted(self) -> None:
        """It is a good one."""
        self._begun = 0
        self._delay = RETRY_DELAY_MIN

    def next_delay(self) -> float:
        """Seconds."""
        delay = self._delay
        self._delay = min(delay * 2, RETRY_DELAY_MAX)
        return delay


class Link:
    """The state of one source's connection to Redis.

    :ivar connected: set while Redis serves the source.
    :ivar reconnects: outages survived.
    :ivar permission: what the transport takes.
    :ivar other: the link of the other transport, if that is offered too.
    :ivar lost_at: when it was last connected, or the beginning: by `time.monotonic`.
    :ivar forbidden: that Redis's user may not use the transport, and what would permit it; empty
        when it may, as far as is known.
    :ivar trouble: why Redis can't be used now; empty while it can, and before the first attempt.
    """

    def __init__(
        self,
        transport: Transport,
        permission: Permission,
        *,
        address: str,
        is_optional: bool,
        meanwhile: str,
    ) -> None:
        """
        :param address: Redis's, for log lines.
        :param is_optional: whether the other transport is enough if this one is not permitted.
        :param meanwhile: what happens during an outage, the end of a sentence.
        """
        self.connected = Event()
        self.reconnects = 0
        self.lost_at = time.monotonic()
        self.forbidden = self.trouble = ""
        self.permission = permission
        self.other: Link | None = None
        self._transport = transport
        self._address = address
        self._is_optional = is_optional
        self._meanwhile = meanwhile
        self._retries = Retries()
        self._lasting: gevent.Greenlet[[], None] | None = None  # declares a connection a good one
        self._told: deque[str] = deque(maxlen=KINDS_TOLD)  # what has been said of this outage
        self._told_at = float("-inf")  # when a line was written last while others are held back
        self._lost = 0  # connections since then
        self._is_down = self._was_up = False
        # Not permitted and never was, and not asked for by name. An outage does not change that.
        self._is_refused = False
        self._was_off = False  # when it was down last

    @property
    def is_off(self) -> bool:
        """Whether the transport is not permitted and never was, nobody has asked for it by name,
        and the other one is enough: if that is not permitted either, neither is off."""
        if not (self.forbidden and self._is_refused):
            return False
        return self.other is None or not self.other._is_refused

    @property
    def is_flapping(self) -> bool:
        """Whether connections come and go: what happens with each of them is no news."""
        return self._retries.is_flapping

    def up(self) -> bool:
        """Redis has answered; returns whether that is news."""
        if self._is_down:
            self.reconnects += 1
        self._is_down = False
        self._told.clear()
        self.forbidden = self.trouble = ""
        self._was_up = True
        self._is_refused = False
        self._retries.connected()
        self._lasting = gevent.spawn_later(LASTING, self._has_lasted)
        self.connected.set()
        return not self.is_flapping

    def down(self, outage: Exception) -> None:
        """Redis can't be used: log it if that is news.

        What is off stays off in an outage, which says nothing about permissions: else browsers
        would be admitted that get nothing. The other transport tells of it.
        """
        if self.is_off and not is_forbidden(outage):
            return
        error = told(outage).removesuffix(".")
        if self.connected.is_set():
            self.lost_at = time.monotonic()
            self._lost += 1
        if self._lasting is not None:
            self._lasting.kill(block=False)
            self._lasting = None
        self._is_down = True
        self.connected.clear()
        self.forbidden = self.permission.explain(outage) if is_forbidden(outage) else ""
        self.trouble = self.forbidden or printable(error, TROUBLE_SHOWN)
        if self.forbidden:
            self._is_refused = self._is_optional and not self._was_up
        if self.is_off != self._was_off:
            self._was_off = self.is_off
            self._told.clear()
        if error not in self._told:  # is news: first "closed", then "wrong password"
            self._tell(error)

    def pause(self) -> None:
        """Wait before the next attempt."""
        if self.is_off:
            gevent.sleep(FORBIDDEN_DELAY)
            return
        gevent.sleep(self._retries.next_delay() * random.uniform(0.5, 1.0))
        # In redis-py the lost connection is a circle of objects: tens of KiB that only the
        # collector frees, of itself after hundreds of them. By now nothing refers to it.
        gc.collect(YOUNGEST)

    def _has_lasted(self) -> None:
        was_flapping = self.is_flapping
        self._retries.lasted()
        if was_flapping:
            log.info(
                "Redis is read again for %s, on a connection that has lasted for %.0f s%s",
                *(self._transport.value, LASTING, self._take_lost()),
            )
        self._lost, self._told_at = 0, float("-inf")

    def _tell(self, error: str) -> None:
        if self.is_flapping or len(self._told) == KINDS_TOLD:
            # What is held back is tried again with the next attempt: an outage that stays is told.
            if time.monotonic() - self._told_at < ALIKE_INTERVAL:
                return
            self._told_at = time.monotonic()
        name = self._transport.value
        why = f": {self.forbidden}" if self.forbidden else ""
        if self.is_off:
            log.warning(
                "the transport %s is switched off (%s)%s, or set transports (TRANSPORTS) to what "
                "this server is for; it is tried again every %.0f s",
                *(name, error, why, FORBIDDEN_DELAY),
            )
        elif self._told:
            log.warning(
                "Redis still can't be read for %s (%s)%s%s", name, error, why, self._whereabouts()
            )
        elif self.is_flapping:
            log.error(
                "Redis can't be read for %s (%s): connections to it don't last; each is waited for "
                "longer, and they are told of once a minute, until one has lasted for %.0f s%s",
                *(name, error, LASTING, self._take_lost()),
            )
        else:
            log.error(
                "Redis can't be read for %s (%s)%s; %s%s",
                *(name, error, why, self._meanwhile, self._whereabouts()),
            )
        self._told.append(error)

    def _whereabouts(self) -> str:
        """The end of a line: which Redis it is, and what names a wrong setting. They were right
        once it has been read."""
        advice = f": {command()} check names the setting, if one is wrong"
        hint = "" if self._was_up or self.forbidden else advice
        return f"; Redis is {self._address}{hint}"

    def _take_lost(self) -> str:
        """The end of a line: how many connections it stands for."""
        lost, self._lost = self._lost, 0
        return f" [{counted(lost, 'connection')} lost since the last such line]"
