# SPDX-License-Identifier: Apache-2.0
"""Sockets that may have missed a message are closed, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest.mock import Mock

import gevent
import pytest

from testbed.servers import DEADLINE
from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.hub import Hub
from wsgi_ws.sources.realtime import resync as module
from wsgi_ws.sources.realtime.resync import Resync
from wsgi_ws.websocket.connection import Connection


class World:
    def __init__(self) -> None:
        self.hub, self.metrics = Hub(), Mock()
        self.resync = Resync(self.hub, self.metrics)
        self.greenlet: gevent.Greenlet[[], Any] = gevent.spawn(self.resync.run)

    def connect(self, count: int) -> list[Socket]:
        sockets = [Socket() for _ in range(count)]
        for socket in sockets:
            self.hub.add(cast(Connection, socket))
        return sockets


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.greenlet.kill()


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.005)


def test_everybody_who_is_there_is_closed(world: World) -> None:
    sockets = world.connect(50)
    assert world.resync.begin("lost") == 50
    wait_until(lambda: all(socket.closed_with == 1012 for socket in sockets))


def test_who_comes_later_is_not(world: World) -> None:
    (before,) = world.connect(1)
    world.resync.begin("lost")
    (later,) = world.connect(1)
    wait_until(lambda: before.closed_with)
    gevent.sleep(3 * module.STEP)
    assert later.closed_with is None


def test_it_is_a_few_at_a_time(world: World) -> None:
    sockets = world.connect(200)
    world.resync.begin("lost")
    gevent.sleep(0)
    closed = sum(socket.closed_with is not None for socket in sockets)
    assert closed == module.RATE * module.STEP


def test_those_that_are_left_when_redis_goes_again_stay(world: World) -> None:
    sockets = world.connect(200)
    world.resync.begin("lost")
    gevent.sleep(0)
    world.resync.stop()
    gevent.sleep(3 * module.STEP)
    assert sum(socket.closed_with is None for socket in sockets) == 180


def test_those_that_came_first_go_first(world: World) -> None:
    sockets = world.connect(40)
    world.resync.begin("lost")
    gevent.sleep(0)
    assert [socket.closed_with for socket in sockets] == [1012] * 20 + [None] * 20
