# SPDX-License-Identifier: Apache-2.0
"""Tabs of Superset 7: they renew their sockets, lose them and come back as its page does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from soak.crowd import Crowd
from soak.plan import Plan
from soak.realtime.truth import Ending, Journal, Ledger, Life, Renewal
from soak.sockets import Census, Socket, open_socket
from testbed.page import UNHEALTHY_FROM, Database, Page, retry_delay
from testbed.realtime import cookie
from testbed.wire import request

TABS_OF_A_PRINCIPAL = 3  # on average
PRINCIPALS = 50  # whose tabs are opened: the newest
GUESTS = 0.2  # of the principals
TAB_IDS = ("1", "2", "3", "k3J_x-9", None)  # so few that two devices number their tabs alike
OLD_TOKENS = 0.1  # of the sockets: their tokens expire before the page renews them
OLD_TOKENS_LAST = (5.0, 20.0)  # seconds
RENEWING = "renewed"
HANDSHAKE = 0.3  # seconds at most until the next socket is open: the network between
WAYS_TO_GO = (*[RENEWING] * 3, "reset", "hung up", "vanished")
PATIENCE = 30.0  # seconds until the server has surely ended what it must end, and answered
EXPIRED = 1008  # a token's end is nobody else's
OUTAGE = "realtime backend unavailable"  # with which the server tells of a long one
OUTAGE_REACH = 120.0  # seconds after that for which pages may be unhealthy


class RealtimeTab:
    """A page and its sockets.

    :ivar life: of the socket that is open; None between two.
    """

    def __init__(self, name: str, principal: str, tab_id: str | None, pages: Pages) -> None:
        self.principal = principal
        self.route = principal if tab_id is None else f"{principal}:{tab_id}"
        self.page = Page(pages.database)
        self.life: Life | None = None
        self._name = f"{name} {self.route}"
        self._path = "/" if tab_id is None else f"/?{urlencode({'tab_id': tab_id})}"
        self._pages = pages
        self._happened = pages.census.happened
        self._rng = pages.rng
        self._socket: Socket | None = None
        self._number = 0  # of its sockets
        self._renewal: Renewal | None = None
        self._filters: set[bytes] = set()

    async def live(self) -> None:
        """Open sockets, one after the other, until cancelled."""
        try:
            while True:
                if not await self._has_renewed():
                    self._closed()
                    await asyncio.sleep(retry_delay(self.page.closes, self._rng.random()))
        finally:
            if self.life is not None and self._socket is not None:
                await self._is_told(self._socket)
            self._ends(Ending.KNOWN)
            if self._socket is not None and not self._socket.ended.done():
                self._socket.reset()

    def still_open(self) -> None:
        """The run is over: judge the socket as it is."""
        self._ends(Ending.OPEN)

    async def _has_renewed(self) -> bool:
        """One socket; whether the page itself has closed it, to open the next one at once."""
        pages = self._pages
        try:
            self._socket = socket = await self._connect()
        except OSError:
            return False
        stay = self._rng.expovariate(1 / pages.plan.seconds_per_connection)
        await asyncio.wait({socket.ended}, timeout=stay)
        while not socket.ended.done() and (pages.settling or not socket.is_open):
            await asyncio.wait({socket.ended}, timeout=1.0)
        await self._is_told(socket)
        if socket.ended.done():
            if self.life is not None:
                pages.hears(socket)
            self._ends(Ending.KNOWN)
            return False
        return await self._goes(socket)

    async def _is_told(self, socket: Socket) -> None:
        """Wait for a close that is due: to leave before it would hide its absence."""
        while self.life is not None and self.life.awaits_close(time.monotonic()):
            await asyncio.wait({socket.ended}, timeout=0.2)
            if socket.ended.done():
                break

    async def _connect(self) -> Socket:
        self._number += 1
        number = self._number

        def take(_: Socket, text: bytes) -> None:
            # A browser that has begun to close a socket takes nothing more from it.
            if number == self._number and self.life is not None:
                self._take(self.life, text)

        with_cookie = request(path=self._path, Cookie=self._cookie())
        pages = self._pages
        return await open_socket(pages.port, pages.census, with_cookie, self._opened, take)

    def _cookie(self) -> str:
        if self._rng.random() >= OLD_TOKENS or self._pages.settling:
            return cookie(self.principal)
        return cookie(self.principal, exp=int(time.time() + self._rng.uniform(*OLD_TOKENS_LAST)))

    async def _goes(self, socket: Socket) -> bool:
        how = self._rng.choice(WAYS_TO_GO)
        self._happened[how] += 1
        if how == RENEWING:
            self.page.renews()
            self._renewal = self._ends(Ending.RENEWED)
            socket.close(None)
            self._pages.in_background(self._awaits_end(socket))
            await asyncio.sleep(self._rng.uniform(0.0, HANDSHAKE))
            return True
        self._ends(Ending.KNOWN)
        if how == "reset":
            socket.reset()
        elif how == "hung up":
            socket.hang_up()
        else:
            socket.vanish()
        await self._awaits_end(socket)
        return False

    async def _awaits_end(self, socket: Socket) -> None:
        await asyncio.wait({socket.ended}, timeout=PATIENCE)
        if not socket.ended.done():
            self._happened["never ended"] += 1
            socket.reset()

    # --- what the page is told -------------------------------------------------------------------

    def _opened(self) -> None:
        pages, now = self._pages, time.monotonic()
        routes = frozenset({self.principal, self.route})
        renewal, self._renewal = self._renewal, None
        self.life = Life(pages.journal, pages.ledger, self._name, routes, now, renewal)
        self._noting("charts that Superset was asked for", self.page.opened)

    def _closed(self) -> None:
        self._renewal = None  # it is a renewal no more
        charts = len(self.page.failed)
        self._noting("charts that Superset was asked for", self.page.closed)
        if self.page.closes == UNHEALTHY_FROM:
            self._pages.is_unhealthy(f"{self._name}: {len(self.page.failed) - charts} charts")

    def _take(self, life: Life, text: bytes) -> None:
        life.take(text, time.monotonic())
        if b'"dashboard.filters_applied"' in text:
            if text in self._filters:  # on another socket, where it is as bad
                self._pages.ledger.repeated.append(f"{self._name}: {text.decode()}")
            self._filters.add(text)
        self._noting("charts told by a message", lambda: self.page.take(text.decode()))
        self.page.messages.clear()

    def _noting(self, what: str, happens: Callable[[], None]) -> None:
        """Count the charts that are waited for no more."""
        before, failed = len(self.page.waiting()), len(self.page.failed)
        happens()
        ended = before - len(self.page.waiting()) - (len(self.page.failed) - failed)
        self._happened[what] += ended

    def _ends(self, ending: Ending) -> Renewal | None:
        life, self.life = self.life, None
        return None if life is None else life.end(time.monotonic(), ending)


class Pages:
    """All tabs of Superset 7.

    :ivar unhealthy: those that gave up, without an outage of which the server has told.
    """

    def __init__(self, plan: Plan, port: int, census: Census) -> None:
        """
        :param port: the server's.
        :param census: their own, but for what counts all sockets.
        """
        self.plan = plan
        self.port = port
        self.census = census
        self.database = Database()
        self.journal = Journal()
        self.ledger = Ledger()
        self.settling = False  # whether everybody stays
        self.unhealthy: list[str] = []
        self.unresolved: list[str] = []
        self.rng = random.Random(f"{plan.seed} pages")
        self.tabs = 0
        self._outage_at = float("-inf")
        self._principals = [self._new_principal()]
        self._crowd = Crowd(self.rng, self._new_tab, lambda _: None)
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the plan until cancelled."""
        begin = last = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            last, seconds = time.monotonic(), time.monotonic() - last
            self._crowd.follow(self.plan.pages_at(last - begin), seconds)

    def anybody(self) -> RealtimeTab | None:
        """One of the tabs."""
        tabs = list(self._crowd)
        return self.rng.choice(tabs) if tabs else None

    def same_principal(self, tab: RealtimeTab) -> list[RealtimeTab]:
        """A tab, and all others of its user."""
        return [other for other in self._crowd if other.principal == tab.principal]

    def in_background(self, job: Coroutine[Any, Any, None]) -> None:
        """Let something go on that no tab waits for."""
        task = asyncio.ensure_future(job)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def hears(self, socket: Socket) -> None:
        """A socket was ended by the server, or with it."""
        if socket.code != EXPIRED:
            self.ledger.upheavals.append(time.monotonic())
        if socket.reason == OUTAGE:
            self._outage_at = time.monotonic()
            self.census.happened["told of an outage"] += 1

    def is_unhealthy(self, whose: str) -> None:
        """A page has given its charts up: right only where Redis is away for too long."""
        if time.monotonic() - self._outage_at < OUTAGE_REACH:
            self.census.happened["unhealthy in an outage"] += 1
        else:
            self.unhealthy.append(whose)

    # --- the end ---------------------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Whether every tab is open, waits for nothing, and has the newest message."""
        newest = self.journal.publications[-1]
        return newest.returned and all(
            tab.life is not None and tab.life.has(newest) and not tab.page.waiting()
            for tab in self._crowd
        )

    async def leave(self) -> None:
        """Judge the sockets that are still open, and the charts; then everybody closes."""
        for tab in self._crowd:
            tab.still_open()
            waiting = len(tab.page.waiting())
            self.unresolved += [f"{tab.route}: {waiting} charts"] if waiting else []
        await self._crowd.leave()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def problems(self) -> dict[str, list[str]]:
        """Kind of problem → tab and what."""
        return self.ledger.problems() | {
            "realtime_charts_that_wait_for_ever": self.unresolved,
            "realtime_pages_that_gave_up": self.unhealthy,
        }

    # --- who there is ----------------------------------------------------------------------------

    def _new_tab(self) -> RealtimeTab:
        if self.rng.random() < 1 / TABS_OF_A_PRINCIPAL:
            self._principals = [*self._principals[-PRINCIPALS:], self._new_principal()]
        self.tabs += 1
        principal, tab_id = self.rng.choice(self._principals), self.rng.choice(TAB_IDS)
        return RealtimeTab(f"page {self.tabs}", principal, tab_id, self)

    def _new_principal(self) -> str:
        if self.rng.random() < GUESTS:
            return f"guest:{self.rng.getrandbits(256):064x}"
        return f"user:{self.rng.randrange(1, 10**6)}"
