# SPDX-License-Identifier: Apache-2.0
"""Everybody's way in: reads each request's head and sends it where it belongs.

An opening handshake is answered here with the 101 or a refusal; plain HTTP goes on to the WSGI
server. One greenlet serves all, in turn, and gives way to the loop by time: a storm of clients that
come back costs a third less than with a greenlet for each, and delays an event by a slice at most.
"""

from __future__ import annotations

import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from typing import Any, Protocol

from gevent.event import Event

from wsgi_ws.http import origin
from wsgi_ws.http.acceptor import Listener
from wsgi_ws.http.handshake import (
    Admission,
    Admitted,
    has_lost_its_upgrade,
    lost_upgrade,
    wants_upgrade,
)
from wsgi_ws.http.pending_request import Arrival
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.http.request import BadHead, Request
from wsgi_ws.loop import give_way
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_lines import (
    HandshakeLine,
    RefusalLine,
    abbreviated,
    and_more,
    printable,
)

log = logging.getLogger(__name__)


class Door(Protocol):
    """What stands behind the entrance."""

    @property
    def loop(self) -> Any:
        """gevent's event loop."""

    @property
    def admission(self) -> Admission: ...

    def closed_because(self) -> str | None:
        """Why nobody is admitted at present; None when clients are."""

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole head."""

    @property
    def log_limiter(self) -> LogLimiter:
        """Shared by all connections: a broken client that asks again and again fills no disk."""

    @property
    def access_log(self) -> AccessLog: ...

    def on_open(self, descriptor: int, admitted: Admitted, early: bytes) -> int:
        """Take over an admitted client: descriptor, who it is, and the bytes that have already
        arrived behind the request. Sends the 101. Returns the socket's number."""

    def on_refused(self, refusal: Refusal) -> None:
        """Hear of a refusal."""

    def on_bad_request(self) -> None:
        """Hear of a request that was no HTTP."""


