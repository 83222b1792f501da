# SPDX-License-Identifier: Apache-2.0
"""Superset 7 as it begins and ends tasks, and tells everybody or those who wait.

One connection publishes everything, so its order is known; and what was answered is written down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from soak.plan import Plan
from soak.realtime.tabs import Pages, RealtimeTab
from wsgi_ws.superset.names import BROADCAST, ENTITY_CHANGED, TASK_STATUS
from wsgi_ws.superset.realtime import channel_name, envelope

FILTERS_APPLIED = "dashboard.filters_applied"
TICK = 0.01  # seconds between two writes
BACKLOG = 0.2  # seconds: what could not be published for longer is not made up for
LONGEST_TASK = 3.0  # seconds
STATUSES = ("success", "failure", "aborted", "timed_out")
TWICE = 0.05  # of the ends are published twice, as Superset may do
FILTERS = 0.2  # for each task
STORM = 0.002  # for each task: many changes at once
STORM_SIZE = 200
LIST = 100  # rows of a page's list: the newest tasks


class Task(NamedTuple):
    """One of Superset's.

    :ivar routes: of those who are told of its end.
    """

    uuid: str
    number: int
    scope: str
    routes: Sequence[str]


class Message(NamedTuple):
    topic: str
    scope: str
    payload: dict[str, Any]
    routes: Sequence[str] | None = None


class RealtimePublisher:
    """Publishes until `over`."""

    def __init__(self, plan: Plan, port: int, prefix: str, pages: Pages) -> None:
        """:param port: Redis's, without any proxy."""
        self.over = False
        self._plan = plan
        self._channel = channel_name(prefix)
        self._pages = pages
        self._rng = random.Random(f"{plan.seed} messages")
        self._numbers = itertools.count(1)
        self._running: list[tuple[float, Task]] = []  # until when, by `time.monotonic`
        # As for the events of the other transport: whatever is not answered may have been done, but
        # is not done later on.
        self._redis: Any = redis.asyncio.Redis(port=port, retry=Retry(NoBackoff(), 0))

    async def run(self) -> None:
        """Begin tasks and end them; end all when it is over."""
        begin = last = time.monotonic()
        due = 0.0
        while not self.over:
            await asyncio.sleep(TICK)
            last, seconds = time.monotonic(), min(time.monotonic() - last, BACKLOG)
            due += self._plan.tasks_at(last - begin) * seconds
            batch = [message for _ in range(int(due)) for message in self._happenings(last)]
            due %= 1
            await self._publish([*batch, *self._ends(last)])
        await self._publish(self._ends(float("inf")))

    async def mark(self) -> None:
        """Publish something for everybody."""
        await self._publish([self._changed(next(self._numbers))])

    async def close(self) -> None:
        await self._redis.connection_pool.disconnect()

    def _happenings(self, now: float) -> list[Message]:
        """A task begins, and now and then something else happens."""
        tab = self._pages.anybody()
        if tab is None:
            return []
        task = self._begin(tab, now)
        batch = [self._changed(task.number)]
        if self._running:  # as often for a task that has begun just now: equal messages become one
            batch.append(self._changed(self._rng.choice(self._running)[1].number))
        if self._rng.random() < FILTERS:
            payload = {"dashboard_id": 12, "permalink_key": uuid.uuid4().hex[:11]}
            batch.append(Message(FILTERS_APPLIED, "principal", payload, [tab.principal]))
        if self._rng.random() < STORM:
            batch += [self._changed(next(self._numbers)) for _ in range(STORM_SIZE)]
        return batch

    def _begin(self, tab: RealtimeTab, now: float) -> Task:
        waiting = [tab] if self._rng.random() < 0.5 else self._pages.same_principal(tab)
        for_tabs = self._rng.random() < 0.7
        routes = {each.route if for_tabs else each.principal for each in waiting}
        scope = "tab" if for_tabs else "principal"
        task = Task(str(uuid.uuid4()), next(self._numbers), scope, sorted(routes))
        for each in waiting:
            each.page.wait_for(task.uuid)
        self._running.append((now + self._rng.uniform(0.0, LONGEST_TASK), task))
        return task

    def _ends(self, now: float) -> list[Message]:
        batch = []
        for entry in [entry for entry in self._running if entry[0] <= now]:
            self._running.remove(entry)
            batch += self._end(entry[1])
        return batch

    def _end(self, task: Task) -> list[Message]:
        """Commit, tell everybody of the change and its own tabs of the end."""
        status = self._rng.choice(STATUSES)
        self._pages.database.statuses[task.uuid] = status
        payload = {"task_id": task.uuid, "status": status}
        ended = Message(TASK_STATUS, task.scope, payload, task.routes)
        changed = self._changed(task.number)
        return [changed, ended, ended] if self._rng.random() < TWICE else [changed, ended]

    def _changed(self, number: int) -> Message:
        database = self._pages.database
        database.change(number)
        while len(database.versions) > LIST:
            del database.versions[next(iter(database.versions))]
        return Message(ENTITY_CHANGED, BROADCAST, {"entity_type": "task", "id": number})

    async def _publish(self, batch: Sequence[Message]) -> None:
        if not batch:
            return
        now = time.monotonic()
        publications = []
        pipe = self._redis.pipeline(transaction=False)
        for message in batch:
            kept = message.topic != FILTERS_APPLIED
            text = text_of(message.topic, message.payload)
            begins = self._pages.journal.begins
            publications.append(begins(text, message.routes, now, is_kept=kept))
            pipe.publish(self._channel, envelope(*message))
        happened = self._pages.census.happened
        try:
            receivers = await pipe.execute()
        except (redis.RedisError, OSError):  # Superset logs it, and forgets it
            receivers = []
        for publication in publications:
            publication.ends(time.monotonic(), returned=bool(receivers))
        happened["published" if receivers else "publishes that failed"] += len(batch)
        missed = sum(count < self._plan.workers for count in receivers)
        happened["published while some worker had no subscription"] += missed


def text_of(topic: str, payload: dict[str, Any]) -> bytes:
    """What a browser gets: the payload's bytes are those that were published."""
    return f'{{"topic":{json.dumps(topic)},"payload":{json.dumps(payload)}}}'.encode()
