# SPDX-License-Identifier: Apache-2.0
"""From a complete request to whoever serves it, on a real event loop and real sockets."""

from __future__ import annotations

import _socket
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple, cast

import gevent
import pytest

from wsgi_ws.http import dispatch
from wsgi_ws.http.auth.claims import Identity
from wsgi_ws.http.dispatch import Dispatcher
from wsgi_ws.http.handshake import Admission, Admitted, check_request
from wsgi_ws.http.pending_request import Endpoint, PendingRequest
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.loop import SLICE
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.transport import Transport

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
PLAIN = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
EVERYTHING = Endpoint(takes_upgrades=True, environ={})
ANYBODY = Identity(Transport.STREAMS, "c")
METRICS_ONLY = Endpoint(takes_upgrades=False, environ={"only": "metrics"})


class BrokenLog(AccessLog):
    wanted = True

    def write(self, line: object) -> None:
        raise OSError("no space left on device")


class Newcomer(NamedTuple):
    owner: Owner
    number: int

    def answer(self) -> None:
        self.owner.steps.append("answered")

    def welcome(self) -> None:
        if self.number in self.owner.unwelcome:
            raise RuntimeError("a defect")
        time.sleep(self.owner.welcome_takes)
        self.owner.steps.append("welcomed")


class Owner:
    """Admits everybody, unless it is told to fail."""

    trusted_proxies = ()

    def __init__(self) -> None:
        self.log_limiter = LogLimiter(0.0)
        self.access_log = AccessLog()  # never written: it doesn't run
        self.admission = cast(Admission, self)
        self.opened: list[tuple[Identity, bytes]] = []
        self.kept: list[_socket.socket] = []
        self.bad_requests = 0
        self.defect: Exception | None = None
        self.unwelcome: set[int] = set()  # whose welcome fails, by their numbers
        self.welcome_takes = 0.0  # seconds
        self.capacity = 1000
        self.places = 0
        self.steps: list[str] = []

    def decide(self, environ: Mapping[str, Any], now: float, why_closed: object) -> Admitted:
        if self.defect:
            raise self.defect
        return Admitted(ANYBODY, check_request(environ), last_id=None, tab_id=None)

    def take_over(self, sock: _socket.socket, admitted: Admitted, early: bytes) -> Newcomer:
        self.opened.append((admitted.identity, early))
        self.kept.append(sock)
        self.places += 1
        self.steps.append("taken over")
        return Newcomer(self, len(self.opened))

    def why_closed(self, transport: Transport | None) -> None:
        """Always open."""

    def check_room(self, admitted: Admitted) -> None:
        if self.places >= self.capacity:
            raise Refusal("limit", "no place")

    def on_refused(self, refusal: Refusal) -> None:
        pass

    def on_bad_request(self) -> None:
        self.bad_requests += 1


class Plain:
    """Takes plain requests and leaves them without an answer."""

    is_full = False

    def __init__(self) -> None:
        self.served: list[tuple[bytes, Mapping[str, Any]]] = []
        self.kept: list[_socket.socket] = []

    def serve(
        self, sock: _socket.socket, peer: Any, read: bytes, environ: Mapping[str, Any]
    ) -> None:
        self.served.append((read, environ))
        self.kept.append(sock)


