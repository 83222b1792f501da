# SPDX-License-Identifier: Apache-2.0
"""What is for many sockets: gathered, merged, and sent in slices."""

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
from wsgi_ws.sources.realtime import broadcast as module
from wsgi_ws.sources.realtime.broadcast import Broadcaster
from wsgi_ws.sources.realtime.envelope import Message
from wsgi_ws.sources.realtime.memory import Memory
from wsgi_ws.superset.names import ENTITY_CHANGED, TASK_STATUS
from wsgi_ws.websocket.connection import Connection


class World:
    def __init__(self) -> None:
        self.hub, self.memory, self.metrics = Hub(), Memory(30.0, 10**6), Mock()
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def start(self, merge_time: float = 0.0) -> Broadcaster:
        broadcaster = self.make(merge_time)
        self.run(broadcaster.run)
        return broadcaster

    def make(self, merge_time: float = 0.0) -> Broadcaster:
        """One that does nothing yet, as while another delivery is on its way."""
        return Broadcaster(self.hub, self.memory, self.metrics, merge_time)

    def run(self, job: Callable[[], None]) -> gevent.Greenlet[Any, Any]:
        self._greenlets.append(gevent.spawn(job))
        gevent.sleep(0)
        return self._greenlets[-1]

    def connect(self) -> Socket:
        socket = Socket()
        self.hub.add(cast(Connection, socket))
        return socket

    def close(self) -> None:
        gevent.killall(self._greenlets)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def changed(frame: bytes) -> Message:
    return Message(ENTITY_CHANGED, None, frame)


def targeted(frame: bytes, route: str = "x") -> Message:
    return Message(TASK_STATUS, (route,), frame)


def connections(*sockets: Socket) -> list[Connection]:
    return [cast(Connection, socket) for socket in sockets]


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.005)


def test_everybody_gets_a_message_once(world: World) -> None:
    sockets = [world.connect() for _ in range(3)]
    world.start().put(changed(b"a"))
    wait_until(lambda: all(socket.chunks for socket in sockets))
    assert [socket.chunks for socket in sockets] == [[b"a"]] * 3


def test_messages_are_counted_with_their_sockets(world: World) -> None:
    for _ in range(3):
        world.connect()
    broadcaster = world.start(0.1)
    broadcaster.put(changed(b"a"))
    broadcaster.put(changed(b"b"))
    wait_until(lambda: world.metrics.delivered.called)
    world.metrics.delivered.assert_called_once_with(2, 3)


def test_a_message_is_counted_although_nobody_is_here(world: World) -> None:
    world.start().put(changed(b"a"))
    wait_until(lambda: world.metrics.delivered.called)
    world.metrics.delivered.assert_called_once_with(1, 0)


def test_equal_messages_within_the_time_become_one(world: World) -> None:
    socket, broadcaster = world.connect(), world.start(0.1)
    for frame in (b"a", b"b", b"a", b"a"):
        broadcaster.put(changed(frame))
    wait_until(lambda: socket.chunks)
    gevent.sleep(0.2)
    assert socket.chunks == [b"ab"]
    assert world.metrics.merged.call_count == 2


def test_an_equal_message_after_the_time_is_another_one(world: World) -> None:
    socket, broadcaster = world.connect(), world.start(0.02)
    broadcaster.put(changed(b"a"))
    wait_until(lambda: socket.chunks)
    broadcaster.put(changed(b"a"))
    wait_until(lambda: len(socket.chunks) == 2)


def test_a_message_of_another_topic_does_not_wait(world: World) -> None:
    socket, broadcaster = world.connect(), world.start(60.0)
    broadcaster.put(changed(b"a"))
    gevent.sleep(0.01)  # the broadcaster waits for what may become one with it
    broadcaster.put(Message("some.day", None, b"b"))
    wait_until(lambda: socket.chunks)
    assert socket.chunks == [b"b"]


def test_nothing_becomes_one_when_the_time_is_0(world: World) -> None:
    socket, broadcaster = world.connect(), world.start(0.0)
    broadcaster.put(changed(b"a"))
    broadcaster.put(changed(b"a"))
    wait_until(lambda: socket.chunks)
    assert socket.chunks == [b"aa"]


def test_who_comes_later_finds_it_in_the_memory_and_does_not_get_it_twice(world: World) -> None:
    first, broadcaster = world.connect(), world.start(0.05)
    broadcaster.put(changed(b"a"))
    assert world.memory.since([None], 0.0) == []  # on its way: it would come twice
    wait_until(lambda: first.chunks)
    late = world.connect()
    gevent.sleep(0.1)
    assert (world.memory.since([None], 0.0), late.chunks) == ([b"a"], [])


def test_what_must_not_be_repeated_is_not_remembered(world: World) -> None:
    socket = world.connect()
    world.start().put(Message("dashboard.filters_applied", None, b"a"))
    wait_until(lambda: socket.chunks)
    assert world.memory.since([None], 0.0) == []


