# SPDX-License-Identifier: Apache-2.0
"""A user of Redis who may not use the channel: the transport is off until he may, and told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from testbed.http_client import ask
from testbed.realtime import Superset7
from testbed.servers import RedisServer, Server, eventually
from testbed.tcp_proxy import TcpProxy
from tests.behaviour.realtime.scene import await_log, handshake_status, received, socket
from wsgi_ws.sources.link import FORBIDDEN_DELAY

OFF = "the transport realtime is switched off"
USER = {"REDIS_USERNAME": "ours", "REDIS_PASSWORD": "word"}


@pytest.fixture
def own_proxy(own_redis: RedisServer) -> Iterator[TcpProxy]:
    """The network between the server and a Redis whose user may follow streams only."""
    streams = ("+xread", "+xrange", "+xrevrange", "+time")
    own_redis.client.execute_command("ACL", "SETUSER", "ours", "on", ">word", "~*", *streams)
    proxy = TcpProxy(own_redis.port)
    yield proxy
    proxy.close()


@pytest.fixture
def server(start_realtime: Callable[..., Server], own_proxy: TcpProxy) -> Server:
    return start_realtime(redis_port=own_proxy.port, environ=USER)


def permit(own_redis: RedisServer, prefix: str) -> None:
    rules = ("+subscribe", "+ping", f"&{prefix}realtime")
    own_redis.client.execute_command("ACL", "SETUSER", "ours", *rules)


def is_ready(server: Server) -> bool:
    return ask(server, path="/ready")[0] == 200


def test_the_server_notices_by_itself_that_it_may(
    server: Server, own_redis: RedisServer, prefix: str
) -> None:
    assert is_ready(server)
    assert handshake_status(server) == 503
    permit(own_redis, prefix)
    eventually(lambda: handshake_status(server) == 101, "pages are admitted")
    superset = Superset7(own_redis.port, prefix)
    with socket(server, "user:1", "1") as client:
        superset.publish("task.status", "tab", 1, ["user:1:1"])
        (texts,) = received(superset, client)
    assert texts == ['{"topic":"task.status","payload":1}']
    superset.close()


def test_the_line_about_it_says_what_to_do(server: Server, prefix: str) -> None:
    (line,) = [line for line in server.log_text().splitlines() if OFF in line]
    assert f"ACL SETUSER ours &{prefix}realtime +subscribe +ping" in line
    assert "tried again every 10 s" in line


def test_an_outage_says_nothing_about_what_is_permitted(
    server: Server, own_proxy: TcpProxy
) -> None:
    own_proxy.cut()
    await_log(server, "Redis can't be read for streams")
    time.sleep(FORBIDDEN_DELAY + 1)  # until it has been tried in vain
    assert handshake_status(server) == 503
    own_proxy.restore()
    await_log(server, "following stream", 2)
    assert is_ready(server)
    assert "be read for realtime" not in server.log_text()
