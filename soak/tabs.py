# SPDX-License-Identifier: Apache-2.0
"""Tabs of Superset up to 6.1 that come, go and come back, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import testbed.realtime
from soak.crowd import Crowd
from soak.plan import Plan
from soak.producers import now_ms
from soak.shared_truth import SharedChannel
from soak.sockets import Census, Socket, open_socket
from soak.truth import AnyReader, Channel, Ledger
from testbed.superset import cookie, new_channel
from testbed.wire import BINARY, TEXT, close_frame, frame, request

TABS_OF_A_USER = 4  # on average
ABSENCE = (0.05, 1.0)  # seconds until a tab comes back
LONG_ABSENCE = 10.0  # one in ten stays away for up to this
WAYS_TO_GO = ("closed", "reset", "hung up", "vanished")
HEAVY_SHARE = 0.02  # of the tabs are of the user with large events
SHARED_SHARE = 0.3  # of the tabs are of users whose events come from several producers
SHARED_CHANNELS = 6  # few, so that each has tabs when a producer dies
SLOW_READERS = 0.3  # of that user's connections
PATIENCE = 30.0  # seconds until the server has surely ended what it must end

MISDEEDS_PER_SECOND = 2.0
BAD_COOKIE = request(Cookie="async-token=e30.e30.e30")
# What a client sends, and how the answer begins, if it must be that.
MISDEEDS: dict[str, tuple[Callable[[], bytes], bytes]] = {
    "bad cookie": (lambda: BAD_COOKIE, b"HTTP/1.1 401"),
    "another's secret": (
        lambda: request(Cookie=cookie(new_channel(), "another-secret-of-more-than-32-bytes")),
        b"HTTP/1.1 401",
    ),
    "another's secret for Superset 7": (
        lambda: request(
            path="/?tab_id=1",
            Cookie=testbed.realtime.cookie("user:1", "another-secret-of-more-than-32-bytes"),
        ),
        b"HTTP/1.1 401",
    ),
    "an expired token": (
        lambda: request(path="/?tab_id=1", Cookie=testbed.realtime.cookie("user:1", exp=1)),
        b"HTTP/1.1 401",
    ),
    "garbage": (lambda: b"\x16\x03\x01 garbage\r\n\r\n", b"HTTP/1.1 400"),
    "half a request": (lambda: BAD_COOKIE[:60], b""),
    "nothing": (lambda: b"", b""),
    "an unmasked frame": (lambda: request() + frame(TEXT, b"x", mask=None), b"HTTP/1.1 101"),
    "a reserved bit": (lambda: request() + frame(BINARY, b"x", rsv=4), b"HTTP/1.1 101"),
    "a flood": (lambda: request() + frame(TEXT, b"x") * 200, b"HTTP/1.1 101"),
    "goodbye at once": (lambda: request() + close_frame(1000), b"HTTP/1.1 101"),
}


C = TypeVar("C", Channel, SharedChannel)


@dataclass(eq=False)
class User(Generic[C]):
    """One user's session: a channel, and the cookie of its tabs.

    :ivar stays: even without any tab.
    """

    channel: C
    cookie: str
    stays: bool = False
    tabs: int = 0


def new_user(*, stays: bool = False) -> User[Channel]:
    """A user whose events come from one producer."""
    name = new_channel()
    return User(Channel(name), cookie(name), stays)


def new_shared_user() -> User[SharedChannel]:
    """A user whose events come from several producers."""
    name = new_channel()
    return User(SharedChannel(name, now_ms), cookie(name), stays=True)


class Tab:
    """A tab that keeps its connection badly."""

    def __init__(self, name: str, user: User[Any], population: Population) -> None:
        self.name = name
        self.user = user
        self.reader: AnyReader = user.channel.reader()
        self._population = population
        self._rng = population.rng
        self._socket: Socket | None = None
        self._awaits_catch_up = False

    async def live(self) -> None:
        """Connect, go and come back, until cancelled."""
        try:
            while True:
                with contextlib.suppress(OSError):
                    self._socket = socket = await self._connect()
                    await self._stay(socket)
                    if not socket.ended.done():
                        await self._go(socket)
                await asyncio.sleep(self._absence())
        finally:
            self.drop()

    def drop(self) -> None:
        """Lose the connection, if there is one."""
        if self._socket is not None and not self._socket.ended.done():
            self._socket.reset()

    async def _connect(self) -> Socket:
        population = self._population
        query = f"/?last_id={self.reader.last_id}" if self.reader.last_id else "/"
        self._awaits_catch_up = bool(self.reader.last_id)
        slow = self.user is population.heavy_user and self._rng.random() < SLOW_READERS
        return await open_socket(
            population.port,
            population.census,
            request(path=query, Cookie=self.user.cookie),
            self.reader.opened,
            self._take,
            slow=slow and not population.settling,
        )

    def _take(self, socket: Socket, text: bytes) -> None:
        event, census = json.loads(text), self._population.census
        # What is older than the connection came by catch-up; slow readers measure themselves.
        if event["t"] > socket.opened_ns and not socket.slow:
            census.latencies.append((time.monotonic_ns() - event["t"]) / 1e6)
        elif self._awaits_catch_up:
            self._awaits_catch_up = False
            census.happened["caught up"] += 1
        self.reader.take(event)

    async def _stay(self, socket: Socket) -> None:
        stay = self._rng.expovariate(1 / self._population.plan.seconds_per_connection)
        await asyncio.wait({socket.ended}, timeout=stay)
        while self._population.settling and not socket.ended.done():
            socket.slow = False
            await asyncio.wait({socket.ended}, timeout=1.0)

    async def _go(self, socket: Socket) -> None:
        how = self._rng.choice(WAYS_TO_GO)
        happened = self._population.census.happened
        happened[how] += 1
        if how == "closed":
            socket.close()
        elif how == "reset":
            socket.reset()
        elif how == "hung up":
            socket.hang_up()
        else:
            socket.vanish()
        await asyncio.wait({socket.ended}, timeout=PATIENCE)
        if not socket.ended.done():
            happened["never ended"] += 1
            socket.reset()

    def _absence(self) -> float:
        if self._rng.random() < 0.1 and not self._population.settling:
            return self._rng.uniform(0.0, LONG_ABSENCE)
        return self._rng.uniform(*ABSENCE)


class Population:
    """All clients."""

    def __init__(self, plan: Plan, port: int) -> None:
        """:param port: the server's."""
        self.plan = plan
        self.port = port
        self.census = Census()
        self.ledger = Ledger()
        self.settling = False  # whether everybody is to come back and stay
        self.rng = random.Random(f"{plan.seed} tabs")
        self.heavy_user = new_user(stays=True)  # has large events, and many of them
        self.shared_users = [new_shared_user() for _ in range(SHARED_CHANNELS)]
        self.users = [new_user()]
        self._crowd = Crowd(self.rng, self._new_tab, self._leaves)
        self._misdeeds: set[asyncio.Task[None]] = set()
        self._born = 0

    async def run(self) -> None:
        """Follow the plan until cancelled."""
        begin = last = time.monotonic()
        try:
            while True:
                await asyncio.sleep(0.1)
                last, seconds = time.monotonic(), time.monotonic() - last
                self._crowd.follow(self.plan.sockets_at(last - begin), seconds)
                if self.rng.random() < MISDEEDS_PER_SECOND * seconds:
                    self._misbehave()
        finally:
            for task in self._misdeeds:
                task.cancel()
            await asyncio.gather(*self._misdeeds, return_exceptions=True)

    def settle(self) -> None:
        """Everybody comes back, which is the last catch-up, and stays."""
        self.settling = True
        for tab in self._crowd:
            tab.drop()

    def is_complete(self) -> bool:
        """Whether every tab has all that it is due."""
        return not any(tab.reader.behind() for tab in self._crowd)

    async def leave(self) -> None:
        """Everybody closes; what has not come by now does not come any more."""
        for tab in self._crowd:
            tab.reader.give_up_waiting()
        await self._crowd.leave()

    def _new_tab(self) -> Tab:
        user = self._somebody()
        user.tabs += 1
        self._born += 1
        return Tab(f"tab {self._born}", user, self)

    def _somebody(self) -> User[Any]:
        share = self.rng.random()
        if share < HEAVY_SHARE:
            return self.heavy_user
        if share < HEAVY_SHARE + SHARED_SHARE:
            return self.rng.choice(self.shared_users)
        if self.rng.random() < 1 / TABS_OF_A_USER:
            self.users.append(new_user())
        return self.rng.choice(self.users)

    def _leaves(self, tab: Tab) -> None:
        self.ledger.leaves(tab.name, tab.reader)
        tab.user.tabs -= 1
        if not tab.user.tabs and not tab.user.stays and len(self.users) > 1:
            self.users.remove(tab.user)

    # --- clients that have no business here ------------------------------------------------------

    def _misbehave(self) -> None:
        task = asyncio.create_task(self._misdeed(self.rng.choice(list(MISDEEDS))))
        self._misdeeds.add(task)
        task.add_done_callback(self._misdeeds.discard)

    async def _misdeed(self, name: str) -> None:
        make, begin = MISDEEDS[name]
        self.census.happened[name] += 1
        self.census.open += 1
        try:
            answer = await asyncio.wait_for(self._answer(make()), PATIENCE)
            if answer and not answer.startswith((begin, b"HTTP/1.1 503")):
                self.census.happened[f"{name}: wrong answer"] += 1
        except asyncio.TimeoutError:
            self.census.happened["never ended"] += 1
        except OSError:
            pass  # a worker was killed
        finally:
            self.census.open -= 1

    async def _answer(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await reader.read(-1)
        finally:
            writer.close()
