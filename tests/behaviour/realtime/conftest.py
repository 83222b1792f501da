# SPDX-License-Identifier: Apache-2.0
"""Servers whose realtime channel is the test's own, with Superset 7 and browsers around them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.realtime import Browsers, Superset7
from testbed.servers import RedisServer, Server
from testbed.tcp_proxy import TcpProxy
from tests.behaviour.realtime.scene import Scene, StartScene


@pytest.fixture
def own_redis(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A redis-server that the test may hurt."""
    return start_redis()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """The network between the server and Redis."""
    proxy = TcpProxy(redis_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def start_realtime(start_server: Callable[..., Server], prefix: str) -> Callable[..., Server]:
    """Start servers, with the test's prefix for both transports."""

    def start(**options: Any) -> Server:
        environ = {"REALTIME_CHANNEL_PREFIX": prefix} | options.pop("environ", {})
        return start_server(environ=environ, **options)

    return start


@pytest.fixture
def superset(redis_server: RedisServer, prefix: str) -> Iterator[Superset7]:
    """At the session's Redis."""
    superset = Superset7(redis_server.port, prefix)
    yield superset
    superset.close()


@pytest.fixture
def start_scene(
    start_realtime: Callable[..., Server], redis_server: RedisServer, prefix: str
) -> Iterator[StartScene]:
    """Start a server with these options; Superset publishes at the session's Redis, or at the port
    that is told."""
    with contextlib.ExitStack() as stack:

        def start(
            *, publish_at: int = redis_server.port, tabs: bool = True, **options: Any
        ) -> Scene:
            superset = Superset7(publish_at, prefix)
            stack.callback(superset.close)
            server = start_realtime(**options)
            browsers = stack.enter_context(Browsers(superset.database))
            scene = Scene(superset, server, browsers)
            if tabs:
                scene.open_tabs()
            return scene

        yield start
