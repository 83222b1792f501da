# SPDX-License-Identifier: Apache-2.0
"""What reconnections to Redis cost: no place in a pool, and no reading of what is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel, publish

StartServer = Callable[..., Server]
KILLS = 130  # redis-py's pools have 100 places


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


@pytest.mark.timeout(300)
def test_after_130_lost_connections_events_still_come(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        for _ in range(KILLS):
            (reader,) = eventually(lambda: readers(own_redis.client), "the stream is followed")
            own_redis.client.client_kill_filter(_id=reader)
            eventually(partial(is_gone, own_redis.client, reader), "the connection is gone")
        publish(own_redis.client, prefix, channel, job_id="after all that")
        assert json.loads(client.recv(timeout=DEADLINE))["job_id"] == "after all that"
    assert "Too many connections" not in server.log_text()


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