def test_large_messages_do_not_go_out_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEND_BYTES", 4)
    socket, broadcaster = world.connect(), world.start(0.02)
    for frame in (b"aaa", b"bbb", b"c"):
        broadcaster.put(changed(frame))
    wait_until(lambda: len(socket.chunks) == 2)
    assert socket.chunks == [b"aaa", b"bbbc"]


def test_the_loop_turns_while_thousands_are_sent_to(world: World) -> None:
    class Slow(Socket):
        def send(self, chunk: bytes) -> None:
            end = time.perf_counter() + 0.0002
            while time.perf_counter() < end:
                pass
            super().send(chunk)

    sockets = [Slow() for _ in range(1000)]
    for socket in sockets:
        world.hub.add(cast(Connection, socket))
    broadcaster, turns = world.start(), 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not sockets[-1].chunks:
            gevent.get_hub().loop.timer(0.0).start(turn)

    broadcaster.put(changed(b"a"))
    gevent.get_hub().loop.timer(0.0).start(turn)
    wait_until(lambda: sockets[-1].chunks)
    assert turns >= 5


def test_a_delivery_goes_to_those_that_are_named(world: World) -> None:
    named, _ = world.connect(), world.connect()
    world.start().put_delivery(Message("t", ("x",), b"a"), [cast(Connection, named)])
    wait_until(lambda: named.chunks)
    assert _.chunks == []


def test_what_took_long_to_hand_out_was_handed_out_until_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG", -1.0)
    socket, begin = world.connect(), time.monotonic()
    world.start(0.05).put(changed(b"a"))
    wait_until(lambda: socket.chunks)
    gevent.sleep(0)
    assert world.memory.since([None], begin + 0.05) == [b"a"]
    assert world.memory.since([None], time.monotonic()) == []


def test_a_targeted_message_is_on_its_way_until_all_have_it(world: World) -> None:
    socket, broadcaster = world.connect(), world.start()
    broadcaster.put_delivery(Message("t", ("x",), b"a"), [cast(Connection, socket)])
    assert broadcaster.has_targeted
    wait_until(lambda: not broadcaster.has_targeted)
    assert socket.chunks == [b"a"]


# --- what waits ----------------------------------------------------------------------------------


def test_messages_for_the_same_sockets_go_out_together(world: World) -> None:
    socket, broadcaster = world.connect(), world.make()
    for frame in (b"a", b"b"):
        broadcaster.put_delivery(targeted(frame), connections(socket))
    world.run(broadcaster.run)
    wait_until(lambda: not broadcaster.has_targeted)
    assert socket.chunks == [b"ab"]
    world.metrics.delivered.assert_called_once_with(2, 1)


def test_who_comes_between_two_messages_gets_the_second_one(world: World) -> None:
    first, late, broadcaster = world.connect(), world.connect(), world.make()
    broadcaster.put_delivery(targeted(b"a"), connections(first))
    broadcaster.put_delivery(targeted(b"b"), connections(first, late))
    world.run(broadcaster.run)
    wait_until(lambda: not broadcaster.has_targeted)
    assert (first.chunks, late.chunks) == ([b"a", b"b"], [b"b"])


def test_what_is_for_everybody_does_not_mix_with_what_is_for_one_user(world: World) -> None:
    socket, broadcaster = world.connect(), world.make()
    broadcaster.put_delivery(targeted(b"a"), connections(socket))
    broadcaster.put(changed(b"b"))
    world.run(broadcaster.run)
    wait_until(lambda: len(socket.chunks) == 2)
    assert socket.chunks == [b"a", b"b"]
    assert not broadcaster.has_targeted


def test_what_waited_long_was_handed_out_when_its_turn_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG", 0.05)
    socket, broadcaster = world.connect(), world.make()
    broadcaster.put_delivery(targeted(b"a"), connections(socket))
    gevent.sleep(0.1)
    turn = time.monotonic()
    world.run(broadcaster.run)
    wait_until(lambda: not broadcaster.has_targeted)
    assert world.memory.since(["x"], turn) == [b"a"]


PUTS: dict[str, Callable[[Broadcaster, Socket], None]] = {
    "for everybody": lambda one, socket: one.put(Message("some.day", None, b"a")),
    "that wait for equal ones": lambda one, socket: one.put(changed(b"a")),
    "for many": lambda one, socket: one.put_delivery(targeted(b"a"), connections(socket)),
    "for many others each time": lambda one, socket: one.put_delivery(
        targeted(b"a"), connections(socket, Socket())
    ),
}


@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
def test_there_is_no_room_while_much_waits_and_all_of_it_again_afterwards(
    put: Callable[[Broadcaster, Socket], None], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 1)
    socket, broadcaster = world.connect(), world.make(0.05)
    put(broadcaster, socket)
    put(broadcaster, socket)
    reader = world.run(broadcaster.wait_for_room)
    assert not reader.ready()
    world.run(broadcaster.run)
    wait_until(reader.ready)
    assert socket.chunks


def test_a_snapshot_of_many_sockets_takes_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 8000)
    broadcaster = world.make()
    broadcaster.put_delivery(targeted(b"a"), connections(*(Socket() for _ in range(1000))))
    assert not world.run(broadcaster.wait_for_room).ready()
