# SPDX-License-Identifier: Apache-2.0
"""A client from the 101 to its end: limits, expiry, what is told and what is left behind."""

from __future__ import annotations

import itertools
import logging
import socket
import struct
import time
from _socket import socket as RawSocket  # noqa: N812  a class
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import gevent
import pytest

from testbed.servers import DEADLINE
from testbed.wire import PING, TEXT, frame
from wsgi_ws import clients as module
from wsgi_ws.clients import Clients, Newcomer
from wsgi_ws.config.keys import Settings, key_of
from wsgi_ws.http.auth.claims import Identity
from wsgi_ws.http.handshake import Admitted
from wsgi_ws.hub import Hub
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.transport import Transport
from wsgi_ws.websocket.frames import CloseCode


class World:
    """Clients with a source and metrics that only take note; no Redis, no HTTP."""

    def __init__(self) -> None:
        self.peers: list[socket.socket] = []
        self.source, self.metrics, self.own_metrics = Mock(), Mock(), Mock()
        self.access_log = Mock(spec=AccessLog)

    def make(self, **settings: Any) -> Clients:
        self.hub = Hub()
        self.clients = Clients(
            Settings(**settings),
            self.hub,
            self.source,
            self.metrics,
            self.own_metrics,
            access_log=self.access_log,
            log_limiter=LogLimiter(60.0),
            numbers=itertools.count(1),
            total=lambda: len(self.hub),
        )
        return self.clients

    def open(
        self,
        channel: str = "a",
        *,
        expires_at: float | None = None,
        last_id: str | None = None,
        early: bytes = b"",
    ) -> socket.socket:
        """A client's end of a connection that was just admitted."""
        identity = Identity(Transport.STREAMS, channel, expires_at)
        admitted = Admitted(identity, "accept", last_id, tab_id=None)
        peer, newcomer = self.take_over(admitted, early)
        newcomer.answer()
        newcomer.welcome()
        return peer

    def take_over(self, admitted: Admitted, early: bytes = b"") -> tuple[socket.socket, Newcomer]:
        """A client that has not got its 101 yet."""
        ours, peer = socket.socketpair()
        peer.settimeout(DEADLINE)
        self.peers.append(peer)
        sock = RawSocket(fileno=ours.detach())
        sock.setblocking(False)
        return peer, self.clients.take_over(sock, admitted, early)

    def close(self) -> None:
        for connection in list(self.hub):
            connection.terminate("the test is over")
        for peer in self.peers:
            peer.close()
        gevent.sleep(0.01)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.make()
    yield world
    world.close()


def received(peer: socket.socket) -> bytes:
    """What the client has got so far, behind the 101."""
    answer, _, rest = peer.recv(65536).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    return rest


def close_frame(code: int, reason: str) -> bytes:
    return bytes([0x88, 2 + len(reason)]) + struct.pack(">H", code) + reason.encode()


