# SPDX-License-Identifier: Apache-2.0
"""Sockets that may have missed a message are closed, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest.mock import Mock

import gevent
import pytest

from testbed.servers import DEADLINE
from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.hub import Hub
from wsgi_ws.sources.realtime import owed
from wsgi_ws.sources.realtime import resync as module
from wsgi_ws.sources.realtime.owed import RETURN_MIN, Claim
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


def closed(sockets: list[Socket]) -> int:
    return sum(socket.closed_with is not None for socket in sockets)


def test_those_that_are_left_when_redis_goes_again_stay_until_it_is_back(world: World) -> None:
    sockets = world.connect(200)
    world.resync.begin("lost")
    gevent.sleep(0)
    world.resync.hold()
    gevent.sleep(3 * module.STEP)
    assert closed(sockets) == 20
    world.resync.begin("lost")
    wait_until(lambda: closed(sockets) == 200)


def test_who_is_added_while_redis_is_away_waits_as_well(world: World) -> None:
    sockets = world.connect(1)
    world.resync.hold()
    world.resync.add(cast(Connection, sockets[0]), "lost")
    gevent.sleep(3 * module.STEP)
    assert closed(sockets) == 0


def test_who_is_back_a_moment_ago_is_closed_when_its_time_has_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed, "RETURN_MIN", 0.0)
    monkeypatch.setattr(owed, "INTERVAL", 0.2)
    sockets = world.connect(1)
    world.resync.begin("lost")
    wait_until(lambda: closed(sockets) == 1)
    back = world.connect(1)
    world.resync.begin("lost again")
    gevent.sleep(3 * module.STEP)
    assert closed(back) == 0
    wait_until(lambda: closed(back) == 1)


def test_a_turn_that_is_far_away_keeps_nobody_waiting_whose_turn_is_now(world: World) -> None:
    sockets = world.connect(1)
    world.resync.begin("lost")
    wait_until(lambda: closed(sockets) == 1)
    sockets[0].opened_at = time.monotonic() + RETURN_MIN
    (other,) = world.connect(1)
    world.resync.add(cast(Connection, sockets[0]), "lost")
    gevent.sleep(3 * module.STEP)
    world.hub.remove(cast(Connection, sockets[0]))
    world.resync.begin("lost")
    wait_until(lambda: other.closed_with)


def test_those_that_still_wait_are_counted_once(world: World) -> None:
    world.connect(50)
    world.resync.hold()
    assert [world.resync.begin("lost"), world.resync.begin("lost")] == [50, 0]


def test_those_that_came_first_go_first(world: World) -> None:
    sockets = world.connect(40)
    world.resync.begin("lost")
    gevent.sleep(0)
    assert [socket.closed_with for socket in sockets] == [1012] * 20 + [None] * 20


# --- claims --------------------------------------------------------------------------------------


def test_a_claim_is_there_until_the_socket_has_ended_and_not_only_until_its_close(
    world: World,
) -> None:
    (socket,) = world.connect(1)
    connection = cast(Connection, socket)
    world.resync.begin("lost")
    assert world.resync.claim_of(connection) is Claim.OWN
    wait_until(lambda: socket.closed_with)
    assert world.resync.claim_of(connection) is Claim.OWN
    world.resync.leave(connection)
    assert world.resync.claim_of(connection) is Claim.NONE


def test_a_claim_that_was_handed_down_is_its_own_when_something_more_may_have_been_missed(
    world: World,
) -> None:
    connection = cast(Connection, world.connect(1)[0])
    world.resync.add(connection, "lost")
    assert world.resync.claim_of(connection) is Claim.HANDED_DOWN
    world.resync.begin("lost again")
    assert world.resync.claim_of(connection) is Claim.OWN
