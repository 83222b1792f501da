# SPDX-License-Identifier: Apache-2.0
"""One connection to Redis on the event loop, against a socket that plays Redis."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import redis

from wsgi_ws import loop
from wsgi_ws.sources import redis_wire as module
from wsgi_ws.sources.redis_replies import MalformedReply
from wsgi_ws.sources.redis_wire import Batches, RedisWire

SILENCE = 0.3  # seconds


class Peer:
    """A wire, and the other end of its connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, self.other = socket.socketpair()
        connection = SimpleNamespace(socket_timeout=SILENCE, disconnect=ours.close)
        monkeypatch.setattr(module, "connect_outside_the_pool", lambda _: (connection, ours))
        client: Any = None
        self.wire = RedisWire(client)

    def close(self) -> None:
        self.wire.close()
        self.other.close()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    peer = Peer(monkeypatch)
    yield peer
    peer.close()


def test_a_reply_that_comes_in_pieces_is_one_reply(peer: Peer) -> None:
    peer.other.sendall(b"$5\r\nhe")
    gevent.spawn_later(0.02, peer.other.sendall, b"llo\r\n")
    assert peer.wire.reply() == b"hello"


def test_what_has_come_behind_a_reply_can_be_taken_without_waiting(peer: Peer) -> None:
    peer.other.sendall(b":1\r\n:2\r\n-ERR no\r\n:3")
    assert peer.wire.reply() == 1
    two, error = peer.wire.arrived()
    assert (two, str(error)) == (2, "ERR no")


