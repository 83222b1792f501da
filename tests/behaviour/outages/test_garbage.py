# SPDX-License-Identifier: Apache-2.0
"""Redis's replies are garbled on their way, or something else answers in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from testbed.tcp_proxy import TcpProxy

StartServer = Callable[..., Server]
DOWN = "Redis can't be read for streams"
UP = "following stream"


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """The network between the server and Redis."""
    proxy = TcpProxy(redis_server.port)
    yield proxy
    proxy.close()


def open_tab(server: Server, channel: str) -> ClientConnection:
    return connect(server.url(), additional_headers={"Cookie": cookie(channel)}, max_queue=None)


def next_job(client: ClientConnection) -> str:
    return str(json.loads(client.recv(timeout=DEADLINE))["job_id"])


ENTRIES = b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n"  # of one stream, one entry
GARBAGE = {
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a text": b"+OK\r\n",
    "a number": b":1\r\n",
    "a list of numbers": b"*1\r\n:1\r\n",
    "a stream without a name": b"*1\r\n*1\r\n*0\r\n",
    "a stream that is a number": b"*1\r\n*2\r\n$1\r\nk\r\n:1\r\n",
    "an entry of one part": ENTRIES + b"*1\r\n$3\r\n1-1\r\n",
    "an entry without fields": ENTRIES + b"*2\r\n$3\r\n1-1\r\n$-1\r\n",
    "an entry with a number": ENTRIES + b"*2\r\n$3\r\n9-1\r\n*2\r\n$4\r\ndata\r\n:1\r\n",
    "an ID that is none": ENTRIES + b"*2\r\n$3\r\nabc\r\n*0\r\n",
    "an ID from before": ENTRIES + b"*2\r\n$3\r\n1-1\r\n*0\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_garbled_reply_is_an_outage_like_others(
    garbage: bytes,
    start_server: StartServer,
    redis_server: RedisServer,
    proxy: TcpProxy,
    prefix: str,
) -> None:
    server = start_server(redis_port=proxy.port)
    workers = server.pids()
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(redis_server.client, prefix, channel, job_id="before")
        assert next_job(client) == "before"
        proxy.inject(garbage)
        eventually(lambda: DOWN in server.log_text(), "the outage is told")
        publish(redis_server.client, prefix, channel, job_id="after")
        assert next_job(client) == "after"
    eventually(lambda: server.log_text().count(UP) == 2, "the stream is followed again")
    assert server.pids() == workers
    assert "Traceback" not in server.log_text()
