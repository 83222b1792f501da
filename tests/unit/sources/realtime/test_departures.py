# SPDX-License-Identifier: Apache-2.0
"""Until when a tab has certainly got everything."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.hub import Hub
from wsgi_ws.sources.realtime import departures as module
from wsgi_ws.sources.realtime.departures import Departures
from wsgi_ws.websocket.connection import Connection

TAB = "user:1:3"


class World:
    """A hub, and a clock that tests set."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.now = 1000.0
        self.departures = Departures(self.hub, 30.0)

    def connect(self, *topics: str, heard_at: float) -> Connection:
        socket: Any = Socket("user:1")
        socket.taken_until = heard_at
        connection = cast(Connection, socket)
        self.hub.add(connection)
        for topic in ("user:1", *topics):
            self.hub.subscribe(connection, topic)
        return connection

    def heard_at(self) -> float | None:
        departure = self.departures.take(TAB)
        return departure.heard_at if departure else None

    def leave(self, connection: Connection, now: float) -> None:
        self.now = now
        self.departures.note(connection, is_told=True, is_owed=False)
        self.hub.remove(connection)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return world.now

    monkeypatch.setattr(module, "time", Clock)
    assert time.monotonic()
    return world


def test_nothing_is_known_of_a_tab_that_was_not_here(world: World) -> None:
    world.connect("user:1:4", heard_at=990.0)
    assert world.heard_at() is None


def test_a_tab_that_has_left_has_what_was_sent_before_its_last_proof(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    assert world.heard_at() == 990.0


def test_the_open_socket_of_another_browser_says_nothing(world: World) -> None:
    world.connect(TAB, heard_at=985.0)
    assert world.heard_at() is None


def test_a_tab_that_has_come_back_begins_anew(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.heard_at()
    assert world.heard_at() is None


def test_of_two_browsers_with_one_tab_id_the_one_counts_that_has_got_the_least(
    world: World,
) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.leave(world.connect(TAB, heard_at=995.0), 1001.0)
    assert world.heard_at() == 990.0


def test_a_departure_is_forgotten(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.now = 1030.1
    assert world.heard_at() is None


def test_the_principals_own_topic_tells_nothing_of_a_tab(world: World) -> None:
    world.leave(world.connect(heard_at=990.0), 1000.0)
    assert world.departures.take("user:1") is None
