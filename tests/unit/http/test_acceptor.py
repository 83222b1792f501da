# SPDX-License-Identifier: Apache-2.0
"""A listening socket: how many requests may be pending, and what happens without descriptors."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from testbed.servers import DEADLINE
from wsgi_ws.http import acceptor as module
from wsgi_ws.http.acceptor import BUSY, UNSENT_BYTES, Acceptor, accept
from wsgi_ws.http.pending_request import Endpoint, PendingRequest

HEAD = b"GET / HTTP/1.1\r\n\r\n"
ENDPOINT = Endpoint(takes_upgrades=True, environ={})


class Listening:
    """An acceptor on a loopback port, and the complete requests that it has handed on."""

    def __init__(
        self, *, capacity: int = 10, request_timeout: float = 60.0, endpoint: Endpoint = ENDPOINT
    ) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self._address = sock.getsockname()
        self.complete: list[PendingRequest] = []
        self._clients: list[socket.socket] = []
        self.acceptor = Acceptor(
            sock,
            endpoint,
            self.complete.append,
            request_timeout=request_timeout,
            max_head_bytes=8192,
            capacity=capacity,
            is_shared=False,
        )
        self.acceptor.start()

    def connect(self, data: bytes = b"") -> gevent.socket.socket:
        """A client that may block: only its greenlet waits."""
        client = gevent.socket.create_connection(self._address, timeout=DEADLINE)
        self._clients.append(client)
        client.sendall(data)
        return client

    def connect_without_reading(self) -> None:
        """A client whose kernel takes little that nobody reads."""
        client = gevent.socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(self._address)
        self._clients.append(client)
        client.sendall(HEAD)

    def close(self) -> None:
        self.acceptor.close()
        for pending in self.complete:
            pending.close()
        for client in self._clients:
            client.close()
        until(lambda: not len(self.acceptor))


@pytest.fixture
def listen() -> Iterator[Callable[..., Listening]]:
    made: list[Listening] = []

    def listen(**options: Any) -> Listening:
        made.append(Listening(**options))
        return made[-1]

    yield listen
    for listening in made:
        listening.close()


def until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.001)


Listen = Callable[..., Listening]


def test_a_complete_request_is_handed_on_and_pending_until_it_is_served(listen: Listen) -> None:
    listening = listen()
    listening.connect(HEAD)
    until(lambda: bool(listening.complete))
    (pending,) = listening.complete
    assert (pending.head_and_rest(), pending.endpoint) == ((HEAD, b""), ENDPOINT)
    assert len(listening.acceptor) == 1
    pending.close()
    assert len(listening.acceptor) == 0


def test_the_kernel_holds_little_for_a_client_that_does_not_read(listen: Listen) -> None:
    listening = listen()
    listening.connect_without_reading()
    until(lambda: bool(listening.complete))
    accepted = listening.complete[0].hand_over(contextlib.closing)
    taken = 0
    with accepted as sock, contextlib.suppress(BlockingIOError):
        while taken < 64 * UNSENT_BYTES:
            taken += sock.send(bytes(4096))
    assert taken <= 2 * UNSENT_BYTES


def test_a_client_that_leaves_is_forgotten(listen: Listen) -> None:
    listening = listen()
    client = listening.connect()
    until(lambda: len(listening.acceptor) == 1)
    client.close()
    until(lambda: len(listening.acceptor) == 0)


def test_beyond_the_capacity_a_client_waits_for_one_before_it(listen: Listen) -> None:
    listening = listen(capacity=2)
    for _ in range(3):
        listening.connect(HEAD)
    until(lambda: len(listening.complete) == 2)
    gevent.sleep(0.05)
    assert len(listening.complete) == 2
    listening.complete[0].close()
    until(lambda: len(listening.complete) == 3)


def test_a_request_that_is_not_complete_in_time_is_told_so(listen: Listen) -> None:
    client = listen(request_timeout=0.05).connect(HEAD[:5])
    assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_says_nothing_in_time_is_closed(listen: Listen) -> None:
    assert listen(request_timeout=0.05).connect().recv(100) == b""


def test_at_the_stop_the_silent_are_dismissed_and_others_heard(listen: Listen) -> None:
    listening = listen()
    silent, begun = listening.connect(), listening.connect(HEAD[:10])
    until(lambda: len(listening.acceptor) == 2)
    gevent.sleep(0.01)
    listening.acceptor.close()
    listening.acceptor.dismiss_silent()
    assert silent.recv(100) == b""
    begun.sendall(HEAD[10:])
    until(lambda: bool(listening.complete))


# --- errors --------------------------------------------------------------------------------------


class Failing:
    """`accept` fails; a client that is turned away is accepted all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.failing = True
        self._number = number
        monkeypatch.setattr(module, "accept", self._accept)
        self._turning_away = False
        self.failures = 0

    def _accept(self, listening: _socket.socket) -> tuple[_socket.socket, Any] | None:
        if self.failing and not self._turning_away:
            self._turning_away = self._number == errno.EMFILE
            self.failures += 1
            raise OSError(self._number, os.strerror(self._number))
        self._turning_away = False
        return accept(listening)


def test_without_descriptors_a_client_is_turned_away_and_later_ones_are_accepted(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = Failing(monkeypatch, errno.EMFILE)
    listening = listen()
    for _ in range(2):
        assert listening.connect(HEAD).recv(1000) == BUSY
    assert caplog.messages == ["Too many open files: new connections get 503 until some end"]
    trouble.failing = False
    listening.connect(HEAD)
    until(lambda: bool(listening.complete))


def test_a_client_whose_descriptor_would_be_of_the_reserve_is_turned_away(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    listening = listen(endpoint=ENDPOINT._replace(ceiling=0))
    for _ in range(2):
        client = listening.connect(HEAD)
        assert client.recv(1000) == BUSY
        assert client.recv(1000) == b""
    (message,) = caplog.messages
    assert "the rest is kept for Redis, logs and metrics" in message


def test_a_client_that_is_turned_away_and_says_nothing_holds_up_nobody(listen: Listen) -> None:
    listening = listen(endpoint=ENDPOINT._replace(ceiling=0))
    silent = [listening.connect() for _ in range(3)]
    assert listening.connect(HEAD).recv(1000) == BUSY
    assert len(silent) == 3


def test_when_nobody_is_there_to_be_turned_away_the_spare_descriptor_stays(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another worker was faster."""
    listening = listen()
    results: list[Any] = [OSError(errno.EMFILE, "none"), None]

    def failing(_: Any) -> Any:
        result = results.pop(0) if results else None
        if isinstance(result, OSError):
            raise result
        return result

    monkeypatch.setattr(module, "accept", failing)
    listening.connect(HEAD)
    until(lambda: not results)
    assert not listening.acceptor._spare.closed


def test_after_any_other_error_it_goes_on_with_a_pause(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    trouble = Failing(monkeypatch, errno.ENOBUFS)
    listening = listen()
    listening.connect(HEAD)
    gevent.sleep(0.05)
    assert trouble.failures < 10
    assert caplog.messages == ["connections can't be accepted: No buffer space available"]
    trouble.failing = False
    until(lambda: bool(listening.complete))


# --- the hold on a private part ------------------------------------------------------------------


def test_cpythons_socket_still_has_the_private_accept() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        listening = _socket.socket(fileno=os.dup(server.fileno()))
        listening.setblocking(False)
        accepted, peer = accept(listening) or pytest.fail("nothing was accepted")
        assert peer == client.getsockname()
        assert accept(listening) is None
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        accepted.close()
        listening.close()
