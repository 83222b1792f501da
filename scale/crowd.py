# SPDX-License-Identifier: Apache-2.0
"""A client process: its tabs, what is published for them, and whether they get it.

The parent gives orders through a pipe, one at a time; each is the name of a method of `Crowd` and
its arguments, and is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import time
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import redis.asyncio

from scale.plan import TABS_OF_A_USER, Plan
from scale.tabs import Page, StreamTab, Tab
from soak.realtime import truth as realtime_truth
from soak.realtime.publisher import text_of
from soak.realtime.truth import Journal, Publication
from soak.sockets import Census
from soak.truth import Channel, Ledger
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS
from wsgi_ws.superset.names import TASK_STATUS
from wsgi_ws.superset.producer import event, new_channel, xadds
from wsgi_ws.superset.realtime import channel_name, envelope

PREFIX = "async-events-"
WINDOW = 64  # first handshakes under way at once
TICK = 0.01  # seconds between two writes
BACKLOG = 0.2  # seconds: what could not be written for longer is not made up for
SETTLING = 30.0  # seconds that the tabs have in the end
SILENCE = 1.0  # seconds for what should not come
# What can't happen here: no producer dies, and no page renews its socket.
NOT_HERE = ("orphans_lost", "orphans_repeated_at_once", "realtime_missed_in_a_renewal")


class Look(NamedTuple):
    """What has happened since the last one, and what is.

    :ivar open: tabs whose sockets are open.
    :ivar away: seconds for which each socket that has opened again was away.
    :ivar latencies: milliseconds, of the live events of the streams.
    :ivar gave_up: tabs that have given up so far.
    :ivar last_opened: when the newest socket was open, by `time.monotonic`.
    """

    open: int
    published: int
    delivered: int
    away: Sequence[float]
    latencies: Sequence[float]
    gave_up: int
    last_opened: float


class Crowd:
    """All tabs of this process, and their users' events."""

    def __init__(self, plan: Plan, number: int, proxies: Sequence[int], redis_port: int) -> None:
        """
        :param number: of this process, from 0.
        :param proxies: their ports; tabs use them in turn.
        """
        self.source = f"127.0.0.{2 + number}"
        self.census = Census()
        self.ledger = Ledger()
        self.ledger7 = realtime_truth.Ledger()
        self.tabs: list[Tab] = []
        self._redis: Any = redis.asyncio.Redis(port=redis_port)
        self._entrance = asyncio.Semaphore(WINDOW)
        self._lives: list[asyncio.Task[None]] = []
        self._flow: asyncio.Task[None] | None = None
        self._published = 0
        self._away: list[float] = []
        self._gave_up = 0
        self._last_opened = 0.0
        ports = itertools.cycle(proxies)
        streams, pages = plan.users(number)
        channels = [Channel(new_channel()) for _ in range(streams)]
        for channel in channels:
            for tab in range(TABS_OF_A_USER):
                name = f"tab {tab} of {channel.name}"
                self.tabs.append(StreamTab(name, next(ports), self, channel))
        principals = [f"user:{number * 10**6 + n}" for n in range(1, pages + 1)]
        journals = {principal: Journal() for principal in principals}
        for principal, journal in journals.items():
            for tab in range(TABS_OF_A_USER):
                name = f"tab {tab} of {principal}"
                page = Page(name, next(ports), self, journal, principal, str(tab))
                self.tabs.append(page)
        self._users: list[Channel | tuple[str, Journal]] = [*channels, *journals.items()]
        self._turn = itertools.cycle(self._users)

    # --- orders ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open all, a few at a time."""
        for tab in self.tabs:
            await self._entrance.acquire()
            self._lives.append(asyncio.create_task(tab.live()))
        for _ in range(WINDOW):
            await self._entrance.acquire()
        gc.freeze()  # to look through all of this again and again would stop the clients' clock

    async def greet(self) -> bool:
        """Publish an event for each user. Whether all tabs got it; they have a `last_id` then."""
        for start in range(0, len(self._users), 100):
            await self._write(self._users[start : start + 100])
        return await self._complete()

    async def flow(self, rate: float) -> None:
        """Publish this many events per second from now on, for the users in turn."""
        self._flow = asyncio.create_task(self._publish(rate))

    async def look(self) -> Look:
        """Hand over what was noted."""
        delivered, latencies = self.census.take()
        away, self._away = self._away, []
        return Look(
            open=sum(tab.is_open for tab in self.tabs),
            published=self._published,
            delivered=delivered,
            away=away,
            latencies=latencies,
            gave_up=self._gave_up,
            last_opened=self._last_opened,
        )

    async def finish(self) -> dict[str, list[str]]:
        """Stop publishing; when all has come, say what was wrong: kind → tab and event of each."""
        if self._flow is not None:
            self._flow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flow  # which raises what has ended it before
        await self._complete()
        await asyncio.sleep(SILENCE)
        for tab in self.tabs:
            tab.leave()
        absent = [tab.name for tab in self.tabs if not tab.is_open]
        failed = [repr(life.exception()) for life in self._lives if life.done()]
        found = self.ledger.problems() | self.ledger7.problems()
        judged = {kind: those for kind, those in found.items() if kind not in NOT_HERE}
        return judged | {"sockets_that_stayed_away": absent, "failed_clients": failed}

    # --- what tabs tell --------------------------------------------------------------------------

    def opened(self, tab: Tab, away: float | None) -> None:
        self._last_opened = time.monotonic()
        if away is None:
            self._entrance.release()
        else:
            self._away.append(away)

    def gave_up(self, tab: Tab) -> None:
        self._gave_up += 1

    # --- what is published -----------------------------------------------------------------------

    async def _publish(self, rate: float) -> None:
        last, due = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(TICK)
            last, seconds = time.monotonic(), min(time.monotonic() - last, BACKLOG)
            due += rate * seconds
            # A write is never given up half-way: what was written must be known.
            await asyncio.shield(self._write(list(itertools.islice(self._turn, int(due)))))
            due %= 1

    async def _write(self, users: Sequence[Channel | tuple[str, Journal]]) -> None:
        """An event for each, in one pipeline.

        :raises redis.RedisError: which ends the run: nobody harms Redis here.
        """
        pipe = self._redis.pipeline(transaction=False)
        answered: list[Callable[[list[Any]], None]] = []
        for user in users:
            queue = self._queue_event if isinstance(user, Channel) else self._queue_message
            answered.append(queue(pipe, user))
        answers = await pipe.execute()
        for take in answered:
            take(answers)
        self._published += len(users)

    def _queue_event(self, pipe: Any, channel: Any) -> Callable[[list[Any]], None]:
        channel.last += 1
        number = channel.last
        data = json.dumps(event(channel.name, job_id=str(number), t=time.monotonic_ns()))
        for xadd in xadds(PREFIX, channel.name, data):
            pipe.xadd(*xadd)

        def take(answers: list[Any]) -> None:
            first, second = (int(answers.pop(0).split(b"-")[0]) for _ in range(2))
            if second - first > TWIN_GRACE_MS:
                channel.excused.add(number)

        return take

    def _queue_message(self, pipe: Any, user: Any) -> Callable[[list[Any]], None]:
        principal, journal = user
        payload = {"task_id": str(uuid.uuid4()), "status": "success"}
        text = text_of(TASK_STATUS, payload)
        publication: Publication = journal.begins(text, [principal], time.monotonic())
        pipe.publish(channel_name(""), envelope(TASK_STATUS, "principal", payload, [principal]))

        def take(answers: list[Any]) -> None:
            answers.pop(0)
            publication.ends(time.monotonic(), returned=True)

        return take

    async def _complete(self) -> bool:
        """Wait until all tabs are open, and have what the streams have for them."""
        deadline = time.monotonic() + SETTLING
        while time.monotonic() < deadline:
            if all(
                tab.is_open and not (isinstance(tab, StreamTab) and tab.reader.behind())
                for tab in self.tabs
            ):
                return True
            await asyncio.sleep(0.2)
        return False


def run(
    orders: Connection, plan: Plan, number: int, proxies: Sequence[int], redis_port: int
) -> None:
    """The process: obey until the parent closes its end."""
    asyncio.run(_obey(orders, plan, number, proxies, redis_port))


async def _obey(
    orders: Connection, plan: Plan, number: int, proxies: Sequence[int], redis_port: int
) -> None:
    crowd = Crowd(plan, number, proxies, redis_port)
    while True:
        try:
            name, *arguments = await asyncio.to_thread(orders.recv)
        except EOFError:
            return
        orders.send(await getattr(crowd, name)(*arguments))
