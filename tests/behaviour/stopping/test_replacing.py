# SPDX-License-Identifier: Apache-2.0
"""A rolling restart of two instances behind nginx, under load: 500 tabs lose nothing.

nginx is configured as the documentation says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio
import websockets
from websockets.asyncio.client import connect

from testbed.nginx import documented
from testbed.ports import free_port
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel
from wsgi_ws.superset.producer import xadds

StartServer = Callable[..., Server]
TABS = 500
CHANNELS = 50

CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_rlimit_nofile 8000;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {upstream}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        {location}
    }}
}}
"""


class Tab:
    """A browser tab that comes back with its last_id whenever it is dropped."""

    def __init__(self, port: int, channel: str) -> None:
        self.channel = channel
        self.jobs: list[str] = []
        self.returns = -1
        self.bad_gateways = 0
        self._port = port
        self._last_id = ""

    async def run(self, opened: Callable[[], None]) -> None:
        headers = {"Cookie": cookie(self.channel)}
        while True:
            query = f"?last_id={self._last_id}" if self._last_id else ""
            url = f"ws://127.0.0.1:{self._port}/ws{query}"
            with contextlib.suppress(OSError, websockets.WebSocketException), self._counting():
                async with connect(url, additional_headers=headers, max_queue=None) as socket:
                    self.returns += 1
                    opened()
                    async for message in socket:
                        received = json.loads(message)
                        self._last_id = received["id"]
                        self.jobs.append(received["job_id"])
            await asyncio.sleep(random.uniform(0.05, 0.5))

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except websockets.InvalidStatus as error:
            self.bad_gateways += error.response.status_code == 502
            raise


@pytest.fixture
def proxy_port(tmp_path: Path, instances: list[Server]) -> Iterator[int]:
    """nginx in front of both instances."""
    port = free_port()
    configuration = tmp_path / "nginx.conf"
    first, second = (server.port for server in instances)
    upstream, location = documented(first, second)
    configuration.write_text(
        CONFIGURATION.format(directory=tmp_path, port=port, upstream=upstream, location=location)
    )
    executable = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen(
        [executable, "-c", str(configuration), "-p", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    eventually((tmp_path / "nginx.pid").exists, "nginx has started")
    yield port
    process.terminate()
    process.wait(DEADLINE)


@pytest.fixture
def instances(start_server: StartServer) -> list[Server]:
    return [start_server(environ={"DRAIN_MS": "500"}) for _ in range(2)]


def test_a_rolling_restart_under_load_loses_nothing(
    instances: list[Server],
    start_server: StartServer,
    proxy_port: int,
    redis_server: RedisServer,
    prefix: str,
) -> None:
    channels = [new_channel() for _ in range(CHANNELS)]
    tabs = [Tab(proxy_port, channels[number % CHANNELS]) for number in range(TABS)]
    truth: dict[str, list[str]] = {channel: [] for channel in channels}

    def replace(instance: Server) -> None:
        assert instance.terminate() == 0
        start_server(port=instance.port, environ={"DRAIN_MS": "500"})

    async def scenario() -> None:
        all_open = asyncio.Event()
        open_count = 0

        def opened() -> None:
            nonlocal open_count
            open_count += 1
            if open_count >= TABS:
                all_open.set()

        running = [asyncio.create_task(tab.run(opened)) for tab in tabs]
        await asyncio.wait_for(all_open.wait(), DEADLINE)
        done = asyncio.Event()
        producer = asyncio.create_task(
            produce(redis_server.port, prefix, truth, first_round_done := asyncio.Event(), done)
        )
        await asyncio.wait_for(first_round_done.wait(), DEADLINE)
        for instance in instances:
            await asyncio.to_thread(replace, instance)
        done.set()
        await producer
        complete = [asyncio.create_task(_complete(tab, truth)) for tab in tabs]
        await asyncio.wait(complete, timeout=DEADLINE)
        for task in (*running, *complete):
            task.cancel()
        await asyncio.gather(*running, *complete, return_exceptions=True)

    asyncio.run(scenario())
    wrong = [tab for tab in tabs if tab.jobs != truth[tab.channel]]
    assert not wrong, f"{len(wrong)} tabs differ, the first has {wrong[0].jobs}"
    assert sum(tab.returns for tab in tabs) >= TABS  # each instance dropped its half, at least
    # A page that gets some of them gives up.
    assert sum(tab.bad_gateways for tab in tabs) == 0


async def _complete(tab: Tab, truth: dict[str, list[str]]) -> None:
    while len(tab.jobs) < len(truth[tab.channel]):
        await asyncio.sleep(0.05)


async def produce(
    port: int,
    prefix: str,
    truth: dict[str, list[str]],
    first_round_done: asyncio.Event,
    done: asyncio.Event,
) -> None:
    """Events for all channels, round after round, as Superset writes them."""
    client = redis.asyncio.Redis(port=port)
    number = 0
    while not done.is_set() or number < 3:
        for channel, jobs in truth.items():
            data = json.dumps(event(channel, job_id=str(number)))
            for xadd in xadds(prefix, channel, data):
                await client.xadd(*xadd)
            jobs.append(str(number))
        number += 1
        first_round_done.set()
        await asyncio.sleep(0.1)
    await client.connection_pool.disconnect()
