# SPDX-License-Identifier: Apache-2.0
"""Publishes most of the events, and knows afterwards which of them Redis has taken."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from soak.plan import Plan
from soak.tabs import Population, User
from soak.truth import Channel
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS
from wsgi_ws.superset.producer import event, new_channel, xadds

TICK = 0.01  # seconds between two writes
BACKLOG = 0.2  # seconds: what could not be written for longer is not made up for
OTHERS = 0.2  # of the events are for users who have no tab open
HEAVY_RATE = 10.0  # events per second with HEAVY_BYTES each, for one user
HEAVY_BYTES = 4096
# Events per second of any size, until memory is judged: what a message of megabytes leaves behind
# in the allocator is no leak, but more than the bound for one.
ODD_RATE = 0.2
ODD_BYTES = (10, 3_000_000)  # least and most, as often small as large
RETRY = 0.1  # seconds


class Published(NamedTuple):
    """An event on its way into Redis."""

    channel: Channel
    number: int
    data: bytes


class Producer:
    """One connection; each channel's events have ascending numbers."""

    def __init__(self, plan: Plan, port: int, prefix: str, population: Population) -> None:
        """:param port: Redis's, without any proxy: Superset is on the other side of it."""
        self.events = 0  # taken by Redis
        self.over = False
        self._plan = plan
        self._prefix = prefix
        self._population = population
        self._rng = random.Random(f"{plan.seed} events")
        self._others = [User(Channel(new_channel()), "") for _ in range(50)]
        # Superset does not retry either, and what was written must be known here. No time-out: a
        # command left in the buffer of a Redis that stands still would be carried out later on.
        self._redis: Any = redis.asyncio.Redis(port=port, retry=Retry(NoBackoff(), 0))

    async def run(self) -> None:
        """Publish until `over`."""
        begin = last = time.monotonic()
        due = heavy_due = odd_due = 0.0
        try:
            while not self.over:
                await asyncio.sleep(TICK)
                last, seconds = time.monotonic(), min(time.monotonic() - last, BACKLOG)
                due += self._plan.rate_at(last - begin) * seconds
                heavy_due += HEAVY_RATE * seconds
                batch = [self._event(self._somebody()) for _ in range(int(due))]
                heavy = self._population.heavy_user
                batch += [self._event(heavy, HEAVY_BYTES) for _ in range(int(heavy_due))]
                if last - begin < self._plan.wave * self._plan.faulty_waves:
                    odd_due += ODD_RATE * seconds
                batch += [self._event(self._somebody(), self._odd()) for _ in range(int(odd_due))]
                due, heavy_due, odd_due = due % 1, heavy_due % 1, odd_due % 1
                if batch:
                    await self._publish(batch)
        finally:
            await self._redis.connection_pool.disconnect()

    def _somebody(self) -> User[Channel]:
        others = self._rng.random() < OTHERS
        return self._rng.choice(self._others if others else self._population.users)

    def _odd(self) -> int:
        least, most = map(math.log, ODD_BYTES)
        return int(math.exp(self._rng.uniform(least, most)))

    def _event(self, user: User[Channel], size: int = 0) -> Published:
        channel = user.channel
        channel.last += 1
        members = event(channel.name, job_id=str(channel.last), t=time.monotonic_ns())
        if size:
            members["errors"] = [{"message": "x" * size}]
        return Published(channel, channel.last, json.dumps(members).encode())

    async def _publish(self, batch: list[Published]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for published in batch:
            for xadd in xadds(self._prefix, published.channel.name, published.data):
                pipe.xadd(*xadd)
        try:
            ids = await pipe.execute()
        except (redis.RedisError, OSError):
            await self._settle(batch)
            return
        self.events += len(batch)
        for published, first, second in zip(batch, ids[::2], ids[1::2], strict=True):
            if _ms(second) - _ms(first) > TWIN_GRACE_MS:
                published.channel.excused.add(published.number)

    async def _settle(self, batch: list[Published]) -> None:
        """Find out how far Redis has come. Nobody else writes, and nothing is on its way any more:
        the connection is gone."""
        while True:
            try:
                whole = await self._newest("full", len(batch))
                halves = {
                    data
                    for name in {published.channel.name for published in batch}
                    for data in await self._newest(name, len(batch))
                }
                break
            except (redis.RedisError, OSError):
                await asyncio.sleep(RETRY)
        for published in batch:
            if published.data in whole:
                self.events += 1
                continue
            published.channel.void.add(published.number)
            if published.data in halves:
                published.channel.excused.add(published.number)

    async def _newest(self, stream: str, count: int) -> set[bytes]:
        entries = await self._redis.xrevrange(self._prefix + stream, count=count)
        return {fields[b"data"] for _, fields in entries}


def _ms(entry_id: bytes) -> int:
    return int(entry_id.split(b"-")[0])
