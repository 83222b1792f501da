# SPDX-License-Identifier: Apache-2.0
"""Tabs of tests, at a server that does nothing but what a test tells it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from testbed.page import Database, Opening
from testbed.realtime import Browsers
from testbed.servers import eventually


class StandIn:
    """A WebSocket server that keeps the connections it has had.

    :ivar refusing: whether it answers handshakes with 503.
    """

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.paths: list[str] = []
        self.refusing = False
        self._server: Server = serve(
            self._serve, "127.0.0.1", 0, process_request=self._admit, ping_interval=None
        )
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        if self.refusing:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
        return None

    def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed):
            connection.recv()


@pytest.fixture
def server() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def browsers() -> Iterator[Browsers]:
    with Browsers(Database()) as browsers:
        yield browsers


def test_a_tab_tells_its_name(server: StandIn, browsers: Browsers) -> None:
    browsers.open(server.url, "user:1", "a b")
    assert server.paths == ["/?tab_id=a+b"]


def test_a_tab_that_is_closed_comes_back(server: StandIn, browsers: Browsers) -> None:
    tab = browsers.open(server.url, "user:1", "1")
    server.connections[0].close(1012, "news")
    eventually(lambda: tab.page.opened_by[Opening.RECONNECT], "it is back")
    assert [close[:2] for close in tab.closes] == [(1012, "news")]


def test_a_refused_handshake_is_a_close(server: StandIn, browsers: Browsers) -> None:
    server.refusing = True
    tab = browsers.open(server.url, "user:1", "1", wait=False)
    tab.page.wait_for("a")
    eventually(lambda: tab.page.failed, "the third one makes the chart fail")
    assert tab.refusals == [503, 503, 503]
    assert tab.closes == []


def test_a_renewed_socket_is_no_close_to_the_page(server: StandIn, browsers: Browsers) -> None:
    tab = browsers.open(server.url, "user:1", "1", keepalive=0.2)
    eventually(lambda: tab.page.opened_by[Opening.KEEPALIVE] > 1, "it has renewed its socket")
    eventually(lambda: server.connections[0].close_code == 1000, "the old one is closed")
    assert (tab.page.closes, tab.closes) == (0, [])


def test_what_comes_on_the_old_socket_is_not_looked_at(server: StandIn, browsers: Browsers) -> None:
    tab = browsers.open(server.url, "user:1", "1", keepalive=0.2)
    eventually(lambda: len(server.connections) > 1, "it has renewed its socket")
    server.connections[-1].send("new")
    eventually(lambda: "new" in tab.page.messages, "the new one is read")
    with pytest.raises(ConnectionClosed):
        server.connections[0].send("old")
