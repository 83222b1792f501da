# SPDX-License-Identifier: Apache-2.0
"""One connection to Redis on the event loop, against a socket that plays Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import redis

from wsgi_ws.sources import redis_wire as module
from wsgi_ws.sources.redis_wire import RedisWire

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
