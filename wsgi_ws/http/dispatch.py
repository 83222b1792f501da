# SPDX-License-Identifier: Apache-2.0
"""Complete requests, each sent where it belongs: handshakes are answered here, plain HTTP goes on.

An opening handshake gets the 101 or a refusal; the WSGI server answers the rest. One greenlet
serves all, in turn, and gives way to the loop by time: a storm of clients that come back costs a
third less than with a greenlet for each, and delays an event by a slice at most.

Those who come at once are served in stages: the heads of all are read, then all are decided about,
then all are taken over, then all get their 101, and so on. Each stage's code stays in the
processor's caches, which the next one's code would push out; a write to a socket empties them: it
is the kernel that then runs, and its way to the reader is long. And the first 101 wakes the
clients' machine, or process, for all of them.
"""

from __future__ import annotations

import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from gevent.event import Event

from wsgi_ws.http import origin
from wsgi_ws.http.handshake import (
    Admission,
    Admitted,
    has_lost_its_upgrade,
    lost_upgrade,
    wants_upgrade,
)
from wsgi_ws.http.pending_request import PendingRequest
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import RETRY_LATER, Refusal
from wsgi_ws.http.request import BadHead, Request, check_protocol, origin_form
from wsgi_ws.loop import SLICE, give_way
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_lines import (
    HandshakeLine,
    RefusalLine,
    abbreviated,
    and_more,
    printable,
)
from wsgi_ws.transport import Transport

log = logging.getLogger(__name__)

# Seconds for reading heads before decisions are made. To read one takes a third of the time that a
# decision takes, so those that are read in this time can be decided about in the rest.
READING_TIME = SLICE / 8

FIRST = 4  # clients served together while it is not known how long that takes

Subject = TypeVar("Subject")


class Owner(Protocol):
    """Decides about handshakes, takes admitted clients over, and hears of the others."""

    @property
    def admission(self) -> Admission: ...

    def why_closed(self, transport: Transport | None) -> Refusal | None:
        """What to tell whoever comes at present; None when clients are admitted.

        :param transport: None: whatever a client wants.
        """

    def check_room(self, admitted: Admitted) -> None:
        """
        :raises Refusal: there is no place for one more.
        """

    @property
    def log_limiter(self) -> LogLimiter:
        """Shared by all connections: a broken client that asks again and again fills no disk."""

    @property
    def access_log(self) -> AccessLog: ...

    def take_over(self, sock: RawSocket, admitted: Admitted, early: bytes) -> Newcomer:
        """Take over an admitted client: it has its place, and waits for the 101.

        :param sock: not blocking; closed here when this raises.
        :param early: bytes that have already arrived behind the request.
        """

    def on_refused(self, refusal: Refusal) -> None:
        """Hear of a refusal."""

    def on_bad_request(self) -> None:
        """Hear of a request that was no HTTP."""


class Newcomer(Protocol):
    """A client that has been taken over."""

    @property
    def number(self) -> int:
        """Its socket's."""

    def answer(self) -> None:
        """Send it the 101. Never raises."""

    def welcome(self) -> None:
        """Give it what it is due behind the 101. Its socket is closed when this raises."""


class _Read(NamedTuple):
    """A request whose head has been read.

    :ivar rest: what came behind the head.
    """

    pending: PendingRequest
    request: Request
    head: bytes
    rest: bytes


class _Handshake(NamedTuple):
    """One that is to be answered with the 101."""

    pending: PendingRequest
    request: Request
    admitted: Admitted
    early: bytes


