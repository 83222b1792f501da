# SPDX-License-Identifier: Apache-2.0
"""A connection on a socket pair: how it closes, what it counts, with a clock of the test's, and
what the kernel holds for it."""

from __future__ import annotations

import gc
import socket
from _socket import socket as RawSocket  # noqa: N812  a class
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from testbed.wire import BINARY, CONTINUATION, PING, PONG, TEXT, close_frame, frame
from wsgi_ws.websocket.allowance import Allowances
from wsgi_ws.websocket.closing import Ending, State
from wsgi_ws.websocket.connection import Connection, Limits
from wsgi_ws.websocket.frames import ping_frame

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

    def __init__(
        self,
        peers: list[socket.socket],
        pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair,
        frames: int = 0,
        bytes_: int = 0,
    ) -> None:
        """
        :param frames: what it may send per second; 0 = no bound.
        :param bytes_: likewise.
        """
        self.owner: Any = SimpleNamespace(
            loop=Mock(), limits=Limits(4096, 0, 1.0), allowances=Allowances(frames, bytes_)
        )
        self.owner.on_data = self.owner.on_ended = Mock()
        ours, self.peer = pair()
        peers.append(self.peer)
        sock = RawSocket(fileno=ours.detach())
        sock.setblocking(False)
        self.connection = Connection(self.owner, sock, "channel", 1)

    def sends(self, *pieces: bytes) -> bool:
        """Whether all the pieces are accepted."""
        for piece in pieces:
            self.connection.receive(piece)
        return self.connection.state is State.OPEN

    def stops_reading(self) -> None:
        """Fill the socket: from now on what is sent stays queued."""
        while not self.connection.backlog_bytes:
            self.connection.send(bytes(65536))

    def reads_again(self) -> bytes:
        """All that was queued, as far as the kernel has it now."""
        self.peer.setblocking(False)
        read = b""
        while self.connection.backlog_bytes:
            read += self.peer.recv(1 << 20)
            self.connection._on_writable()
        return read + self.peer.recv(1 << 20)

    @property
    def ending(self) -> Ending | None:
        """What the owner is told, once."""
        calls = self.owner.loop.run_callback.call_args_list
        assert len(calls) <= 1
        return calls[0].args[2] if calls else None

    def end(self) -> bytes:
        """What the client got; also ends the server's side."""
        self.connection.terminate("the test is over")
        return b"".join(iter(lambda: self.peer.recv(4096), b""))


@pytest.fixture
def client(peers: list[socket.socket]) -> Iterator[Client]:
    """A client under both limits."""
    client = Client(peers, frames=FRAMES, bytes_=BYTES)
    yield client
    client.connection.terminate("the test is over")


@pytest.fixture
def unlimited(peers: list[socket.socket]) -> Iterator[Client]:
    """A client under no limit."""
    client = Client(peers)
    yield client
    client.connection.terminate("the test is over")


# --- pings ---------------------------------------------------------------------------------------


def pong(to: float) -> bytes:
    """The answer to the ping of this time."""
    return frame(PONG, ping_frame(to)[2:])


def test_a_pong_proves_that_what_was_sent_before_its_ping_has_arrived(
    unlimited: Client, clock: Clock
) -> None:
    clock.now += 5
    unlimited.connection.ping(clock.now - 1)
    unlimited.connection.receive(pong(clock.now - 1))
    assert unlimited.connection.taken_until == clock.now - 1


def test_a_pong_that_is_late_proves_nothing_of_the_pings_behind_its_own(
    unlimited: Client, clock: Clock
) -> None:
    clock.now += 30
    first, second, third = (clock.now - age for age in (20, 10, 5))
    unlimited.connection.ping(first)
    unlimited.connection.ping(second)
    unlimited.connection.receive(pong(first))
    unlimited.connection.ping(third)
    unlimited.connection.receive(pong(second))
    assert unlimited.connection.taken_until == second


@pytest.mark.parametrize("payload", [b"", b"x", bytes(8), b"\x7f\xf8" + bytes(6), b"\x7f" * 8])
def test_a_pong_that_answers_no_ping_is_a_sign_of_life_and_proves_nothing(
    unlimited: Client, clock: Clock, payload: bytes
) -> None:
    before = unlimited.connection.taken_until
    clock.now += 5
    unlimited.connection.ping(clock.now)
    unlimited.connection.receive(frame(PONG, payload))
    assert unlimited.connection.taken_until == before
    assert unlimited.connection.unanswered_since is None


# --- closing -------------------------------------------------------------------------------------


def test_a_client_that_closes_gets_its_code_back_and_is_ended(unlimited: Client) -> None:
    unlimited.connection.receive(close_frame(4000, b"enough"))
    assert unlimited.ending == Ending(4000, "enough", "client")
    assert unlimited.end() == b"\x88\x02" + (4000).to_bytes(2, "big")


def test_a_server_that_closes_waits_for_the_answer(unlimited: Client) -> None:
    unlimited.connection.close(1001, "going")
    assert (unlimited.connection.state, unlimited.ending) == (State.CLOSE_SENT, None)
    unlimited.connection.receive(close_frame(1001))
    assert unlimited.ending == Ending(1001, "going", "server", answer=1001)


@pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (None, 1005)])
def test_a_client_that_has_begun_to_close_as_well_is_known_by_its_own_code(
    unlimited: Client, code: int | None, answer: int
) -> None:
    unlimited.connection.close(1012)
    unlimited.connection.receive(close_frame(code))
    assert unlimited.ending == Ending(1012, "", "server", answer=answer)


def test_a_client_that_does_not_answer_has_no_code(unlimited: Client) -> None:
    unlimited.connection.close(1012)
    unlimited.connection._on_deadline()
    assert unlimited.ending == Ending(1012, "", "server", answer=None)


def test_the_answer_comes_after_what_is_queued(unlimited: Client) -> None:
    unlimited.stops_reading()
    unlimited.connection.receive(close_frame(1000))
    assert unlimited.ending is None
    assert unlimited.reads_again().endswith(b"\x88\x02\x03\xe8")
    assert unlimited.ending == Ending(1000, "", "client")


def test_when_both_close_at_once_the_server_waits_for_the_end_of_tcp(unlimited: Client) -> None:
    unlimited.stops_reading()
    unlimited.connection.close(1001)
    unlimited.connection.receive(close_frame(1000))
    unlimited.reads_again()
    assert unlimited.connection.state is State.HALF_CLOSED
    assert unlimited.peer.recv(1) == b"", "the server's half is closed"
    unlimited.peer.close()
    unlimited.connection._on_readable()
    assert unlimited.ending == Ending(1001, "", "server", answer=1000)


def test_after_a_broken_rule_the_server_closes_its_half_only(unlimited: Client) -> None:
    unlimited.connection.receive(frame(TEXT, mask=None))
    assert unlimited.connection.state is State.HALF_CLOSED
    assert unlimited.peer.recv(4)[2:] == b"\x03\xea"
    assert unlimited.ending is None


def test_a_client_that_breaks_a_rule_is_not_heard_any_more(unlimited: Client) -> None:
    unlimited.connection.receive(frame(TEXT, mask=None))
    unlimited.connection.receive(frame(TEXT, b"a"))
    unlimited.owner.on_data.assert_not_called()


def test_a_closing_server_answers_no_ping(unlimited: Client) -> None:
    unlimited.connection.close(1001)
    unlimited.connection.receive(frame(PING, b"x"))
    assert unlimited.end() == b"\x88\x02\x03\xe9"


def test_nothing_is_sent_behind_the_close_frame(unlimited: Client) -> None:
    unlimited.connection.close(1001)
    unlimited.connection.send(b"too late")
    assert unlimited.end() == b"\x88\x02\x03\xe9"


def test_the_time_for_closing_ends_a_silent_client(unlimited: Client) -> None:
    unlimited.connection.close(1001, "going")
    unlimited.owner.loop.timer.assert_called_once_with(1.0)
    unlimited.owner.loop.timer.return_value.start.call_args.args[0]()
    assert unlimited.ending == Ending(1001, "going", "server")


def test_the_first_reason_to_end_is_the_one_told(unlimited: Client) -> None:
    unlimited.connection.close(1001, "going")
    unlimited.connection.receive(frame(TEXT, mask=None))
    unlimited.connection.terminate("no pong")
    assert unlimited.ending == Ending(1001, "going", "server")


# --- what a client may send ----------------------------------------------------------------------


def test_a_connection_keeps_no_allowance(client: Client) -> None:
    assert client.sends(frame(PONG))
    held = {type(thing).__name__ for thing in gc.get_referents(client.connection)}
    assert "Allowance" not in held


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


def test_zero_means_no_limit(unlimited: Client) -> None:
    assert unlimited.sends(frame(PONG, bytes(125)) * 10_000)


# --- a client that does not read -----------------------------------------------------------------


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection; the second one takes little that nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


def test_who_is_told_of_a_slow_client_is_told_from_the_loop_and_before_its_end(
    peers: list[socket.socket],
) -> None:
    client = Client(peers)
    client.owner.limits = Limits(4096, max_backlog_bytes=10_000, close_timeout=1.0)
    client.owner.on_slow = Mock()
    client.stops_reading()
    while not client.connection.ended:
        client.connection.send(bytes(4096))
    client.owner.on_slow.assert_not_called()
    (slow, ended) = client.owner.loop.run_callback.call_args_list
    assert slow.args == (client.owner.on_slow, client.connection)
    assert ended.args[:2] == (client.owner.on_ended, client.connection)


def test_a_tcp_client_that_reads_again_gets_what_was_queued(peers: list[socket.socket]) -> None:
    client = Client(peers, tcp_pair)
    message = bytes(range(256)) * 4096
    client.connection.send(message)
    client.connection.send(b"the next one")
    read = b""
    while client.connection.backlog_bytes:
        read += client.peer.recv(1 << 20)
        client.connection._on_writable()
    client.connection.terminate("the test is over")
    read += b"".join(iter(lambda: client.peer.recv(1 << 20), b""))
    assert read == message + b"the next one"