class Entrance:
    """The arrivals of one worker; `run` in a greenlet serves them until killed."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._arrivals: set[Arrival] = set()
        self._complete: deque[Arrival] = deque()
        self._some = Event()

    def __len__(self) -> int:
        """Connections whose request has not been read or answered."""
        return len(self._arrivals)

    def receive(self, sock: RawSocket, peer: Any, listener: Listener) -> None:
        """Take over a connection that has just been accepted, not blocking."""
        self._arrivals.add(Arrival(self, sock, peer, listener))

    def dismiss_silent(self) -> None:
        """Close the connections that have not said anything yet."""
        for arrival in [each for each in self._arrivals if each.silent]:
            arrival.close()

    def run(self) -> None:
        """Serve requests in the order in which they were complete."""
        while True:
            self._some.wait()
            self._some.clear()
            while self._complete:
                self._serve(self._complete.popleft())
                give_way()

    # --- told by arrivals, on the loop -----------------------------------------------------------

    @property
    def loop(self) -> Any:
        """gevent's event loop."""
        return self._door.loop

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole head."""
        return self._door.request_timeout

    def on_head(self, arrival: Arrival) -> None:
        """Put it at the end of the queue."""
        self._complete.append(arrival)
        self._some.set()

    def on_late(self, arrival: Arrival) -> None:
        """A client may not hold a descriptor by dripping bytes, or none."""
        if arrival.silent:
            arrival.close()
        else:
            arrival.answer(_http_error("408 Request Timeout", "the request took too long"))

    def on_left(self, arrival: Arrival) -> None:
        """Forget it."""
        self._arrivals.discard(arrival)
        arrival.listener.on_left()

    # --- served in turn --------------------------------------------------------------------------

    def _serve(self, arrival: Arrival) -> None:
        """A defect here must not be a way to end the worker: it costs one client its connection."""
        try:
            self._direct(arrival)
        except Exception:
            log.exception("a request could not be served")
            arrival.answer(_http_error("500 Internal Server Error", "see the server's log"))

    def _direct(self, arrival: Arrival) -> None:
        head, rest = arrival.head_and_rest()
        try:
            request = Request(head, _host_of(arrival.peer))
        except BadHead as error:
            self._reject_bad(arrival, error)
            return
        if arrival.listener.takes_upgrades:
            if wants_upgrade(request.environ):
                self._handshake(arrival, request, rest)
                return
            if has_lost_its_upgrade(request.environ):
                self._refuse(arrival, request, lost_upgrade())
                return
        arrival.listener.serve_plain(arrival.take_over(), arrival.peer, head, rest)

    def _handshake(self, arrival: Arrival, request: Request, early: bytes) -> None:
        try:
            admitted = self._door.admission.decide(
                request.environ, time.time(), self._door.closed_because()
            )
        except Refusal as refusal:
            self._refuse(arrival, request, refusal)
            return
        number = self._door.on_open(arrival.take_over(), admitted, early)
        if self._door.access_log.wanted:
            channel = abbreviated(admitted.identity.channel)
            self._log_access(arrival, request, 101, channel=channel, socket=number)

    def _refuse(self, arrival: Arrival, request: Request, refusal: Refusal) -> None:
        self._door.on_refused(refusal)
        self._log_refusal(arrival, request, refusal)
        headers = refusal.kind.headers
        if request.id:
            headers += (("X-Request-ID", request.id),)
        arrival.answer(_http_error(refusal.kind.status, refusal.advice, headers))

    def _log_refusal(self, arrival: Arrival, request: Request, refusal: Refusal) -> None:
        """The access line, and now and then a warning that says what to do."""
        if self._door.access_log.wanted:
            status = int(refusal.kind.status[:3])
            self._log_access(arrival, request, status, reason=refusal.reason)
        held_back = self._door.log_limiter.admit(refusal.reason, time.monotonic())
        if held_back is not None:
            line = RefusalLine(
                address=self._client_of(request),
                reason=refusal.reason,
                problem=printable(str(refusal), 400),
                remedy=refusal.kind.remedy,
                held_back=held_back,
                request_id=request.id,
            )
            log.warning(line)

    def _log_access(self, arrival: Arrival, request: Request, status: int, **who: Any) -> None:
        line = HandshakeLine(
            address=self._client_of(request),
            path=_shown_path(request),
            status=status,
            duration_ms=round((time.monotonic() - arrival.complete_at) * 1000, 2),
            request_id=request.id,
            **who,
        )
        self._door.access_log.write(line)

    def _client_of(self, request: Request) -> str:
        """The address behind trusted proxies."""
        forwarded_for = request.environ.get("HTTP_X_FORWARDED_FOR", "")
        trusted_proxies = self._door.admission.trusted_proxies
        return origin.client_address(request.peer, forwarded_for, trusted_proxies)

    def _reject_bad(self, arrival: Arrival, error: BadHead) -> None:
        """Invalid HTTP is the client's fault: one line, no traceback."""
        self._door.on_bad_request()
        held_back = self._door.log_limiter.admit("bad_request", time.monotonic())
        if held_back is not None:
            peer = origin.client_address(_host_of(arrival.peer), "", ())
            log.warning(
                "bad request from %s: %s%s", peer, printable(str(error)), and_more(held_back)
            )
        arrival.answer(_http_error(error.status, str(error)))


def _shown_path(request: Request) -> str:
    """The path, and that there is a `last_id`: whatever else is in a query may be a secret."""
    mark = "?last_id=…" if "last_id=" in request.environ["QUERY_STRING"] else ""
    return printable(request.path) + mark


def _host_of(peer: Any) -> str | None:
    return str(peer[0]) if isinstance(peer, tuple) else None


def _http_error(status: str, text: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole answer, after which the connection is closed."""
    body = f"{status}: {text}\n".encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{fields}\r\n"
    )
    return head.encode("latin-1", "replace") + body
