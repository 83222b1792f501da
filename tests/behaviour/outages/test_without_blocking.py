# SPDX-License-Identifier: Apache-2.0
"""A service that speaks Redis's protocol, but answers a blocking read at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from testbed.tcp_proxy import TcpProxy

StartServer = Callable[..., Server]
_BLOCK = re.compile(rb"\$5\r\nBLOCK\r\n\$\d+\r\n\d+\r\n")


def without_waiting(command: bytes) -> bytes:
    """As a service without blocking reads takes it: Redis itself waits a millisecond at least."""
    return _BLOCK.sub(b"$5\r\nBLOCK\r\n$1\r\n1\r\n", command)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """Such a service."""
    proxy = TcpProxy(redis_server.port, rewrite=without_waiting)
    yield proxy
    proxy.close()


def commands(redis_server: RedisServer) -> int:
    info: Any = redis_server.client.info("stats")
    return int(info["total_commands_processed"])


def test_it_is_asked_now_and_then_and_the_log_says_so_once(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    server = start_server(redis_port=proxy.port)
    publish(redis_server.client, prefix, new_channel())
    eventually(lambda: "does not wait" in server.log_text(), "it is told")
    worker = psutil.Process(server.pids()[0])
    before, begin = commands(redis_server), time.monotonic()
    cpu = sum(worker.cpu_times()[:2])
    while time.monotonic() - begin < 3:
        time.sleep(0.1)
    seconds = time.monotonic() - begin
    # Ten reads a second are meant.
    assert (commands(redis_server) - before) / seconds < 30
    assert (sum(worker.cpu_times()[:2]) - cpu) / seconds < 0.2
    assert server.log_text().count("does not wait") == 1


def test_its_events_arrive(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    server = start_server(redis_port=proxy.port)
    channel = new_channel()
    with connect(server.url(), additional_headers={"Cookie": cookie(channel)}) as client:
        for number in range(20):
            publish(redis_server.client, prefix, channel, job_id=str(number))
            time.sleep(number / 100)
        received = [json.loads(client.recv(timeout=DEADLINE))["job_id"] for _ in range(20)]
        assert received == [str(number) for number in range(20)]


def test_a_redis_that_waits_is_not_said_to_do_otherwise(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(environ={"REDIS_STREAM_READ_BLOCK_MS": "10"})
    publish(redis_server.client, prefix, new_channel())
    before = commands(redis_server)
    eventually(lambda: commands(redis_server) > before + 100, "it is asked again and again")
    assert "does not wait" not in server.log_text()
