# SPDX-License-Identifier: Apache-2.0
"""Superset 7 and its browsers: tasks that end, and tabs that are told, or ask.

Tabs live on an event loop in a thread of its own, so that a test may meanwhile do harm to servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from testbed.page import Database, Page, retry_delay
from testbed.servers import DEADLINE, SECRET, eventually
from wsgi_ws.superset import names, realtime
from wsgi_ws.superset.token import RealtimeSigner

PUBLISH_TIMEOUT = 10.0  # seconds: by default Superset waits for ever


def cookie(principal: str, secret: str = SECRET, **claims: Any) -> str:
    """The value of the `Cookie` header."""
    return RealtimeSigner(secret).cookie(principal, **claims)


def url_with(url: str, tab_id: str | None) -> str:
    """The server's URL as a tab asks for it."""
    return url if tab_id is None else f"{url}?{urlencode({'tab_id': tab_id})}"


# --- the producer ---------------------------------------------------------------------------------


class Task(NamedTuple):
    """A task of Superset's: the UUID is what `task.status` tells, the number `entity.changed`."""

    uuid: str
    number: int
    routes: tuple[str, ...]


class Superset7:
    """Commits and publishes, in Superset's order; what can't be published is lost."""

    def __init__(self, port: int, prefix: str) -> None:
        """:param port: of Redis."""
        self.database = Database()
        self.lost = 0  # messages that could not be published
        self.port = port
        self._prefix = prefix
        self._client: redis.Redis | None = None
        self._numbers = itertools.count(1)

    def begin(self, tabs: Sequence[Tab], *, for_tabs: bool = True) -> Task:
        """Begin a task for which these tabs, all of one principal's, wait.

        :param for_tabs: it is told to these tabs, by their routes; else to the principal.
        """
        routes = {tab.route if for_tabs else tab.principal for tab in tabs}
        task = Task(str(uuid.uuid4()), next(self._numbers), tuple(sorted(routes)))
        for tab in tabs:
            tab.page.wait_for(task.uuid)
        self.progress(task)
        return task

    def progress(self, task: Task) -> None:
        """Commit a change, and tell everybody."""
        self.database.change(task.number)
        payload = {"entity_type": "task", "id": task.number}
        self.publish(names.ENTITY_CHANGED, names.BROADCAST, payload)

    def end(self, task: Task, status: str = "success") -> None:
        """Commit the end, tell everybody of the change and its own tabs of the end."""
        self.database.statuses[task.uuid] = status
        self.progress(task)
        scope = "tab" if task.routes[0].count(":") == 2 else "principal"
        payload = {"task_id": task.uuid, "status": status}
        self.publish(names.TASK_STATUS, scope, payload, task.routes)

    def publish(
        self, topic: str, scope: str, payload: Any, routes: Sequence[str] | None = None
    ) -> None:
        """As Superset does: an error is logged there, and forgotten."""
        self.publish_raw(realtime.envelope(topic, scope, payload, routes))

    def publish_raw(self, data: bytes) -> None:
        """Publish what may be no message at all."""
        try:
            self._connected().publish(realtime.channel_name(self._prefix), data)
        except (redis.RedisError, OSError):
            self.lost += 1

    def move_to(self, port: int) -> None:
        """Publish at another Redis from now on."""
        self.close()
        self.port, self._client = port, None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = redis.Redis(
                port=self.port, socket_timeout=PUBLISH_TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
        return self._client


# --- browsers -------------------------------------------------------------------------------------


class Close(NamedTuple):
    """How a socket ended; a browser doesn't look at it."""

    code: int
    reason: str
    at: float  # by `time.monotonic`


class Tab:
    """A page's socket. `live` keeps it open for ever."""

    def __init__(
        self,
        url: str,
        principal: str,
        tab_id: str | None,
        page: Page,
        *,
        keepalive: float | None = None,
        new_cookie: Callable[[], str] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """
        :param keepalive: seconds from the begin of a socket to the next one; None: for ever.
        :param new_cookie: what Superset sets at each request; as usual unless told.
        """
        self.page = page
        self.principal = principal
        self.closes: list[Close] = []
        self.refusals: list[int] = []  # statuses of handshakes that failed; 0: no answer
        self._url = url_with(url, tab_id)
        self._tab_id = tab_id
        self._keepalive = keepalive
        self._new_cookie = new_cookie or (lambda: cookie(principal))
        self._rng = rng or random.Random()
        self._background: set[asyncio.Task[None]] = set()

    @property
    def route(self) -> str:
        """That leads to this tab, and to others only where they have its name."""
        return self.principal if self._tab_id is None else f"{self.principal}:{self._tab_id}"

    async def live(self) -> None:
        """Open sockets, one after the other, until cancelled."""
        while True:
            begin = time.monotonic()
            socket = await self._open()
            if socket is not None and await self._outlives(socket, begin):
                self.page.renews()
                self._in_background(socket.close())
                await asyncio.sleep(0)  # it has begun to close before the next one opens
                continue
            self.page.closed()
            await asyncio.sleep(retry_delay(self.page.closes, self._rng.random()))

    async def _open(self) -> ClientConnection | None:
        try:
            return await connect(
                self._url,
                additional_headers={"Cookie": self._new_cookie()},
                compression=None,
                ping_interval=None,
                open_timeout=DEADLINE,
                max_queue=None,
                max_size=None,
            )
        except InvalidStatus as error:
            self.refusals.append(error.response.status_code)
        except (OSError, EOFError, WebSocketException):
            self.refusals.append(0)
        return None

    async def _outlives(self, socket: ClientConnection, begin: float) -> bool:
        """Read until the socket ends, or (True) until it is time for the next one."""
        self.page.opened()
        reading = asyncio.create_task(self._read(socket))
        patience = None
        if self._keepalive is not None:
            patience = max(0.0, begin + self._keepalive - time.monotonic())
        try:
            await asyncio.wait({reading}, timeout=patience)
            return not reading.done()
        except asyncio.CancelledError:  # the tab is gone
            socket.transport.abort()
            raise
        finally:
            if not reading.done():
                reading.cancel()
                self._in_background(_ended(reading))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                message = await socket.recv()
                assert isinstance(message, str), "the server sends text only"
                self.page.take(message)
        except ConnectionClosed:
            code, reason = socket.close_code or 1006, socket.close_reason or ""
            self.closes.append(Close(code, reason, time.monotonic()))

    def _in_background(self, job: Any) -> None:
        task = asyncio.ensure_future(job)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _ended(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Browsers:
    """Tabs that live until this context manager's end."""

    def __init__(self, database: Database, seed: int = 0) -> None:
        self.tabs: list[Tab] = []
        self._database = database
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._lives: list[asyncio.Task[None]] = []

    def __enter__(self) -> Browsers:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(DEADLINE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    def open(
        self, url: str, principal: str, tab_id: str | None = None, *, wait: bool = True, **how: Any
    ) -> Tab:
        """Open a tab.

        :param wait: until its socket is open.
        :param how: as of `Tab`.
        """
        page = Page(self._database)
        rng = random.Random(self._rng.random())
        tab = Tab(url, principal, tab_id, page, rng=rng, **how)
        self.tabs.append(tab)
        self._loop.call_soon_threadsafe(self._give_life, tab)
        if wait:
            eventually(lambda: page.is_open, f"the tab {tab.route} is open")
        return tab

    def check(self) -> None:
        """In the end nobody waits, no list is out of date, and nobody has ever seen an error."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._troubles(), "all is well")
        troubles = self._troubles()
        assert not troubles, troubles

    def _troubles(self) -> list[str]:
        found = []
        for tab in self.tabs:
            page, name = tab.page, f"{tab.route} (closes {[close.code for close in tab.closes]})"
            if page.waiting():
                found.append(f"{name} still waits for {len(page.waiting())} charts")
            if page.stale_rows():
                found.append(f"{name} shows old rows: {sorted(page.stale_rows())}")
            if page.failed:
                found.append(f"{name} has shown {len(page.failed)} errors")
        return found

    def _give_life(self, tab: Tab) -> None:
        self._lives.append(self._loop.create_task(tab.live()))

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        outcomes = await asyncio.gather(*self._lives, return_exceptions=True)
        await asyncio.gather(*others, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, asyncio.CancelledError):
                raise AssertionError("a tab does not live any more") from outcome


@contextlib.contextmanager
def traffic(
    superset: Superset7, tabs: Sequence[Tab], *, rate: float = 20.0, seconds: float = 1.0
) -> Iterator[None]:
    """Tasks that begin and end meanwhile, each waited for by one of the tabs, or all of its user's.

    :param rate: tasks per second.
    :param seconds: that each takes at most.
    """
    done = threading.Event()
    rng = random.Random(0)

    def work() -> None:
        running: list[tuple[float, Task]] = []  # until when, by `time.monotonic`
        while not done.wait(rng.expovariate(rate)):
            running.append((time.monotonic() + rng.uniform(0.0, seconds), begun()))
            superset.progress(rng.choice(running)[1])
            for entry in [entry for entry in running if entry[0] <= time.monotonic()]:
                running.remove(entry)
                superset.end(entry[1])
        for _, task in running:
            superset.end(task)

    def begun() -> Task:
        tab = rng.choice(tabs)
        if rng.random() < 0.5:
            return superset.begin([tab])
        same = [other for other in tabs if other.principal == tab.principal]
        return superset.begin(same, for_tabs=rng.random() < 0.5)

    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(work)
        try:
            yield
        finally:
            done.set()
        working.result()