class Dispatcher:
    """The complete requests of one worker; `run` in a greenlet serves them until killed."""

    def __init__(self, owner: Owner, plain: PlainServer, max_head_bytes: int) -> None:
        """:param max_head_bytes: how long a head may be."""
        self._owner = owner
        self._max_head_bytes = max_head_bytes
        self._plain = plain
        self._lines = HandshakeLog(owner)
        self._waiting: deque[PendingRequest] = deque()
        self._read: deque[_Read] = deque()  # not decided about yet
        self._admitted: list[_Handshake] = []  # decided about, not taken over yet
        self._at_once = FIRST  # clients to serve together
        self._some = Event()

    def put(self, pending: PendingRequest) -> None:
        """Take a request whose head is complete. Never blocks."""
        self._waiting.append(pending)
        self._some.set()

    def run(self) -> None:
        """Serve requests in the order in which they were complete."""
        while True:
            self._some.wait()
            self._some.clear()
            self._at_once = FIRST
            while self._waiting or self._read:
                self._serve_some()
                give_way()

    def _serve_some(self) -> None:
        """Serve those who are there, as many as can be decided about in half a slice, and as take
        no longer than a slice to be welcomed, judged by those before."""
        begin = time.monotonic()
        if not self._read:
            self._read_some(begin + READING_TIME)
        while self._read:
            read = self._read.popleft()
            self._attempt(self._hand_on, read, read.pending)
            if time.monotonic() >= begin + SLICE / 2 or len(self._admitted) >= self._at_once:
                break
        if self._admitted:
            self._open_in_time()

    def _read_some(self, end: float) -> None:
        """Read heads until a time of `time.monotonic`, one at least."""
        while self._waiting:
            pending = self._waiting.popleft()
            self._attempt(self._read_head, pending, pending)
            if time.monotonic() >= end:
                break

    def _attempt(
        self, step: Callable[[Subject], None], subject: Subject, pending: PendingRequest
    ) -> None:
        """A defect here must not be a way to end the worker: it costs one client its connection."""
        try:
            try:
                step(subject)
            except BadHead as error:
                self._owner.on_bad_request()
                self._lines.bad_request(_host_of(pending.peer), error)
                pending.reject(error.status, str(error))
        except Exception:
            self._end_with_defect(pending)

    def _end_with_defect(self, pending: PendingRequest) -> None:
        """What has been handed over is its new owner's, and gets no answer here."""
        self._note_defect()
        pending.reject("500 Internal Server Error", "see the server's log")

    def _note_defect(self) -> None:
        self._owner.log_limiter.write(
            log.exception, "defect", time.monotonic(), "a request could not be served"
        )

    def _read_head(self, pending: PendingRequest) -> None:
        head, rest = pending.head_and_rest()
        check_protocol(head + rest)
        head = origin_form(head)
        request = Request(head, _host_of(pending.peer), self._max_head_bytes)
        self._read.append(_Read(pending, request, head, rest))

    def _hand_on(self, read: _Read) -> None:
        pending, request, head, rest = read
        if pending.endpoint.takes_upgrades:
            if wants_upgrade(request.environ):
                self._decide(pending, request, rest)
                return
            if has_lost_its_upgrade(request.environ):
                self._refuse(pending, request, lost_upgrade())
                return
        _check_body(request)
        if self._plain.is_full:  # to wait for a place would hold up every handshake behind this
            pending.reject("503 Service Unavailable", "too many open requests", RETRY_LATER)
            return
        pending.hand_over(
            lambda sock: self._plain.serve(
                sock, pending.peer, head + rest, pending.endpoint.environ
            )
        )

    def _decide(self, pending: PendingRequest, request: Request, early: bytes) -> None:
        owner = self._owner
        try:
            admitted = owner.admission.decide(request.environ, time.time(), owner.why_closed)
        except Refusal as refusal:
            self._refuse(pending, request, refusal)
        else:
            self._admitted.append(_Handshake(pending, request, admitted, early))

    def _open_in_time(self) -> None:
        """What a welcome costs is not known before: a client may get no event, or a thousand. So
        there are twice as many clients next time if these took less than a slice, or half."""
        begin, count = time.monotonic(), len(self._admitted)
        self._open_all()
        in_time = time.monotonic() - begin < SLICE
        self._at_once = 2 * count if in_time else max(1, count // 2)

    def _open_all(self) -> None:
        """Open the sockets of those who are admitted. Nothing else runs meanwhile: who is taken
        over gets no event and no ping before its 101."""
        handshakes, self._admitted = self._admitted, []
        taken: list[tuple[_Handshake, Newcomer]] = []
        for handshake in handshakes:
            try:
                newcomer = self._take_over(handshake)
            except Exception:
                self._end_with_defect(handshake.pending)
            else:
                if newcomer is not None:
                    taken.append((handshake, newcomer))
        for _, newcomer in taken:
            newcomer.answer()
        for handshake, newcomer in taken:
            try:
                newcomer.welcome()
                self._lines.admitted(handshake, newcomer.number)
            except Exception:
                self._note_defect()

    def _take_over(self, handshake: _Handshake) -> Newcomer | None:
        """The client, or None: there is no place for it, and it has been told."""
        pending, request, admitted, early = handshake
        try:
            self._owner.check_room(admitted)
        except Refusal as refusal:
            self._refuse(pending, request, refusal)
            return None
        return pending.hand_over(lambda sock: self._owner.take_over(sock, admitted, early))

    def _refuse(self, pending: PendingRequest, request: Request, refusal: Refusal) -> None:
        self._owner.on_refused(refusal)
        self._lines.refused(pending, request, refusal)
        headers = refusal.kind.headers
        if request.id:
            headers += (("X-Request-ID", request.id),)
        pending.reject(refusal.kind.status, refusal.advice, headers)


class HandshakeLog:
    """The lines about handshakes: each one's access line, and now and then why one was refused."""

    def __init__(self, owner: Owner) -> None:
        self._access_log = owner.access_log
        self._limiter = owner.log_limiter
        self._trusted_proxies = owner.admission.trusted_proxies

    def admitted(self, handshake: _Handshake, number: int) -> None:
        """Write the access line of a client that has its WebSocket, by its socket's number."""
        if self._access_log.wanted:
            pending, request, admitted, _ = handshake
            channel = abbreviated(admitted.identity.channel)
            self._access(pending, request, 101, channel=channel, socket=number)

    def refused(self, pending: PendingRequest, request: Request, refusal: Refusal) -> None:
        """Write the access line, and now and then a warning that says what to do."""
        if self._access_log.wanted:
            status = int(refusal.kind.status[:3])
            self._access(pending, request, status, reason=refusal.reason)
        held_back = self._limiter.admit(refusal.alike, time.monotonic())
        if held_back is not None:
            line = RefusalLine(
                address=self._client_of(request),
                reason=refusal.reason,
                problem=printable(str(refusal), 400),
                remedy=refusal.remedy,
                held_back=held_back,
                request_id=request.id,
            )
            log.warning(line)

    def bad_request(self, peer: str | None, error: BadHead) -> None:
        """Invalid HTTP is the client's fault: one line, no traceback."""
        held_back = self._limiter.admit(f"bad_request {error.kind}", time.monotonic())
        if held_back is not None:
            address, problem = origin.client_address(peer, "", ()), printable(str(error), 400)
            log.warning("bad request from %s: %s%s", address, problem, and_more(held_back))

    def _access(self, pending: PendingRequest, request: Request, status: int, **who: Any) -> None:
        line = HandshakeLine(
            address=self._client_of(request),
            path=_shown_path(request),
            status=status,
            duration_ms=round((time.monotonic() - pending.complete_at) * 1000, 2),
            request_id=request.id,
            **who,
        )
        self._access_log.write(line)

    def _client_of(self, request: Request) -> str:
        """The address behind trusted proxies."""
        forwarded_for = request.environ.get("HTTP_X_FORWARDED_FOR", "")
        return origin.client_address(request.peer, forwarded_for, self._trusted_proxies)


def _check_body(request: Request) -> None:
    """Nothing here takes a body. One that is sent all the same is read, if that is simple.

    :raises BadHead: when it isn't.
    """
    if "HTTP_TRANSFER_ENCODING" in request.environ:
        raise BadHead("a body must have a Content-Length", "411 Length Required", kind="body")
    if request.method == "HEAD" and int(request.environ.get("CONTENT_LENGTH", "0")):
        raise BadHead("HEAD with a body", kind="body")


def _shown_path(request: Request) -> str:
    """The path, and what a page asks for by its name only: the rest of a query may be a secret."""
    query = request.environ["QUERY_STRING"]
    if not query:
        return printable(request.environ["PATH_INFO"])
    marks = "&".join(f"{name}=…" for name in ("last_id", "tab_id") if f"{name}=" in query)
    return printable(request.path) + (marks and f"?{marks}")


def _host_of(peer: Any) -> str | None:
    """The address of a peer as `accept` tells it; what is not a tuple is a Unix socket's."""
    return str(peer[0]) if isinstance(peer, tuple) else None
