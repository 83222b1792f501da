# SPDX-License-Identifier: Apache-2.0
"""Clients that don't read, replies that are none, descriptors that run out: pages are told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from websockets.exceptions import WebSocketException

from testbed.realtime import Superset7, cookie
from testbed.servers import RedisServer, Server, eventually
from testbed.tcp_proxy import TcpProxy
from testbed.wire import request, wire
from tests.behaviour.realtime.scene import (
    RESYNC,
    StartScene,
    await_log,
    close_of,
    received,
    socket,
)

StartServer = Callable[..., Server]
DOWN = "Redis can't be read for realtime"


def test_a_client_that_does_not_read_is_cut_and_others_are_not(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"MAX_SOCKET_BUFFER_BYTES": "1000000"})
    with wire(server.port) as lazy, socket(server, "user:1", "2") as other:
        lazy.send(request(path="/?tab_id=1", Cookie=cookie("user:1")))
        assert lazy.response().status == 101
        for _ in range(30):  # more than the kernels take
            superset.publish("x", "tab", "y" * 500_000, ["user:1:1"])
        eventually(lazy.is_cut, "who doesn't read is cut")
        assert received(superset, other) == [[]]
    assert "it left more than maxSocketBufferBytes (1000000) unread" in server.log_text()


def test_a_page_that_was_cut_gets_what_it_has_missed(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"MAX_SOCKET_BUFFER_BYTES": "1000000"})
    with wire(server.port) as lazy:
        lazy.send(request(path="/?tab_id=1", Cookie=cookie("user:1")))
        assert lazy.response().status == 101
        for _ in range(30):
            superset.publish("x", "tab", "y" * 500_000, ["user:1:1"])
        superset.publish("task.status", "tab", {"task_id": "a"}, ["user:1:1"])
        eventually(lazy.is_cut, "who doesn't read is cut")
    with socket(server, "user:1", "1") as client:
        (texts,) = received(superset, client)
    assert texts == ['{"topic":"task.status","payload":{"task_id": "a"}}']


GARBAGE = {
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a number": b":1\r\n",
    "a text": b"+OK\r\n",
    "a message of two parts": b"*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
    "a message that is a number": b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n:1\r\n",
    "an unsubscription": b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_garbled_reply_is_an_outage_like_others(
    start_realtime: StartServer, superset: Superset7, proxy: TcpProxy, garbage: bytes
) -> None:
    server = start_realtime(redis_port=proxy.port, environ={"TRANSPORTS": "realtime"})
    workers = server.pids()
    with socket(server, "user:1", "1") as client:
        proxy.inject(garbage)
        assert close_of(client)[0] == RESYNC
        time.sleep(1.0)  # no browser is back sooner
        with socket(server, "user:1", "1") as again:
            superset.publish("x", "tab", 1, ["user:1:1"])
            assert received(superset, again) == [['{"topic":"x","payload":1}']]
    assert DOWN in server.log_text()
    assert server.pids() == workers
    assert "Traceback" not in server.log_text()


def test_with_as_many_pages_as_there_is_room_for_redis_still_comes_back(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, max_files=100)
    server = scene.server
    with contextlib.ExitStack() as stack:

        def is_full() -> bool:
            # The client library asserts that a handshake's connection isn't closed in its midst.
            try:
                while True:
                    stack.enter_context(socket(server, "user:9"))
            except (WebSocketException, OSError, EOFError, AssertionError):
                return True

        is_full()
        own_redis.stop()
        await_log(server, DOWN)
        is_full()
        own_redis.start()
        eventually(lambda: all(tab.closes for tab in scene.tabs), "every page is told")
        assert scene.codes() == {RESYNC}
    eventually(scene.all_open, "every page is back")
