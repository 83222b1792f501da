# SPDX-License-Identifier: Apache-2.0
"""Several processes that publish to the same channels at once; half of them die again and again."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis.asyncio

from soak.plan import Plan
from soak.shared_truth import SharedChannel, Written
from testbed.servers import ROOT
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS
from wsgi_ws.superset.stream_names import channel_stream, global_stream

MARGIN = 0.5  # seconds longer than the grace
PAGE = 10_000  # entries


def now_ms() -> int:
    """Redis's clock, which is that of this machine."""
    return int(time.time() * 1000)


class Producers:
    """All of them."""

    def __init__(
        self,
        plan: Plan,
        port: int,
        prefix: str,
        channels: Sequence[SharedChannel],
        happened: Counter[str],
    ) -> None:
        """
        :param port: Redis's, without any proxy.
        :param happened: orphans are counted there.
        """
        self._happened = happened
        self._over = asyncio.Event()
        self._plan = plan
        self._port = port
        self._prefix = prefix
        self._channels = {channel.name: channel for channel in channels}
        self._rng = random.Random(f"{plan.seed} producers")
        self._excused: set[str] = set()

    async def run(self) -> None:
        """Publish until told to stop."""
        slots = range(self._plan.producers)
        await asyncio.gather(*(self._follow_each_other(n, mortal=n % 2 == 1) for n in slots))

    def stop(self) -> None:
        self._over.set()

    async def _follow_each_other(self, slot: int, *, mortal: bool) -> None:
        life = 0
        while not self._over.is_set():
            life += 1
            await self._live(f"p{slot}.{life}", mortal)

    async def _live(self, name: str, mortal: bool) -> None:
        rate = self._plan.shared_rate / self._plan.producers
        longest = max(2, int(rate * self._plan.seconds_per_death * 2))
        deadly = ["--die-after", str(self._rng.randrange(1, longest))] if mortal else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "soak.dying_producer", "--name", name, *deadly),
            *("--redis-port", str(self._port), "--prefix", self._prefix),
            *("--seed", str(self._rng.getrandbits(32)), "--rate", str(rate), *self._channels),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        telling = asyncio.create_task(process.stdout.read())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait([telling, over], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        process.stdin.close()
        for line in (await telling).decode().splitlines():
            what, job = line.split()
            self._happened["orphans"] += what == "orphan"
            self._excused.update([job] if what == "excused" else [])
        status = await process.wait()
        assert status in (0, -9), f"a producer ended with {status}"

    async def settle(self) -> None:
        """Wait until no event is on its way, then tell the channels what was written."""
        await asyncio.sleep(TWIN_GRACE_MS / 1000 + MARGIN)
        client: Any = redis.asyncio.Redis(port=self._port)
        whole: dict[str, list[Written]] = {name: [] for name in self._channels}
        for name, written in await self._entries(client, global_stream(self._prefix)):
            if name in whole:
                whole[name].append(written)
        for name, channel in self._channels.items():
            self._happened["events of several producers"] += len(whole[name])
            halves = await self._entries(client, channel_stream(self._prefix, name))
            channel.settle(whole[name], [written for _, written in halves], self._excused)
        await client.connection_pool.disconnect()

    async def _entries(self, client: Any, stream: str) -> list[tuple[str, Written]]:
        """Channel and event of each."""
        found, start = [], "-"
        while page := await client.xrange(stream, start, count=PAGE):
            for entry_id, fields in page:
                members = json.loads(fields[b"data"])
                ms = int(entry_id.split(b"-")[0])
                found.append((members["channel_id"], Written(ms, members["job_id"])))
            start = f"({page[-1][0].decode()}"
        return found
