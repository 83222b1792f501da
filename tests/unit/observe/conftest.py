# SPDX-License-Identifier: Apache-2.0
"""A StatsD server's socket on loopback, and clients that send to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wsgi_ws.config.keys import StatsdSettings
from wsgi_ws.observe.statsd import StatsdClient


class Listener:
    """A StatsD server's socket. On loopback what has been sent is there at once."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def packets(self) -> list[str]:
        """All that has arrived since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


MakeClient = Callable[..., StatsdClient]


@pytest.fixture
def make_client(listener: Listener) -> Iterator[MakeClient]:
    """Clients of the listener with the options given; closed after the test."""
    made: list[StatsdClient] = []

    def make(extra_tags: list[str] | None = None, **options: Any) -> StatsdClient:
        settings = StatsdSettings(**{"port": listener.port} | options)
        made.append(StatsdClient(settings, extra_tags or []))
        if not settings.mock:
            made[-1].look_up()
        return made[-1]

    yield make
    for client in made:
        client.close()
