# SPDX-License-Identifier: Apache-2.0
"""What reconnections to Redis cost: no place in a pool, and no reading of what is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel, publish
from wsgi_ws.sources.link import RETRY_DELAY_MAX, TOLD_IN_FULL

StartServer = Callable[..., Server]
KILLS = 130  # redis-py's pools have 100 places
EAGER = Path(__file__).with_name("eager_conf.py")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server whose clients the test may kill."""
    server = RedisServer(tmp_path)
    yield server
    server.close()


def open_tab(server: Server, channel: str) -> ClientConnection:
    return connect(server.url(), additional_headers={"Cookie": cookie(channel)}, max_queue=None)


def readers(client: redis.Redis) -> list[str]:
    """Connections that wait in XREAD."""
    return [each["id"] for each in client.client_list() if each["cmd"] == "xread"]


def ranges_read(client: redis.Redis) -> int:
    """How many times parts of streams were asked for."""
    statistics: Any = client.info("commandstats")
    commands = ("cmdstat_xrange", "cmdstat_xrevrange")
    return sum(statistics.get(command, {"calls": 0})["calls"] for command in commands)


def is_gone(client: redis.Redis, reader: str) -> bool:
    return reader not in readers(client)


def kill_reader(server: RedisServer) -> None:
    """End the connection on which the stream is followed, as soon as there is one."""
    (reader,) = eventually(lambda: readers(server.client), "the stream is followed")
    server.client.client_kill_filter(_id=reader)
    eventually(partial(is_gone, server.client, reader), "the connection is gone")


@pytest.mark.timeout(300)
def test_after_130_lost_connections_events_still_come(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port, arguments=["-c", str(EAGER)])
    channel = new_channel()
    with open_tab(server, channel) as client:
        for _ in range(KILLS):
            kill_reader(own_redis)
        publish(own_redis.client, prefix, channel, job_id="after all that")
        assert json.loads(client.recv(timeout=DEADLINE))["job_id"] == "after all that"
    assert "Too many connections" not in server.log_text()


def is_read_twice(client: redis.Redis) -> bool:
    """Whether the stream is followed and the channel subscribed to."""
    return bool(readers(client) and client.pubsub_channels())


@pytest.mark.timeout(300)
def test_lost_connections_leave_no_memory_behind(
    start_server: StartServer, own_redis: RedisServer
) -> None:
    server = start_server(redis_port=own_redis.port, arguments=["-c", str(EAGER)])
    (worker,) = (psutil.Process(pid) for pid in server.pids())

    def lose(times: int) -> float:
        """MiB that the worker alone has afterwards."""
        for _ in range(times):
            eventually(partial(is_read_twice, own_redis.client), "both are read")
            for kind in ("normal", "pubsub"):
                command = ("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                own_redis.client.execute_command(*command)
        return float(worker.memory_full_info().uss) / 2**20

    begin = lose(30)
    assert lose(80) - begin < 3.5  # it was 5


def test_connections_that_are_lost_in_a_row_cost_no_event_few_lines_and_ever_fewer_attempts(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        for number in range(8):
            kill_reader(own_redis)
            publish(own_redis.client, prefix, channel, job_id=f"{number}")
        lost_at = time.monotonic()
        jobs = [json.loads(client.recv(timeout=DEADLINE))["job_id"] for _ in range(8)]
        assert time.monotonic() - lost_at > RETRY_DELAY_MAX / 4  # it was 0.1 s at first
    assert jobs == [f"{number}" for number in range(8)]
    log = server.log_text()
    assert log.count("Redis can't be read for streams") == TOLD_IN_FULL + 1
    assert log.count("following stream") == TOLD_IN_FULL


def test_after_a_lost_connection_the_last_minute_is_not_read_again(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel, other = new_channel(), new_channel()
    with open_tab(server, channel) as client:
        pipe = own_redis.client.pipeline(transaction=False)
        for _ in range(20_000):
            pipe.xadd(prefix + "full", {"data": json.dumps(event(other))})
        pipe.execute()
        publish(own_redis.client, prefix, channel, job_id="before")
        assert json.loads(client.recv(timeout=DEADLINE))["job_id"] == "before"
        own_redis.client.config_resetstat()
        (reader,) = eventually(lambda: readers(own_redis.client), "the stream is followed")
        own_redis.client.client_kill_filter(_id=reader)
        publish(own_redis.client, prefix, channel, job_id="after")
        assert json.loads(client.recv(timeout=DEADLINE))["job_id"] == "after"
    assert ranges_read(own_redis.client) < 10
