# SPDX-License-Identifier: Apache-2.0
"""A client that sends more than is permitted is closed with 1008, and harms nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.servers import RedisServer, Server, eventually
from testbed.wire import BINARY, CONTINUATION, PING, PONG, TEXT, frame, request, websocket, wire

FRAMES, BYTES = 20, 40_000  # per second


@pytest.fixture(scope="module")
def port(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one server for all."""
    environ = {
        "MAX_FRAMES_PER_SECOND": str(FRAMES),
        "MAX_BYTES_PER_SECOND": str(BYTES),
        "CLOSE_TIMEOUT_MS": "500",
    }
    server = Server(tmp_path_factory.mktemp("server"), redis_server.port, environ=environ)
    yield server.port
    server.stop()


def test_a_flood_of_pings_is_closed_after_those_permitted(port: int) -> None:
    with websocket(port) as client:
        client.send(frame(PING, b"x") * (FRAMES * 10))
        for _ in range(FRAMES):
            assert client.receive() == (PONG, b"x")
        assert client.close_code() == 1008


# Too much for one second, even if the server takes it in two windows of a second.
ENOUGH = 3 * FRAMES

FLOODS = {
    "pongs": frame(PONG) * ENOUGH,
    "empty messages": frame(TEXT) * ENOUGH,
    "empty fragments": frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * ENOUGH,
    "bytes in few messages": frame(BINARY, bytes(4000)) * (3 * BYTES // 4000),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_closed_with_1008(port: int, flood: bytes) -> None:
    with websocket(port) as client:
        client.send(flood)
        assert client.close_code() == 1008


def test_a_flood_that_comes_with_the_handshake_is_closed_with_1008(port: int) -> None:
    with wire(port) as client:
        client.send(request() + frame(PONG) * ENOUGH)
        assert client.response().status == 101
        assert client.close_code() == 1008


def test_a_flooding_client_that_stays_is_cut(port: int) -> None:
    with websocket(port) as client:
        client.send(frame(PONG) * ENOUGH)
        assert client.close_code() == 1008
        eventually(client.is_cut, "the server's side of TCP is gone")
