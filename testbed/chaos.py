# SPDX-License-Identifier: Apache-2.0
"""Chaos on purpose: producers that die, clients that drop, workers that are killed; then the truth.

`Chaos.run` lets it happen for some seconds, and until each kind of it has happened. Then it brings
everybody back and compares what each client got with the global stream. What happens is drawn from
a seed, when it happens is up to the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from testbed.servers import ROOT, Server
from testbed.superset import cookie
from wsgi_ws.sources.streams.replay import ORPHAN_LOOK_BACK_MS, TWIN_GRACE_MS

Id = tuple[int, int]
SETTLING = 60.0  # seconds that the clients have in the end; they need one or two
PATIENCE = 60.0  # seconds longer than planned that a kind of chaos may take to happen


@dataclass
class Plan:
    """How much chaos."""

    seconds: float
    seed: int
    channels: int = 12
    tabs_per_channel: int = 3
    producers: int = 4  # half of them die and are replaced
    events_per_second: float = 400.0
    seconds_per_connection: float = 1.5
    seconds_per_kill: float = 3.0


@dataclass
class Report:
    """What happened, and what should not have."""

    clients: int = 0
    events: int = 0
    orphans: int = 0
    deliveries: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    returns: int = 0  # connections with a last_id while the chaos lasted
    catch_ups: int = 0  # how many of them were served before they dropped
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    orphans_lost: list[str] = field(default_factory=list)
    orphans_repeated_at_once: list[str] = field(default_factory=list)
    orphan_repeats: int = 0  # over several connections: allowed

    def chaos(self) -> dict[str, int]:
        """How often each kind of chaos happened."""
        kinds = ("closed", "reset", "workers killed")
        return {kind: self.drops[kind] for kind in kinds} | {"orphans": self.orphans}

    def __str__(self) -> str:
        drops = ", ".join(f"{n} {kind}" for kind, n in sorted(self.drops.items()))
        return (
            f"{self.clients} clients, {self.events} events, {self.orphans} orphans, "
            f"{self.deliveries} deliveries; {drops}; "
            f"{self.catch_ups} of {self.returns} catch-ups done in time; lost {len(self.lost)}, "
            f"repeated {len(self.repeated)}, out of order {len(self.out_of_order)}, "
            f"orphans lost {len(self.orphans_lost)}, orphans repeated {self.orphan_repeats}"
        )


class Tab:
    """A browser tab that keeps its connection badly."""

    def __init__(self, name: str, channel: str, server: Server, chaos: Chaos) -> None:
        self.name = name
        self.channel = channel
        self.jobs: list[str] = []
        self.connections: list[list[str]] = []
        self.last_id: str | None = None
        self.accepted_after: Id = (0, 0)  # the global stream's end when it was surely connected
        self.last_catch_up_from: Id | None = None
        self._server = server
        self._chaos = chaos
        self._rng = random.Random(f"{chaos.plan.seed} {name}")

    async def live(self) -> None:
        """Connect and drop, again and again."""
        while True:
            stay = self._rng.expovariate(1 / self._chaos.plan.seconds_per_connection)
            try:
                await self._connection(stay)
            except (OSError, WebSocketException, asyncio.TimeoutError):
                self._chaos.report.drops["by the server"] += 1
                await asyncio.sleep(0.05)

    async def come_back(self, is_complete: asyncio.Event) -> None:
        """The last connection: it stays."""
        while True:
            try:
                await asyncio.wait_for(self._open_and_read(until=is_complete), 2 * SETTLING)
                return
            except (OSError, WebSocketException):
                await asyncio.sleep(0.05)

    async def _connection(self, stay: float) -> None:
        ws = await self._connect()
        try:
            await asyncio.wait_for(self._read(ws), stay)
        except asyncio.TimeoutError:
            kind = self._rng.choice(["closed", "reset"])
            self._chaos.report.drops[kind] += 1
            if kind == "closed":
                await ws.close()
        finally:
            _reset(ws)

    async def _open_and_read(self, until: asyncio.Event) -> None:
        if self.last_id is not None:
            self.last_catch_up_from = id_of(self.last_id)
        ws = await self._connect()
        reading = asyncio.create_task(self._read(ws))
        waiting = asyncio.create_task(until.wait())
        try:
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            waiting.cancel()
            await asyncio.gather(reading, waiting, return_exceptions=True)
            _reset(ws)

    async def _connect(self) -> ClientConnection:
        query = f"?last_id={self.last_id}" if self.last_id else ""
        ws = await connect(
            self._server.url("/" + query),
            additional_headers={"Cookie": cookie(self.channel)},
            compression=None,
            open_timeout=30,
            close_timeout=5,
            max_queue=None,
        )
        if self.last_id is None:
            self.accepted_after = self._chaos.end_of_stream()
        elif not self._chaos.over.is_set():
            self._chaos.report.returns += 1
        self.connections.append([])
        return ws

    async def _read(self, ws: ClientConnection) -> None:
        async for message in ws:
            event: dict[str, Any] = json.loads(message)
            self.last_id = event["id"]
            self.jobs.append(event["job_id"])
            self.connections[-1].append(event["job_id"])


def _reset(ws: ClientConnection) -> None:
    """End TCP at once, with a reset where it is still open."""
    sock = ws.transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.transport.abort()


def id_of(text: str | bytes) -> Id:
    """A stream ID as numbers."""
    ms, seq = (text if isinstance(text, str) else text.decode()).split("-")
    return int(ms), int(seq)


class Chaos:
    """One run."""

    def __init__(
        self, plan: Plan, server: Server, redis_port: int, prefix: str, statsd: socket.socket
    ) -> None:
        """:param statsd: a bound UDP socket that gets the server's metrics."""
        self.plan = plan
        self.report = Report()
        self.over = asyncio.Event()
        self._server = server
        self._statsd = statsd
        self._redis_port = redis_port
        self._redis: Any = redis.Redis(port=redis_port)
        self._prefix = prefix
        self._rng = random.Random(plan.seed)
        self._channels = [f"channel-{n}" for n in range(plan.channels)]
        self._orphans: set[str] = set()
        self._tabs = [
            Tab(f"{channel}/{n}", channel, server, self)
            for channel in self._channels
            for n in range(plan.tabs_per_channel)
        ]

    async def run(self) -> Report:
        tabs = [asyncio.create_task(tab.live()) for tab in self._tabs]
        makers = [
            asyncio.create_task(self._produce(n, mortal=n % 2 == 1))
            for n in range(self.plan.producers)
        ]
        killer = asyncio.create_task(self._kill_workers())
        asyncio.get_running_loop().add_reader(self._statsd, self._count)
        await asyncio.sleep(self.plan.seconds)
        await self._until_each_kind_happened()
        self.over.set()
        asyncio.get_running_loop().remove_reader(self._statsd)
        for tab in tabs:
            tab.cancel()  # in the middle of whatever it does
        await asyncio.wait(tabs)
        failed = [tab.exception() for tab in tabs if not tab.cancelled()]
        assert not failed, failed
        await asyncio.gather(*makers, killer)
        await self._until_no_event_is_in_flight()
        await self._bring_everybody_back()
        self._judge()
        self._redis.close()
        return self.report

    def end_of_stream(self) -> Id:
        newest = self._redis.xrevrange(self._prefix + "full", count=1)
        return id_of(newest[0][0]) if newest else (0, 0)

    def _count(self) -> None:
        self.report.catch_ups += self._statsd.recv(65536).count(b"ws_catch_up:")

    # --- what happens ----------------------------------------------------------------------------

    async def _produce(self, slot: int, *, mortal: bool) -> None:
        life = 0
        while not self.over.is_set():
            life += 1
            await self._produce_once(f"p{slot}.{life}", mortal)

    async def _produce_once(self, name: str, mortal: bool) -> None:
        rate = self.plan.events_per_second / self.plan.producers
        deadly = ["--die-after", str(self._rng.randrange(1, int(rate * 2)))] if mortal else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "testbed.chaos_producer", "--name", name, *deadly),
            *("--redis-port", str(self._redis_port)),
            *("--prefix", self._prefix, "--seed", str(self._rng.getrandbits(32))),
            *("--rate", str(rate), *self._channels),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        ended = asyncio.create_task(process.wait())
        over = asyncio.create_task(self.over.wait())
        await asyncio.wait([ended, over], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        assert process.stdin is not None
        process.stdin.close()
        await ended
        assert process.stdout is not None
        self._orphans.update((await process.stdout.read()).decode().split())
        self.report.orphans = len(self._orphans)

    async def _kill_workers(self) -> None:
        while not self.over.is_set():
            await asyncio.sleep(self._rng.expovariate(1 / self.plan.seconds_per_kill))
            pids = self._server.pids()
            if pids and not self.over.is_set():
                os.kill(self._rng.choice(pids), signal.SIGKILL)
                self.report.drops["workers killed"] += 1

    async def _until_each_kind_happened(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (all(self.report.chaos().values()) and self.report.catch_ups):
            if time.monotonic() > deadline:
                return  # the report says what is missing
            await asyncio.sleep(0.05)

    async def _until_no_event_is_in_flight(self) -> None:
        end = self._now_ms() + TWIN_GRACE_MS
        while self._now_ms() <= end:
            await asyncio.sleep(0.05)

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _bring_everybody_back(self) -> None:
        complete = asyncio.Event()
        tabs = [asyncio.create_task(tab.come_back(complete)) for tab in self._tabs]
        stream = self._read_stream()
        deadline = time.monotonic() + SETTLING
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            missing = 0
            for tab in self._tabs:
                got = set(tab.jobs)
                missing += sum(job not in got for job in self._due(tab, stream))
                missing += sum(job not in got for job in self._orphans_due(tab))
            if not missing:
                break
        await asyncio.sleep(1.0)  # for what should not come
        complete.set()
        await asyncio.gather(*tabs)

    # --- the truth -------------------------------------------------------------------------------

    def _read_stream(self) -> dict[str, list[tuple[Id, str]]]:
        """The global stream, by channel."""
        by_channel: dict[str, list[tuple[Id, str]]] = {c: [] for c in self._channels}
        for entry_id, fields in self._redis.xrange(self._prefix + "full"):
            event = json.loads(fields[b"data"])
            by_channel[event["channel_id"]].append((id_of(entry_id), event["job_id"]))
        return by_channel

    def _due(self, tab: Tab, stream: dict[str, list[tuple[Id, str]]]) -> list[str]:
        return [job for entry_id, job in stream[tab.channel] if entry_id > tab.accepted_after]

    def _orphans_due(self, tab: Tab) -> list[str]:
        """Orphans that the tab's last catch-up could see."""
        if tab.last_catch_up_from is None:
            return []
        start = max(0, tab.last_catch_up_from[0] - ORPHAN_LOOK_BACK_MS)
        jobs = [
            json.loads(fields[b"data"])["job_id"]
            for _, fields in self._redis.xrange(self._prefix + tab.channel, str(start))
        ]
        return [job for job in jobs if job in self._orphans]

    def _judge(self) -> None:
        stream = self._read_stream()
        report = self.report
        report.clients = len(self._tabs)
        report.events = sum(map(len, stream.values()))
        for tab in self._tabs:
            report.deliveries += len(tab.jobs)
            self._judge_tab(tab, [job for _, job in stream[tab.channel]], self._due(tab, stream))

    def _judge_tab(self, tab: Tab, truth: Sequence[str], due: Sequence[str]) -> None:
        report = self.report
        times = Counter(tab.jobs)
        ordinary = [job for job in tab.jobs if job not in self._orphans]
        # A first connection may also get what was written while it was being accepted.
        expected = truth[truth.index(ordinary[0]) :] if ordinary else []
        expected = max(expected, due, key=len)
        report.lost += [f"{tab.name}: {job}" for job in expected if not times[job]]
        report.repeated += [f"{tab.name}: {job}" for job in set(ordinary) if times[job] > 1]
        place = {job: number for number, job in enumerate(truth)}
        once = list(dict.fromkeys(ordinary))
        report.out_of_order += [
            f"{tab.name}: {job}"
            for job, expected in zip(once, sorted(once, key=place.__getitem__), strict=True)
            if job != expected
        ]
        report.orphans_lost += [
            f"{tab.name}: {job}" for job in self._orphans_due(tab) if not times[job]
        ]
        report.orphan_repeats += sum(times[job] - 1 for job in self._orphans if times[job] > 1)
        for jobs in tab.connections:
            report.orphans_repeated_at_once += [
                f"{tab.name}: {job}" for job, n in Counter(jobs).items() if n > 1
            ]
