# SPDX-License-Identifier: Apache-2.0
"""Events that are heavy for the limits of Redis, and for the memory that is meant for them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel

StartServer = Callable[..., Server]
LIMIT = 4 * 2**20
BY_MEMORY = ("--maxmemory-clients", str(LIMIT))
BY_BUFFER = ("--client-output-buffer-limit", "normal", str(LIMIT), str(LIMIT), "0")


@pytest.fixture(params=[BY_BUFFER, BY_MEMORY], ids=["output buffer", "clients' memory"])
def strict_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that closes connections which have more to read than it likes."""
    server = RedisServer(tmp_path, *request.param)
    if request.param == BY_MEMORY and not server.client.config_get("maxmemory-clients"):
        pytest.skip("this Redis is older than the setting")  # pragma: no cover
    yield server
    server.close()


def write(server: RedisServer, prefix: str, channel: str, first: int, end: int, size: int) -> None:
    client: Any = server.client
    for number in range(first, end):
        data = {"data": json.dumps(event(channel, job_id=str(number), errors=["x" * size]))}
        client.xadd(prefix + channel, data, maxlen=1000, approximate=True)
        client.xadd(prefix + "full", data)


def open_tab(server: Server, channel: str) -> ClientConnection:
    headers = {"Cookie": cookie(channel)}
    return connect(server.url(), additional_headers=headers, max_queue=None, max_size=None)


def next_jobs(client: ClientConnection, count: int) -> list[int]:
    return [int(json.loads(client.recv(timeout=DEADLINE))["job_id"]) for _ in range(count)]


@pytest.mark.parametrize("size", [10_000, 60_000])
def test_a_redis_with_small_buffers_is_read_all_the_same(
    size: int, start_server: StartServer, strict_redis: RedisServer, prefix: str
) -> None:
    channel, other = new_channel(), new_channel()
    write(strict_redis, prefix, other, 0, 600, size)
    server = start_server(
        redis_port=strict_redis.port, environ={"MAX_SOCKET_BUFFER_BYTES": "100000000"}
    )
    (worker,) = server.pids()
    with open_tab(server, channel) as client:
        write(strict_redis, prefix, channel, 0, 1, 10)
        assert next_jobs(client, 1) == [0]
        os.kill(worker, signal.SIGSTOP)  # so that there is a backlog
        write(strict_redis, prefix, channel, 1, 300, size)
        os.kill(worker, signal.SIGCONT)
        assert next_jobs(client, 299) == list(range(1, 300))


def test_light_events_before_heavy_ones_are_no_trap(
    start_server: StartServer, strict_redis: RedisServer, prefix: str
) -> None:
    channel, other = new_channel(), new_channel()
    write(strict_redis, prefix, other, 0, 2000, 10)
    server = start_server(
        redis_port=strict_redis.port, environ={"MAX_SOCKET_BUFFER_BYTES": "100000000"}
    )
    (worker,) = server.pids()
    with open_tab(server, channel) as client:
        os.kill(worker, signal.SIGSTOP)
        write(strict_redis, prefix, channel, 0, 300, 60_000)
        os.kill(worker, signal.SIGCONT)
        assert next_jobs(client, 300) == list(range(300))


def test_a_connection_closed_in_place_of_a_reply_is_told_and_less_is_asked_for(
    start_server: StartServer, strict_redis: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    write(strict_redis, prefix, channel, 0, 300, 60_000)
    write(strict_redis, prefix, channel, 300, 301, 10)  # the newest one tells nothing
    server = start_server(redis_port=strict_redis.port)
    with open_tab(server, channel) as client:
        write(strict_redis, prefix, channel, 301, 302, 10)
        while next_jobs(client, 1) != [301]:
            pass
    assert "client-output-buffer-limit" in server.log_text()


def test_what_is_read_at_the_start_has_a_bound_in_bytes(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    pipe = redis_server.client.pipeline(transaction=False)
    data: dict[Any, Any] = {"data": json.dumps(event(new_channel(), errors=["x" * 60_000]))}
    for _ in range(4000):  # 240 MB
        pipe.xadd(prefix + "full", data)
    pipe.execute()
    try:
        server = start_server()
        peak = max(_peak_bytes(pid) for pid in server.pids())
        idle = max(_peak_bytes(pid) for pid in start_server(prefix=prefix + "-").pids())
        # 32 MiB of history, and a little for the pages on their way.
        assert peak - idle < 80 * 2**20
    finally:
        redis_server.client.delete(prefix + "full")


def _peak_bytes(pid: int) -> int:
    eventually(lambda: psutil.pid_exists(pid), "the worker lives")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024
