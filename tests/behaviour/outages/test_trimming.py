# SPDX-License-Identifier: Apache-2.0
"""The global stream is trimmed faster than a worker reads: what it has not seen is not lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS

StartServer = Callable[..., Server]
TRIMMED = "begins after the last ID read"


def open_tab(server: Server, channel: str) -> ClientConnection:
    return connect(server.url(), additional_headers={"Cookie": cookie(channel)}, max_queue=None)


def next_jobs(client: ClientConnection, count: int) -> list[int]:
    return [int(json.loads(client.recv(timeout=DEADLINE))["job_id"]) for _ in range(count)]


class Producer:
    """Writes numbered events as Superset does, with a limit of the global stream."""

    def __init__(self, server: RedisServer, prefix: str, *, limit: int, exact: bool) -> None:
        self._client: Any = server.client
        self._prefix = prefix
        self._trim: dict[str, Any] = {"maxlen": limit, "approximate": not exact}
        self._next = 0

    def write(self, channel: str, count: int) -> None:
        pipe = self._client.pipeline(transaction=False)
        for _ in range(count):
            data = {"data": json.dumps(event(channel, job_id=str(self._next)))}
            pipe.xadd(self._prefix + channel, data)
            pipe.xadd(self._prefix + "full", data, **self._trim)
            self._next += 1
        pipe.execute()

    def wait_for_the_grace(self) -> None:
        """Until nothing that was written may still be in flight."""
        ((newest, _),) = self._client.xrevrange(self._prefix + "full", count=1)
        written = int(newest.split(b"-")[0])

        def is_over() -> bool:
            seconds, microseconds = self._client.time()
            return bool(seconds * 1000 + microseconds // 1000 - written > TWIN_GRACE_MS)

        eventually(is_over, "the grace is over")


@pytest.mark.parametrize("before", [1, 1000])
@pytest.mark.parametrize(("limit", "exact"), [(5, True), (60, False), (200, False), (500, True)])
def test_what_was_trimmed_while_a_worker_stood_still_comes_from_the_channel_s_stream(
    before: int,
    limit: int,
    exact: bool,
    start_server: StartServer,
    redis_server: RedisServer,
    prefix: str,
) -> None:
    server = start_server()
    (worker,) = server.pids()
    producer = Producer(redis_server, prefix, limit=limit, exact=exact)
    channel, other = new_channel(), new_channel()
    with open_tab(server, channel) as client:
        producer.write(other, before - 1)
        producer.write(channel, 1)
        assert next_jobs(client, 1) == [before - 1]
        os.kill(worker, signal.SIGSTOP)
        producer.write(channel, 1010)
        producer.wait_for_the_grace()
        os.kill(worker, signal.SIGCONT)
        # What it has already may come again: the trimmed twin looks like one that never was.
        seen = {before - 1: None}
        while len(seen) < 1 + 1010:
            seen.update(dict.fromkeys(next_jobs(client, 1)))
        assert list(seen) == list(range(before - 1, before + 1010))
        producer.write(channel, 1)
        while (job := next_jobs(client, 1)[0]) != before + 1010:
            assert job in seen
    assert TRIMMED in server.log_text()


def test_a_worker_that_keeps_up_sees_no_gap(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server()
    producer = Producer(redis_server, prefix, limit=200, exact=True)
    channel = new_channel()
    with open_tab(server, channel) as client:
        for number in range(100):
            producer.write(channel, 10)
            assert next_jobs(client, 10) == list(range(10 * number, 10 * number + 10))
    assert TRIMMED not in server.log_text()
