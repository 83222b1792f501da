# SPDX-License-Identifier: Apache-2.0
"""From an accepted connection to whoever serves it, on a real event loop and real sockets."""

from __future__ import annotations

import _socket
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import gevent
import pytest

from wsgi_ws.http.acceptor import Listener
from wsgi_ws.http.auth import Identity
from wsgi_ws.http.dispatch import Entrance
from wsgi_ws.http.handshake import Admission, Admitted, check_request
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PLAIN = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
SHORT = 0.05  # seconds


class Door:
    """Admits everybody, unless it is told to fail."""

    request_timeout = 60.0
    trusted_proxies = ()
    access_log = AccessLog()  # never written: it doesn't run

    def __init__(self) -> None:
        self.loop = gevent.get_hub().loop
        self.log_limiter = LogLimiter(0.0)
        self.admission = cast(Admission, self)
        self.opened: list[tuple[Identity, bytes]] = []
        self.bad_requests = 0
        self.defect: Exception | None = None

    def decide(
        self, environ: Mapping[str, Any], now: float, closed_because: str | None
    ) -> Admitted:
        if self.defect:
            raise self.defect
        return Admitted(Identity("c"), check_request(environ), last_id=None)

    def on_open(self, descriptor: int, admitted: Admitted, early: bytes) -> int:
        self.opened.append((admitted.identity, early))
        os.close(descriptor)
        return len(self.opened)

    def closed_because(self) -> None:
        """Always open."""

    def on_refused(self, refusal: Refusal) -> None:
        pass

    def on_bad_request(self) -> None:
        self.bad_requests += 1


class Accepted:
    """Stands in for the listener: counts, and takes plain requests."""

    takes_upgrades = True

    def __init__(self) -> None:
        self.left = 0
        self.plain: list[tuple[bytes, bytes]] = []

    def serve_plain(self, descriptor: int, peer: Any, head: bytes, rest: bytes) -> None:
        self.plain.append((head, rest))
        os.close(descriptor)

    def on_left(self) -> None:
        self.left += 1


class House:
    """An entrance that is open, with what stands before and behind it."""

    def __init__(self) -> None:
        self.door = Door()
        self.listener = Accepted()
        self.entrance = Entrance(self.door)
        self.clients: list[socket.socket] = []
        self._greenlet = gevent.spawn(self.entrance.run)

    def arrive(self, *pieces: bytes) -> socket.socket:
        """A client that sends something, in pieces that the loop sees one by one."""
        client, server = socket.socketpair()
        self.clients.append(client)
        accepted = _socket.socket(fileno=server.detach())
        accepted.setblocking(False)
        self.entrance.receive(accepted, ("192.0.2.1", 1), cast(Listener, self.listener))
        for piece in pieces:
            client.sendall(piece)
            gevent.sleep(0.001)
        self.until(lambda: not pieces or not len(self.entrance))
        return client

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run; for long only when it fails."""
        for _ in range(200):
            if condition():
                return
            gevent.sleep(0.001)

    def close(self) -> None:
        self._greenlet.kill()
        for client in self.clients:
            client.close()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def answer(client: socket.socket) -> bytes:
    client.settimeout(SHORT)
    return client.recv(1000)


@pytest.mark.parametrize("cut", [1, 20, len(HANDSHAKE) - 1])
def test_an_admitted_client_goes_through_the_door(house: House, cut: int) -> None:
    house.arrive(HANDSHAKE[:cut], HANDSHAKE[cut:])
    assert house.door.opened == [(Identity("c"), b"")]


def test_what_came_behind_a_handshake_goes_with_it(house: House) -> None:
    house.arrive(HANDSHAKE + b"\x8a\x80")
    assert house.door.opened == [(Identity("c"), b"\x8a\x80")]


def test_a_plain_request_goes_to_the_listeners_server(house: House) -> None:
    house.arrive(PLAIN + b"rest")
    assert house.listener.plain == [(PLAIN, b"rest")]


def test_where_no_upgrades_are_taken_a_handshake_is_a_plain_request(house: House) -> None:
    house.listener.takes_upgrades = False
    house.arrive(HANDSHAKE)
    assert house.listener.plain == [(HANDSHAKE, b"")]


def test_what_is_no_http_is_answered_and_counted(house: House) -> None:
    assert answer(house.arrive(b"EHLO example.org\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert house.door.bad_requests == 1


def test_tls_is_told_at_once_where_to_go(house: House, caplog: pytest.LogCaptureFixture) -> None:
    answer_ = answer(house.arrive(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
    assert answer_.startswith(b"HTTP/1.1 400 ")
    assert "TLS to a port that speaks plain HTTP" in caplog.text


def test_a_defect_costs_one_client_its_connection_and_no_other(house: House) -> None:
    house.door.defect = RuntimeError("a defect")
    assert answer(house.arrive(HANDSHAKE)).startswith(b"HTTP/1.1 500 ")
    house.door.defect = None
    house.arrive(HANDSHAKE)
    assert len(house.door.opened) == 1


def test_a_client_that_leaves_is_forgotten(house: House) -> None:
    client = house.arrive()
    client.close()
    house.until(lambda: not len(house.entrance))
    assert (len(house.entrance), house.listener.left) == (0, 1)


def test_at_the_stop_the_silent_are_dismissed_and_others_heard(house: House) -> None:
    silent, begun = house.arrive(), house.arrive()
    begun.sendall(HANDSHAKE[:10])
    gevent.sleep(0.01)
    house.entrance.dismiss_silent()
    assert answer(silent) == b""
    begun.sendall(HANDSHAKE[10:])
    house.until(lambda: bool(house.door.opened))
    assert len(house.door.opened) == 1


@pytest.mark.parametrize(
    "pieces", [(HANDSHAKE,), (PLAIN,), (b"x\r\n\r\n",)], ids=["handshake", "plain", "bad"]
)
def test_the_listener_hears_once_of_each_that_has_arrived(
    house: House, pieces: tuple[bytes, ...]
) -> None:
    house.arrive(*pieces)
    assert house.listener.left == 1