def wait_until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is true."""
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.005)


def only_connection(world: World) -> Any:
    (connection,) = world.hub
    return connection


# --- the beginning -------------------------------------------------------------------------------


def test_a_client_gets_the_101_and_nothing_else(world: World) -> None:
    assert received(world.open()) == b""


def test_a_client_is_known_to_the_hub_before_it_joins_its_source(world: World) -> None:
    known: list[int] = []
    world.source.join = lambda *_, **__: known.append(len(world.hub))
    world.open()
    assert known == [1]


def test_a_client_whose_taking_over_fails_halfway_is_closed(world: World) -> None:
    world.source.join.side_effect = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        world.open()
    assert world.peers[-1].recv(4096).startswith(b"HTTP/1.1 101")
    assert world.peers[-1].recv(4096) == b""
    gevent.sleep(0.001)  # the end is told on the loop
    assert len(world.hub) == 0


@pytest.mark.parametrize("last_id", [None, "17-0", "$"])
def test_the_source_gets_the_last_id_as_it_came(world: World, last_id: str | None) -> None:
    world.open(last_id=last_id)
    world.source.join.assert_called_once_with(only_connection(world), last_id=last_id, tab_id=None)


def test_an_admitted_client_is_counted(world: World) -> None:
    world.open()
    world.own_metrics.connected.assert_called_once_with()


def test_a_client_is_pinged(world: World) -> None:
    world.make(ping_sockets_interval=10 / 1000)
    peer = world.open()
    assert received(peer) == b""
    beat, _ = world.clients.jobs()
    greenlet = gevent.spawn(beat)
    wait_until(lambda: only_connection(world).unanswered_since is not None)
    greenlet.kill()
    assert peer.recv(4096)[0] & 0x0F == PING


def test_bytes_behind_the_request_are_read_as_frames(world: World) -> None:
    peer = world.open(early=frame(0x9, b"early"))
    assert received(peer) == b"\x8a\x05early"


def test_what_a_client_says_is_dropped(world: World) -> None:
    peer = world.open(early=frame(TEXT, b"hello"))
    assert (received(peer), len(world.hub)) == (b"", 1)


def test_clients_are_numbered(world: World) -> None:
    world.open()
    world.open()
    assert sorted(connection.number for connection in world.hub) == [1, 2]


# --- limits --------------------------------------------------------------------------------------

LIMITS = [
    ({"max_total_connections": 2}, "maxTotalConnections", "b"),
    ({"max_connections_per_channel": 2}, "maxConnectionsPerChannel", "a"),
]


@pytest.mark.parametrize(("settings", "limit", "channel"), LIMITS)
def test_a_client_over_a_limit_is_closed_with_1013(
    world: World, settings: dict[str, int], limit: str, channel: str
) -> None:
    world.make(**settings)
    world.open("a")
    world.open("a")
    refused = received(world.open(channel))
    assert refused == close_frame(CloseCode.TRY_AGAIN_LATER, f"{limit} is reached")


@pytest.mark.parametrize(("settings", "limit", "channel"), LIMITS)
def test_a_client_over_a_limit_belongs_to_nothing(
    world: World, settings: dict[str, int], limit: str, channel: str
) -> None:
    world.make(**settings)
    world.open("a")
    world.open("a")
    world.source.join.reset_mock()
    world.open(channel)
    assert (len(world.hub), world.source.join.called) == (2, False)


@pytest.mark.parametrize(("settings", "limit", "channel"), LIMITS)
def test_a_client_over_a_limit_is_counted_as_rejected(
    world: World, settings: dict[str, int], limit: str, channel: str
) -> None:
    world.make(**settings)
    for each in ("a", "a", channel):
        world.open(each)
    world.own_metrics.rejected.assert_called_once_with(limit)


def test_a_client_over_a_limit_that_does_not_leave_is_cut_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_TIME", 0.05)
    world.make(max_total_connections=1, close_timeout=DEADLINE)
    world.open("a")
    received(world.open("b"))
    wait_until(lambda: world.own_metrics.gone.called)
    world.own_metrics.gone.assert_called_once_with("server", CloseCode.TRY_AGAIN_LATER)


def test_a_limit_is_named_in_the_log_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.make(max_total_connections=1)
    for _ in range(3):
        world.open()
    lines = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert lines == [
        "socket 2 of channel a is closed with 1013: maxTotalConnections is reached: 1 per worker. "
        "Raise it (MAX_TOTAL_CONNECTIONS in the environment wins over the file) if the machine has "
        "room for more"
    ]


def test_the_variables_of_the_limits_are_those_of_the_configuration() -> None:
    assert {path: key_of(path).env for path in module.LIMITS} == module.LIMITS


def test_clients_that_are_taken_over_together_do_not_share_the_last_place(world: World) -> None:
    world.make(max_total_connections=1)
    admitted = Admitted(Identity(Transport.STREAMS, "a"), "accept", None, None)
    together = [world.take_over(admitted) for _ in range(2)]
    for _, newcomer in together:
        newcomer.answer()
    for _, newcomer in together:
        newcomer.welcome()
    first, second = (peer for peer, _ in together)
    assert received(second).startswith(b"\x88")
    first.setblocking(False)
    assert received(first) == b""
    assert len(world.hub) == 1


def test_a_channel_at_its_limit_leaves_others_alone(world: World) -> None:
    world.make(max_connections_per_channel=1)
    world.open("a")
    world.open("b")
    assert len(world.hub) == 2


def test_a_place_is_free_again_when_its_client_has_gone(world: World) -> None:
    world.make(max_connections_per_channel=1)
    world.open().close()
    wait_until(lambda: not len(world.hub))
    assert received(world.open()) == b""


# --- expiry --------------------------------------------------------------------------------------


def test_an_expired_token_closes_its_socket_with_1008(world: World) -> None:
    peer = world.open(expires_at=time.time())
    assert received(peer) == b""
    gevent.sleep(0.01)
    assert peer.recv(4096) == close_frame(CloseCode.POLICY_VIOLATION, "the token has expired")


def test_a_token_that_expires_later_leaves_its_socket_open(world: World) -> None:
    peer = world.open(expires_at=time.time() + DEADLINE)
    gevent.sleep(0.01)
    assert received(peer) == b""


def test_an_ended_clients_timer_does_not_run_on(world: World) -> None:
    peer = world.open(expires_at=time.time() + DEADLINE)
    (timer,) = world.clients._expiries.values()
    peer.close()
    wait_until(lambda: not len(world.hub))
    assert (world.clients._expiries, timer.active) == ({}, False)


# --- the end -------------------------------------------------------------------------------------


def test_an_ended_client_leaves_nothing_behind(world: World) -> None:
    world.open().close()
    wait_until(lambda: not len(world.hub))
    assert (world.hub.count("a"), len(world.clients._heartbeat)) == (0, 0)


def test_the_end_is_counted_by_who_and_code(world: World) -> None:
    world.open()
    only_connection(world).terminate("no pong")
    wait_until(lambda: not len(world.hub))
    world.own_metrics.gone.assert_called_once_with("server", CloseCode.ABNORMAL)


def test_the_access_line_at_the_end_tells_the_whole_life(world: World) -> None:
    world.open("0123456789")
    only_connection(world).events_sent = 7
    only_connection(world).terminate("no pong")
    wait_until(lambda: world.access_log.write.called)
    (line,), _ = world.access_log.write.call_args
    assert (line.socket, line.channel, line.events_sent) == (1, "01234567", 7)
    assert (line.code, line.reason, line.by) == (1006, "no pong", "server")


def test_nobody_makes_a_line_that_is_not_wanted(world: World) -> None:
    world.access_log.wanted = False
    world.open().close()
    wait_until(lambda: not len(world.hub))
    assert not world.access_log.write.called


def test_a_client_that_reads_too_slowly_is_cut_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.make(max_socket_buffer_bytes=10)
    world.open()
    connection = only_connection(world)
    while not connection.ended:
        connection.send(bytes(1 << 20))
    wait_until(lambda: world.metrics.client_too_slow.called)
    world.metrics.client_too_slow.assert_called_once_with()
    assert "it left more than maxSocketBufferBytes (10) unread" in caplog.text


def test_many_that_read_too_slowly_at_once_are_all_counted_and_told_in_one_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.make(max_socket_buffer_bytes=10)
    for _ in range(20):
        world.open()
    for connection in list(world.hub):
        while not connection.ended:
            connection.send(bytes(1 << 20))
    wait_until(lambda: not len(world.hub))
    assert world.metrics.client_too_slow.call_count == 20
    (line,) = [text for text in caplog.messages if "maxSocketBufferBytes" in text]
    assert line.startswith("socket 1 of channel a is cut")


def test_a_write_that_fails_is_counted_and_told_at_debug_level_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    peer = world.open()
    connection = only_connection(world)
    peer.close()
    connection.send(b"x")
    world.metrics.client_send_error.assert_called_once_with()
    assert caplog.text == ""


# --- for the worker ------------------------------------------------------------------------------


def test_every_client_is_told_that_the_server_stops(world: World) -> None:
    peers = [world.open() for _ in range(3)]
    world.clients.close_all(time.monotonic(), 0.0)
    goodbye = close_frame(CloseCode.GOING_AWAY, "server is stopping")
    assert [received(peer) for peer in peers] == [goodbye] * 3


def test_a_stop_is_spread_over_the_time_it_is_given(world: World) -> None:
    for _ in range(4):
        world.open()
    begin = time.monotonic()
    world.clients.close_all(begin, 0.2)
    assert time.monotonic() - begin >= 0.2 * 3 / 4


def test_stock_is_taken_of_all_clients(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    for _ in range(5):
        world.open()
    for connection in list(world.hub)[2:]:
        connection.ping(1.0)
        connection._queue(b"unread")
    assert world.clients.backlog_and_pings() == (3 * len(b"unread"), 3)


def test_an_ended_socket_that_stays_is_swept_away_with_a_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.make(gc_channels_interval=0.001)
    world.hub.add(Mock(channel="a", ended=True))
    _, sweep = world.clients.jobs()
    greenlet = gevent.spawn(sweep)
    wait_until(lambda: not len(world.hub))
    greenlet.kill()
    assert "removed, since still registered: 1 ended socket" in caplog.text