class Bench:
    """A dispatcher that runs, with what is before and behind it."""

    request_timeout = 60.0
    max_head_bytes = 8192

    def __init__(self) -> None:
        self.loop = gevent.get_hub().loop
        # The loop's clock stood still while other tests held its thread, so that a timer
        # of a minute could be due at once.
        self.loop.update_now()
        self.owner = Owner()
        self.plain = Plain()
        self.pending = 0
        self.clients: list[socket.socket] = []
        self._dispatcher: Dispatcher | None = None
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def ask(self, *pieces: bytes, endpoint: Endpoint = EVERYTHING) -> socket.socket:
        """A client that sends something, in pieces that the loop sees one by one."""
        client, pending = self._connect(endpoint)
        pending.begin()
        for piece in pieces:
            client.sendall(piece)
            gevent.sleep(0.001)
        self.until(lambda: not self.pending)
        return client

    def ask_together(self, *requests: bytes) -> list[socket.socket]:
        """Clients whose requests are complete before the first is served."""
        connected = [self._connect(EVERYTHING) for _ in requests]
        for (client, pending), request in zip(connected, requests, strict=True):
            client.sendall(request)
            pending.begin()
        self.until(lambda: not self.pending)
        return [client for client, _ in connected]

    def _connect(self, endpoint: Endpoint) -> tuple[socket.socket, PendingRequest]:
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(self.owner, cast(PlainServer, self.plain), 8192)
            self._greenlet = gevent.spawn(self._dispatcher.run)
        client, server = socket.socketpair()
        self.clients.append(client)
        accepted = _socket.socket(fileno=server.detach())
        accepted.setblocking(False)
        self.pending += 1
        return client, PendingRequest(self, accepted, ("192.0.2.1", 1), endpoint)

    def on_head(self, pending: PendingRequest) -> None:
        assert self._dispatcher is not None
        self._dispatcher.put(pending)

    def on_late(self, pending: PendingRequest) -> None:
        pending.close()

    def on_left(self, pending: PendingRequest) -> None:
        self.pending -= 1

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run; for long only when it fails."""
        for _ in range(200):
            if condition():
                return
            gevent.sleep(0.001)

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
        for sock in [*self.clients, *self.owner.kept, *self.plain.kept]:
            sock.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def answer(client: socket.socket) -> bytes:
    """What has come; empty when the other end is closed."""
    client.settimeout(1.0)
    return client.recv(1000)


# --- where a request goes ------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 20, len(HANDSHAKE) - 1])
def test_an_admitted_client_goes_to_the_owner(bench: Bench, cut: int) -> None:
    bench.ask(HANDSHAKE[:cut], HANDSHAKE[cut:])
    assert bench.owner.opened == [(ANYBODY, b"")]


def test_what_came_behind_a_handshake_goes_with_it(bench: Bench) -> None:
    bench.ask(HANDSHAKE + b"\x8a\x80")
    assert bench.owner.opened == [(ANYBODY, b"\x8a\x80")]


def test_a_plain_request_goes_to_the_wsgi_server(bench: Bench) -> None:
    bench.ask(PLAIN + b"rest")
    assert bench.plain.served == [(PLAIN + b"rest", {})]


def test_a_plain_request_that_would_have_to_wait_is_told_to_come_back(bench: Bench) -> None:
    bench.plain.is_full = True
    told = answer(bench.ask(PLAIN))
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in told
    assert bench.plain.served == []


def test_where_no_upgrades_are_taken_a_handshake_is_a_plain_request(bench: Bench) -> None:
    bench.ask(HANDSHAKE, endpoint=METRICS_ONLY)
    assert bench.plain.served == [(HANDSHAKE, {"only": "metrics"})]


def test_what_is_no_http_is_answered_and_counted(bench: Bench) -> None:
    assert answer(bench.ask(b"EHLO example.org\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert bench.owner.bad_requests == 1


def test_tls_is_told_at_once_where_to_go(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    answer_ = answer(bench.ask(TLS))
    assert answer_.startswith(b"HTTP/1.1 400 ")
    assert "TLS to a port that speaks plain HTTP" in caplog.text


@pytest.mark.parametrize(
    "begin", [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]
)
def test_the_proxy_protocol_is_named_with_what_to_do(
    bench: Bench, caplog: pytest.LogCaptureFixture, begin: bytes
) -> None:
    assert answer(bench.ask(begin + HANDSHAKE)).startswith(b"HTTP/1.1 400 ")
    assert "switch it off there (HAProxy: send-proxy" in caplog.text


def test_a_probe_that_speaks_tls_hides_no_other_bad_request(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.owner.log_limiter = LogLimiter(60.0)
    long_head = HANDSHAKE[:-2] + b"X: " + b"x" * 9000 + b"\r\n\r\n"
    for request in (TLS, TLS, long_head, long_head, b"EHLO example.org\r\n\r\n"):
        answer(bench.ask(request))
    problems = [message.partition(": ")[2][:9] for message in caplog.messages]
    assert problems == ["TLS to a ", "more than", "not HTTP/"]


# --- many at once --------------------------------------------------------------------------------


@pytest.fixture
def _time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is just now."""
    monkeypatch.setattr(dispatch, "READING_TIME", 60.0)
    monkeypatch.setattr(dispatch, "SLICE", 60.0)


@pytest.mark.usefixtures("_time_for_all")
def test_clients_that_come_at_once_are_served_in_stages(bench: Bench) -> None:
    bench.ask_together(HANDSHAKE, HANDSHAKE)
    assert bench.owner.steps == [*["taken over"] * 2, *["answered"] * 2, *["welcomed"] * 2]