def test_the_loop_has_its_turn_where_there_is_always_more_to_receive(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SLICE", 0.0)  # it is always over
    large = b"x" * (module.RECEIVE_BYTES + 1000)
    peer.other.sendall(b":1\r\n$%d\r\n%b\r\n" % (len(large), large))
    assert peer.wire.reply() == 1  # the first part of the large one has come with it
    ran: list[int] = []
    gevent.spawn(ran.append, 1)
    assert (peer.wire.reply(), ran) == (large, [1])


def test_an_error_is_raised(peer: Peer) -> None:
    peer.other.sendall(b"-NOPERM no\r\n")
    with pytest.raises(redis.ResponseError, match="NOPERM no"):
        peer.wire.reply()


def test_a_silence_that_is_too_long_is_an_error(peer: Peer) -> None:
    with pytest.raises(TimeoutError):
        peer.wire.reply()


def test_a_worker_that_has_stood_still_finds_the_answer_and_no_silence(peer: Peer) -> None:
    def answer_and_block() -> None:
        peer.other.sendall(b":1\r\n")
        time.sleep(2 * SILENCE)

    gevent.spawn(answer_and_block)
    assert peer.wire.reply() == 1


def test_the_end_of_the_connection_is_an_error(peer: Peer) -> None:
    peer.other.close()
    with pytest.raises(ConnectionError, match="closed by server"):
        peer.wire.reply()


def test_an_interrupt_ends_a_wait(peer: Peer) -> None:
    gevent.spawn_later(0.02, peer.wire.interrupt)
    with pytest.raises(ConnectionError):
        peer.wire.reply()


def test_what_is_not_redis_is_an_error_of_redis(peer: Peer) -> None:
    peer.other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(redis.InvalidResponse):
        peer.wire.reply()


# --- many commands -------------------------------------------------------------------------------


def commands_in(data: bytes) -> int:
    return data.count(b"*1\r\n")


def all_of(sock: socket.socket) -> bytes:
    """What has come, without waiting."""
    try:
        return sock.recv(65536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def test_replies_come_in_the_order_of_the_commands_errors_among_them(peer: Peer) -> None:
    peer.other.sendall(b":1\r\n-ERR no\r\n:3\r\n")
    one, error, three = peer.wire.ask([("PING",)] * 3)
    assert (one, str(error), three) == (1, "ERR no", 3)


def test_no_more_commands_are_sent_ahead_than_the_kernel_takes(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD", 2)
    asking = gevent.spawn(peer.wire.ask, [("PING",)] * 7)
    seen = []
    for answers in (2, 2, 2, 1):
        gevent.idle()  # until it waits
        seen.append(commands_in(all_of(peer.other)))
        peer.other.sendall(b":1\r\n" * answers)
    assert (asking.get(timeout=10), seen) == ([1] * 7, [4, 2, 1, 0])


def test_no_more_bytes_are_sent_ahead_than_the_kernel_takes(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD_BYTES", 1000)
    asking = gevent.spawn(peer.wire.ask, [("P" * 400,)] * 5)
    seen = []
    for answers in (2, 2, 1):
        gevent.idle()  # until it waits
        seen.append(commands_in(all_of(peer.other)))
        peer.other.sendall(b":1\r\n" * answers)
    assert (asking.get(timeout=10), seen) == ([1] * 5, [4, 1, 0])


@pytest.mark.parametrize(
    ("said", "expected"), [(b"", True), (b":2\r\n", False), (b"*1\r\n", False)]
)
def test_a_connection_on_which_something_is_left_is_not_silent(
    peer: Peer, said: bytes, expected: bool
) -> None:
    peer.other.sendall(b":1\r\n")
    peer.wire.reply()
    if said:
        peer.other.sendall(said)
    assert peer.wire.is_silent is expected


@pytest.mark.parametrize("left", [b":2\r\n", b"$-1\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_what_came_with_the_last_reply_is_no_silence(peer: Peer, left: bytes) -> None:
    peer.other.sendall(b":1\r\n" + left)
    peer.wire.reply()
    assert not peer.wire.is_silent


def test_a_connection_that_has_ended_is_not_silent(peer: Peer) -> None:
    peer.other.close()
    assert not peer.wire.is_silent


# --- batches -------------------------------------------------------------------------------------

TIME, RANGE = ("TIME",), ("XRANGE", "key", "-", "+")
NOW, ENTRIES = [b"1", b"2"], [[b"1-0", [b"data", b"x"]]]


class Wires:
    """Plays `RedisWire`: connections that answer from a script."""

    def __init__(self) -> None:
        self.made = self.closed = 0
        self.replies: deque[Any] = deque()
        self.is_silent = True

    def __call__(self, _client: redis.Redis) -> Wires:
        self.made += 1
        return self

    def ask(self, commands: Sequence[Any]) -> list[Any]:
        replies = [self.replies.popleft() for _ in commands]
        for reply in replies:
            if isinstance(reply, OSError):
                raise reply
        return replies

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    wires = Wires()
    monkeypatch.setattr(module, "RedisWire", wires)
    return wires


@pytest.fixture
def batches(wires: Wires) -> Batches:
    client: Any = None
    return Batches(client)


def test_a_connection_is_made_at_the_first_command_and_kept(batches: Batches, wires: Wires) -> None:
    assert wires.made == 0
    wires.replies += [NOW, ENTRIES, NOW]
    assert batches.ask([TIME, RANGE]) == [NOW, ENTRIES]
    assert batches.ask([TIME]) == [NOW]
    assert (wires.made, wires.closed) == (1, 0)


def test_after_an_error_of_the_connection_the_next_one_is_new(
    batches: Batches, wires: Wires
) -> None:
    wires.replies += [TimeoutError(), NOW]
    with pytest.raises(TimeoutError):
        batches.ask([TIME])
    assert wires.closed == 1
    assert (batches.ask([TIME]), wires.made) == ([NOW], 2)


def test_a_connection_that_has_been_idle_is_not_trusted(
    batches: Batches, wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_MAX", -1.0)
    wires.replies += [NOW, NOW]
    batches.ask([TIME])
    batches.ask([TIME])
    assert (wires.made, wires.closed) == (2, 1)


def test_a_connection_on_which_something_was_left_is_not_trusted(
    batches: Batches, wires: Wires
) -> None:
    wires.replies += [NOW, NOW]
    batches.ask([TIME])
    wires.is_silent = False
    batches.ask([TIME])
    assert (wires.made, wires.closed) == (2, 1)


def test_an_error_of_one_command_is_among_the_replies(batches: Batches, wires: Wires) -> None:
    error = redis.ResponseError("WRONGTYPE Operation against a key")
    wires.replies += [error, ENTRIES]
    assert batches.ask([RANGE, RANGE]) == [error, ENTRIES]
    assert wires.closed == 0


@pytest.mark.parametrize("command", [TIME, RANGE])
def test_a_reply_of_another_form_is_the_error_of_its_command(
    batches: Batches, wires: Wires, command: tuple[str, ...]
) -> None:
    wires.replies += [b"nonsense", NOW]
    garbled, now = batches.ask([command, TIME])
    assert isinstance(garbled, MalformedReply)
    assert now == NOW


def test_after_an_error_of_the_whole_server_the_next_connection_is_new(
    batches: Batches, wires: Wires
) -> None:
    wires.replies += [redis.ResponseError("LOADING Redis is loading the dataset in memory"), NOW]
    batches.ask([TIME])
    assert (batches.ask([TIME]), wires.made, wires.closed) == ([NOW], 2, 1)
