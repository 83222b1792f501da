# SPDX-License-Identifier: Apache-2.0
"""Messages may have been missed: no browser is left without a close that it takes for one.

A page that renews its socket closes it and asks for nothing. Here that happens when it matters, and
what a browser sends is written by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from testbed.realtime import Superset7, cookie
from testbed.servers import Server
from testbed.tcp_proxy import TcpProxy
from testbed.wire import CLOSE, TEXT, Wire, close_frame, request, wire
from tests.behaviour.realtime.scene import RESYNC, await_log, received, witnesses
from wsgi_ws.sources.realtime.owed import RETURN_MIN
from wsgi_ws.sources.realtime.source import EVERYBODYS_REACH
from wsgi_ws.superset.names import BROADCAST

StartServer = Callable[..., Server]
RENEWAL, NO_CODE = 1000, None  # with which a page closes its socket


@contextmanager
def tab(port: int, tab_id: str | None = "1") -> Iterator[Wire]:
    """A socket of user:1."""
    with wire(port) as client:
        client.send(request(path=f"/?tab_id={tab_id or ''}", Cookie=cookie("user:1")))
        assert client.response().status == 101
        yield client


def await_close(client: Wire) -> int:
    """Read up to a close frame, which is not answered; its code."""
    while True:
        opcode, payload = client.receive()
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big")


def lose_redis(server: Server, proxy: TcpProxy) -> None:
    proxy.cut()
    await_log(server, "Redis can't be read for realtime")


def find_it_again(server: Server, proxy: TcpProxy) -> None:
    """Until a new subscription, and until browsers that were told by it are back."""
    proxy.restore()
    await_log(server, "subscribed to channel", 2)
    time.sleep(RETURN_MIN + 0.1)


@pytest.fixture
def server(start_realtime: StartServer, proxy: TcpProxy) -> Server:
    """With a network to Redis that can be cut."""
    return start_realtime(redis_port=proxy.port)


@pytest.mark.parametrize("code", [RENEWAL, NO_CODE])
def test_a_page_that_closes_its_socket_before_our_close_has_reached_it_is_told(
    server: Server, proxy: TcpProxy, code: int | None
) -> None:
    with tab(server.port) as client:
        lose_redis(server, proxy)
        find_it_again(server, proxy)
        assert await_close(client) == RESYNC
        client.send(close_frame(code))
    with tab(server.port) as renewed:
        assert await_close(renewed) == RESYNC


def test_a_page_that_has_answered_our_close_is_not_closed_again(
    server: Server, proxy: TcpProxy
) -> None:
    with tab(server.port) as client:
        lose_redis(server, proxy)
        find_it_again(server, proxy)
        assert await_close(client) == RESYNC
        client.send(close_frame(RESYNC))
        client.expect_end()
    with tab(server.port) as back:
        time.sleep(1.0)
        back.ping()


@pytest.mark.parametrize(
    ("tab_id", "memory"), [("1", "30000"), ("1", "0"), (None, "30000")], ids=str
)
def test_a_page_that_was_between_two_sockets_for_a_while_is_told(
    start_realtime: StartServer, proxy: TcpProxy, tab_id: str | None, memory: str
) -> None:
    server = start_realtime(redis_port=proxy.port, environ={"REALTIME_MEMORY_MS": memory})
    with tab(server.port, tab_id) as client:
        lose_redis(server, proxy)
        client.send(close_frame(RENEWAL))
        await_close(client)
    find_it_again(server, proxy)
    with tab(server.port, tab_id) as renewed:
        assert await_close(renewed) == RESYNC


def test_another_device_with_its_tab_id_does_not_take_a_pages_close_away(
    server: Server, proxy: TcpProxy
) -> None:
    with tab(server.port) as client:
        lose_redis(server, proxy)
        client.send(close_frame(RENEWAL))
        await_close(client)
    find_it_again(server, proxy)
    with tab(server.port) as other, tab(server.port) as renewed:
        assert (await_close(other), await_close(renewed)) == (RESYNC, RESYNC)


def test_a_page_is_told_although_another_device_with_its_tab_id_has_been(
    server: Server, proxy: TcpProxy
) -> None:
    with tab(server.port) as client, tab(server.port) as other:
        lose_redis(server, proxy)
        client.send(close_frame(RENEWAL))
        await_close(client)
        find_it_again(server, proxy)
        assert await_close(other) == RESYNC
        other.send(close_frame(RESYNC))
        other.expect_end()
    with tab(server.port) as renewed:
        assert await_close(renewed) == RESYNC


@pytest.fixture
def path(server: Server) -> Iterator[TcpProxy]:
    """From a browser to the server: one that can die without a word."""
    path = TcpProxy(server.port)
    yield path
    path.close()


def test_a_page_gets_what_was_sent_into_its_dead_socket(
    server: Server, superset: Superset7, path: TcpProxy
) -> None:
    with tab(path.port), witnesses(server) as clients:
        path.freeze()
        superset.publish("entity.changed", BROADCAST, {"entity_type": "task", "id": 7})
        received(superset, *clients)
        time.sleep(EVERYBODYS_REACH + 0.5)
        with tab(server.port) as renewed:
            opcode, text = renewed.receive()
            assert (opcode, b'"id": 7' in text) == (TEXT, True)


def test_a_page_whose_dead_socket_is_being_closed_is_told(
    server: Server, proxy: TcpProxy, path: TcpProxy
) -> None:
    with tab(path.port):
        path.freeze()
        lose_redis(server, proxy)
        find_it_again(server, proxy)
        with tab(server.port) as renewed:
            assert await_close(renewed) == RESYNC