def test_clients_that_come_at_once_are_served_in_their_order(bench: Bench) -> None:
    bench.ask_together(*(HANDSHAKE + bytes([number]) for number in range(5)))
    assert [early for _, early in bench.owner.opened] == [bytes([n]) for n in range(5)]


@pytest.mark.usefixtures("_time_for_all")
def test_a_malformed_head_harms_nobody_who_comes_at_once_with_it(bench: Bench) -> None:
    _, malformed, _ = bench.ask_together(HANDSHAKE, TLS, HANDSHAKE)
    assert answer(malformed).startswith(b"HTTP/1.1 400 ")
    assert bench.owner.steps == [*["taken over"] * 2, *["answered"] * 2, *["welcomed"] * 2]


def test_a_defect_in_reading_a_head_harms_nobody_who_comes_at_once_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "check_protocol", HANDSHAKE.index)
    _, defective, _ = bench.ask_together(HANDSHAKE, HANDSHAKE + b"x", HANDSHAKE)
    assert answer(defective).startswith(b"HTTP/1.1 500 ")
    assert len(bench.owner.opened) == 2


def test_who_has_been_read_is_served_before_more_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "READING_TIME", 0.0)
    bench.ask_together(HANDSHAKE, HANDSHAKE)
    assert bench.owner.steps == ["taken over", "answered", "welcomed"] * 2


def test_clients_that_come_at_once_do_not_share_the_last_place(bench: Bench) -> None:
    bench.owner.capacity = 1
    _, refused = bench.ask_together(HANDSHAKE, HANDSHAKE)
    assert answer(refused).startswith(b"HTTP/1.1 503 ")
    assert bench.owner.places == 1


def test_a_storm_does_not_keep_the_loop_from_its_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SLICE", 0.0)
    bench.ask_together(HANDSHAKE, HANDSHAKE)
    assert bench.owner.steps == ["taken over", "answered", "welcomed"] * 2


def test_clients_whose_welcome_takes_long_are_served_one_by_one_in_the_end(bench: Bench) -> None:
    bench.owner.welcome_takes = 2 * SLICE
    bench.ask_together(*[HANDSHAKE] * 10)
    together = [len([*group]) for step, group in groupby(bench.owner.steps) if step == "taken over"]
    assert (sum(together), max(together[-3:])) == (10, 1)


# --- defects -------------------------------------------------------------------------------------


def test_a_defect_costs_one_client_its_connection_and_no_other(bench: Bench) -> None:
    bench.owner.defect = RuntimeError("a defect")
    assert answer(bench.ask(HANDSHAKE)).startswith(b"HTTP/1.1 500 ")
    bench.owner.defect = None
    bench.ask(HANDSHAKE)
    assert len(bench.owner.opened) == 1


def test_a_defect_that_many_clients_meet_is_one_traceback_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.owner.log_limiter = LogLimiter(60.0)
    bench.owner.defect = RuntimeError("a defect")
    for _ in range(3):
        answer(bench.ask(HANDSHAKE))
    assert caplog.messages == ["a request could not be served"]


def fail(*_: object) -> None:
    raise RuntimeError("a defect")


def test_a_client_that_can_not_be_taken_over_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.owner, "take_over", fail)
    assert answer(bench.ask(HANDSHAKE)) == b""


def test_a_client_for_whom_no_place_can_be_looked_for_is_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.owner, "check_room", fail)
    assert answer(bench.ask(HANDSHAKE)).startswith(b"HTTP/1.1 500 ")
    assert not bench.pending


def test_a_client_that_can_not_be_welcomed_costs_no_other_its_connection(bench: Bench) -> None:
    bench.owner.unwelcome = {1}
    bench.ask_together(HANDSHAKE, HANDSHAKE)
    assert bench.owner.steps[-2:] == ["answered", "welcomed"]


def test_a_plain_request_that_can_not_be_taken_over_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.plain, "serve", fail)
    assert answer(bench.ask(PLAIN)) == b""


def test_after_the_taking_over_a_defect_does_not_reach_the_client(bench: Bench) -> None:
    bench.owner.access_log = BrokenLog()
    client = bench.ask(HANDSHAKE)
    bench.owner.kept[0].send(b"of the owner")
    assert answer(client) == b"of the owner"


# --- requests that are not pending any more ------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [(HANDSHAKE,), (PLAIN,), (b"x\r\n\r\n",)], ids=["handshake", "plain", "bad"]
)
def test_each_request_leaves_once(bench: Bench, pieces: tuple[bytes, ...]) -> None:
    bench.ask(*pieces)
    assert bench.pending == 0
