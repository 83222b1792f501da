# SPDX-License-Identifier: Apache-2.0
"""Tabs that keep a socket, and come back as Superset's front end does when it ends."""

from __future__ import annotations

import abc
import asyncio
import json
import random
import time
from typing import Any, Protocol

import testbed.realtime
from soak.realtime import truth as realtime_truth
from soak.realtime.truth import Ending, Journal, Life
from soak.sockets import Census, Socket, open_socket
from soak.truth import Channel, Ledger
from testbed.page import UNHEALTHY_FROM, retry_delay
from testbed.superset import cookie
from testbed.wire import request

RETRY = 2.5  # seconds, of Superset up to 6.1
RETRIES = 6  # without an open in between: then its page gives up
TOKEN_LASTS = 3600  # seconds: no page of this run renews its socket


class Surroundings(Protocol):
    """What a tab knows of its process.

    :ivar source: the address that it connects from.
    :ivar ledger: of Superset up to 6.1.
    :ivar ledger7: of Superset 7.
    """

    source: str
    census: Census
    ledger: Ledger
    ledger7: realtime_truth.Ledger

    def opened(self, tab: Tab, away: float | None) -> None: ...

    def gave_up(self, tab: Tab) -> None: ...


class Tab(abc.ABC):
    """A tab and its socket, for ever.

    :ivar is_open: whether the handshake is answered.
    """

    gives_up: int  # closes without an open in between

    def __init__(self, name: str, port: int, around: Surroundings) -> None:
        self.name = name
        self.is_open = False
        self._port = port
        self._around = around
        self._closes = 0  # since the last open
        self._closed_at: float | None = None

    async def live(self) -> None:
        """Connect and come back until cancelled."""
        around = self._around
        while True:
            try:
                socket = await open_socket(
                    *(self._port, around.census, self._handshake(), self._opens, self._take),
                    source=around.source,
                )
                await socket.ended
            except OSError:
                pass  # as a close without an open
            if self.is_open:
                self.is_open, self._closed_at = False, time.monotonic()
                self._lost()
            self._closes += 1
            if self._closes == self.gives_up:
                around.gave_up(self)
            await asyncio.sleep(self._delay())

    def _opens(self) -> None:
        now = time.monotonic()
        away = None if self._closed_at is None else now - self._closed_at
        self.is_open, self._closes = True, 0
        self._found(now)
        self._around.opened(self, away)

    @abc.abstractmethod
    def leave(self) -> None:
        """Judge what has come. What has not come by now is missing."""

    @abc.abstractmethod
    def _handshake(self) -> bytes: ...

    @abc.abstractmethod
    def _delay(self) -> float:
        """Seconds until the next attempt."""

    @abc.abstractmethod
    def _found(self, now: float) -> None:
        """The socket is open."""

    @abc.abstractmethod
    def _lost(self) -> None:
        """The socket has ended."""

    @abc.abstractmethod
    def _take(self, socket: Socket, text: bytes) -> None: ...


class StreamTab(Tab):
    """Of Superset up to 6.1."""

    gives_up = RETRIES + 1

    def __init__(self, name: str, port: int, around: Surroundings, channel: Channel) -> None:
        super().__init__(name, port, around)
        self.reader = channel.reader()
        self._cookie = cookie(channel.name)

    def leave(self) -> None:
        self.reader.give_up_waiting()
        self._around.ledger.leaves(self.name, self.reader)

    def _handshake(self) -> bytes:
        last_id = self.reader.last_id
        return request(path=f"/?last_id={last_id}" if last_id else "/", Cookie=self._cookie)

    def _delay(self) -> float:
        return RETRY

    def _found(self, now: float) -> None:
        self.reader.opened()

    def _lost(self) -> None:
        pass  # what it misses now is due by catch-up

    def _take(self, socket: Socket, text: bytes) -> None:
        event = json.loads(text)
        if event["t"] > socket.opened_ns:  # it has not come by catch-up
            self._around.census.latencies.append((time.monotonic_ns() - event["t"]) / 1e6)
        self.reader.take(event)


class Page(Tab):
    """Of Superset 7."""

    gives_up = UNHEALTHY_FROM

    def __init__(
        self, name: str, port: int, around: Surroundings, journal: Journal, principal: str, tab: str
    ) -> None:
        """:param journal: what is published for the principal."""
        super().__init__(name, port, around)
        self._journal = journal
        self._routes = frozenset({principal, f"{principal}:{tab}"})
        token: dict[str, Any] = {"exp": int(time.time()) + TOKEN_LASTS}
        self._request = request(
            path=f"/?tab_id={tab}", Cookie=testbed.realtime.cookie(principal, **token)
        )
        self._life: Life | None = None

    def leave(self) -> None:
        self._ends(Ending.OPEN)

    def _handshake(self) -> bytes:
        return self._request

    def _delay(self) -> float:
        return retry_delay(self._closes, random.random())

    def _found(self, now: float) -> None:
        ledger = self._around.ledger7
        self._life = Life(self._journal, ledger, self.name, self._routes, now)

    def _lost(self) -> None:
        self._ends(Ending.KNOWN)

    def _take(self, socket: Socket, text: bytes) -> None:
        if self._life is not None:
            self._life.take(text, time.monotonic())

    def _ends(self, ending: Ending) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.end(time.monotonic(), ending)
