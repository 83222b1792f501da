# SPDX-License-Identifier: Apache-2.0
"""Something between the server and Redis forgets connections without a word."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from testbed.servers import RedisServer, Server, eventually
from testbed.superset import publish
from testbed.tcp_proxy import TcpProxy
from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.sources import redis_client, redis_wire
from wsgi_ws.sources.redis_client import connect, connect_outside_the_pool
from wsgi_ws.sources.redis_wire import Batches

StartServer = Callable[..., Server]
READ_TIMEOUT = 3.0
ASK = ("XRANGE", "nothing", "-", "+")


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """The network between the server and Redis."""
    proxy = TcpProxy(redis_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[redis.Redis]:
    """A client as the follower has it for what it asks beside its reads."""
    with connect(RedisSettings(port=proxy.port), read_timeout=READ_TIMEOUT) as client:
        yield client


@pytest.fixture
def batches(client: redis.Redis) -> Iterator[Batches]:
    """A client as catch-ups have it."""
    batches = Batches(client)
    yield batches
    batches.close()


def connections_received(redis_server: RedisServer) -> Any:
    statistics: Any = redis_server.client.info("stats")
    return statistics["total_connections_received"]


@pytest.mark.parametrize("in_batches", [False, True])
def test_a_connection_that_has_been_idle_is_not_trusted(
    client: redis.Redis,
    batches: Batches,
    proxy: TcpProxy,
    monkeypatch: pytest.MonkeyPatch,
    in_batches: bool,
) -> None:
    def ask() -> Any:
        return batches.ask([ASK]) if in_batches else client.execute_command(*ASK)

    ask()
    proxy.forget()
    monkeypatch.setattr(redis_wire if in_batches else redis_client, "IDLE_MAX", 0.0)
    begin = time.monotonic()
    ask()
    assert time.monotonic() - begin < READ_TIMEOUT


def test_a_connection_in_use_is_kept(client: redis.Redis, redis_server: RedisServer) -> None:
    client.execute_command(*ASK)
    before = connections_received(redis_server)
    for _ in range(10):
        client.execute_command(*ASK)
    assert connections_received(redis_server) == before


def test_after_a_time_out_no_other_connection_is_trusted(
    client: redis.Redis, proxy: TcpProxy
) -> None:
    client.execute_command(*ASK)
    with client.pipeline() as one, client.pipeline() as other:
        one.watch("x")  # from here on it has a connection of its own
        other.watch("x")
    proxy.forget()
    with pytest.raises(redis.TimeoutError):
        client.execute_command(*ASK)
    assert client.execute_command(*ASK) == []


def test_after_a_time_out_the_next_batch_has_another_connection(
    batches: Batches, proxy: TcpProxy
) -> None:
    batches.ask([ASK])
    proxy.forget()
    with pytest.raises(TimeoutError):
        batches.ask([ASK])
    assert batches.ask([ASK]) == [[]]


def test_a_connection_that_was_closed_meanwhile_costs_no_batch(
    batches: Batches, proxy: TcpProxy
) -> None:
    batches.ask([ASK])
    wire = batches._wire
    proxy.cut()
    proxy.restore()
    eventually(lambda: wire is not None and not wire.is_silent, "its end has come")
    assert batches.ask([ASK]) == [[]]


def test_the_kernel_looks_after_connections_to_redis(client: redis.Redis) -> None:
    connection, sock = connect_outside_the_pool(client)
    try:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        # Before any balancer forgets it.
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 120
    finally:
        connection.disconnect()


def test_a_dead_path_costs_the_follower_one_time_out(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    publish(redis_server.client, prefix, "c")
    server = start_server(redis_port=proxy.port, environ={"REDIS_STREAM_READ_BLOCK_MS": "200"})
    time.sleep(1)  # some reads bring nothing, so that the other connection is used as well
    proxy.forget()
    eventually(lambda: "Redis can't be read" in server.log_text(), "it is noticed")
    begin = time.monotonic()
    eventually(lambda: server.log_text().count("following stream") == 2, "it goes on")
    assert time.monotonic() - begin < 4  # another time-out would be 5.2 s
