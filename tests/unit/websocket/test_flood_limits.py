# SPDX-License-Identifier: Apache-2.0
"""What a connection counts: frames and bytes of a client per second, with a clock of the test's."""

from __future__ import annotations

import socket
from _socket import socket as RawSocket  # noqa: N812  a class
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from testbed.wire import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from wsgi_ws.websocket.connection import Connection, Limits, State

FRAMES, BYTES = 10, 1000


class Clock:
    """`time`, as the connection sees it."""

    now = 1e6

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of all connections of the test."""
    clock = Clock()
    monkeypatch.setattr("wsgi_ws.websocket.connection.time", clock)
    return clock


@pytest.fixture
def peers(clock: Clock) -> Iterator[list[socket.socket]]:
    """The clients' ends, closed after the test."""
    peers: list[socket.socket] = []
    yield peers
    for peer in peers:
        peer.close()


class Client:
    """A connection with the client's end of its socket; its event loop does nothing."""

    def __init__(self, peers: list[socket.socket], **limits: int) -> None:
        owner: Any = SimpleNamespace(loop=Mock(), limits=Limits(4096, 0, 1.0, **limits))
        owner.on_data = owner.on_ended = Mock()
        ours, self.peer = socket.socketpair()
        peers.append(self.peer)
        sock = RawSocket(fileno=ours.detach())
        sock.setblocking(False)
        self.connection = Connection(owner, sock, "channel", 1)

    def sends(self, *pieces: bytes) -> bool:
        """Whether all the pieces are accepted."""
        for piece in pieces:
            self.connection.receive(piece)
        return self.connection.state is State.OPEN

    def end(self) -> bytes:
        """What the client got; also ends the server's side."""
        self.connection.terminate("the test is over")
        return b"".join(iter(lambda: self.peer.recv(4096), b""))


@pytest.fixture
def client(peers: list[socket.socket]) -> Iterator[Client]:
    """A client under both limits."""
    client = Client(peers, max_frames_per_second=FRAMES, max_bytes_per_second=BYTES)
    yield client
    client.connection.terminate("the test is over")


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG])
def test_frames_up_to_the_limit_are_accepted_and_no_more(client: Client, opcode: int) -> None:
    assert client.sends(*[frame(opcode)] * FRAMES)
    assert not client.sends(frame(opcode))
    assert client.end()[-2 - 26 :] == b"\x03\xf0too many frames per second"


def test_frames_are_counted_the_same_when_they_come_at_once(client: Client) -> None:
    assert client.sends(frame(PONG) * FRAMES)
    assert not client.sends(frame(PONG))


def test_fragments_count(client: Client) -> None:
    fragment = frame(CONTINUATION, fin=False)
    assert client.sends(frame(TEXT, fin=False), fragment * (FRAMES - 1))
    assert not client.sends(fragment)


def test_pieces_that_complete_no_frame_count(client: Client) -> None:
    head = frame(BINARY, announced=100)
    assert client.sends(head, *[b"x"] * (FRAMES - 1))
    assert not client.sends(b"x")


def test_bytes_up_to_the_limit_are_accepted_and_no_more(client: Client) -> None:
    message = frame(BINARY, bytes(BYTES // 2 - 8))  # a head of 8 bytes
    assert client.sends(message, message)
    assert not client.sends(frame(PONG))
    assert client.end() == b"\x88\x1b\x03\xf0too many bytes per second"


def test_every_second_is_counted_anew(client: Client, clock: Clock) -> None:
    for _ in range(3):
        assert client.sends(frame(PONG) * FRAMES)
        clock.now += 1.0
    assert client.sends(frame(PONG) * FRAMES)
    clock.now += 0.9
    assert not client.sends(frame(PONG))


def test_a_flood_is_not_read_any_more(client: Client) -> None:
    watcher = client.connection._owner.loop.io.return_value
    assert not client.sends(frame(PONG) * (FRAMES + 1))
    watcher.stop.assert_called()
    assert not client.connection.ended, "the close frame gets its time"


def test_the_drain_after_a_broken_rule_is_limited_too(client: Client) -> None:
    watcher = client.connection._owner.loop.io.return_value
    assert not client.sends(frame(TEXT, mask=None))
    watcher.stop.assert_not_called()
    client.sends(bytes(BYTES))
    watcher.stop.assert_called()
    assert client.end()[2:4] == b"\x03\xea", "the first problem is the one told"


def test_zero_means_no_limit(peers: list[socket.socket]) -> None:
    client = Client(peers)
    assert client.sends(frame(PONG, bytes(125)) * 10_000)
    client.connection.terminate("the test is over")
