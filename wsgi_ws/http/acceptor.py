# SPDX-License-Identifier: Apache-2.0
"""A listening socket: accepts connections, waits for their requests, hands complete ones on.

Bounds how many requests are pending; more connections wait in the kernel's queue. The last free
descriptors are for Redis, logs and metrics: then a client is refused politely, and as well when
there is none at all, instead of being left alone.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from _socket import IPPROTO_TCP, SHUT_WR, TCP_NOTSENT_LOWAT
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Callable
from typing import Any, BinaryIO

import gevent

from wsgi_ws.http.pending_request import Endpoint, PendingRequest
from wsgi_ws.loop import READ
from wsgi_ws.observe.log_limiter import LogLimiter

log = logging.getLogger(__name__)

ACCEPT_BURST = 100  # connections accepted in one turn of the loop, where no other process accepts
TURN_AWAY_TIME = 0.05  # seconds: a refused client's time to read, and the pace of refusals
PAUSE = 0.1  # seconds after an error that is not the want of a descriptor
ALIKE_INTERVAL = 60.0  # seconds between two lines about the same trouble
# What the kernel takes for a client beyond what is on its way; the backlog has the rest. Without
# this bound it takes 4 MB (tcp_wmem) for each client that does not read, and every send(), to the
# others too, was seen to cost up to six times as much while the kernel looked for that memory.
UNSENT_BYTES = 2**18
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: 27\r\n\r\n"
    b"too many open connections\r\n"
)


def accept(listening: RawSocket) -> tuple[RawSocket, Any] | None:
    """Take the next connection: its socket, not blocking, and the peer's address; None: no more.

    `_accept` is a private part of CPython, which `socket.accept` and gevent use. They make a gevent
    socket of its descriptor; that costs as much as accepting, and a pending request needs none.

    :raises OSError: when a connection can't be accepted.
    """
    try:
        descriptor, peer = listening._accept()  # type: ignore[attr-defined]  # private: no type
    except BlockingIOError:
        return None
    sock = RawSocket(listening.family, listening.type, listening.proto, descriptor)
    sock.setblocking(False)
    return sock, peer


class Acceptor:
    """Accepts on one listening socket; `len` is the number of requests that are pending."""

    def __init__(
        self,
        sock: Any,
        endpoint: Endpoint,
        dispatch: Callable[[PendingRequest], None],
        *,
        request_timeout: float,
        max_head_bytes: int,
        capacity: int,
        is_shared: bool,
    ) -> None:
        """
        :param sock: listens; this object takes its descriptor over.
        :param dispatch: takes each complete request, and must not block.
        :param request_timeout: seconds for a whole head.
        :param max_head_bytes: how long a head may be.
        :param capacity: requests that may be pending.
        :param is_shared: whether other processes accept on the socket. Then one connection is
            accepted in each turn of the loop, so that each process gets its part.
        """
        self.loop: Any = gevent.get_hub().loop
        self.request_timeout = request_timeout
        self.max_head_bytes = max_head_bytes
        self._sock = RawSocket(fileno=sock.detach())
        self._sock.setblocking(False)
        with contextlib.suppress(OSError):  # a Unix socket, or a sandbox without the option
            # What is accepted inherits it.
            self._sock.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._endpoint = endpoint
        self._dispatch = dispatch
        self._capacity = capacity
        self._burst = 1 if is_shared else ACCEPT_BURST
        self._pending: set[PendingRequest] = set()
        self._watcher: Any = self.loop.io(self._sock.fileno(), READ)
        self._timer: Any = None  # while accepting pauses
        self._limiter = LogLimiter(ALIKE_INTERVAL)
        self._closed = False
        self._spare = _spare_descriptor()

    def __len__(self) -> int:
        return len(self._pending)

    def start(self) -> None:
        """Begin to accept."""
        self._resume()

    def dismiss_silent(self) -> None:
        """Close the connections that have not said anything yet."""
        for pending in [each for each in self._pending if each.silent]:
            pending.close()

    def close(self) -> None:
        """Stop listening. Requests that are pending go on."""
        if not self._closed:
            self._closed = True
            self._watcher.stop()
            self._watcher.close()
            self._sock.close()
            self._spare.close()

    # --- told by pending requests, on the loop ---------------------------------------------------

    def on_head(self, pending: PendingRequest) -> None:
        """Hand it on."""
        self._dispatch(pending)

    def on_late(self, pending: PendingRequest) -> None:
        """A client may not hold a descriptor by dripping bytes, or none."""
        if pending.silent:
            pending.close()
        else:
            pending.reject("408 Request Timeout", "the request took too long")

    def on_left(self, pending: PendingRequest) -> None:
        """Forget it: there is room for another one."""
        self._pending.discard(pending)
        self._resume()

    # --- called by the loop ----------------------------------------------------------------------

    def _on_readable(self) -> None:
        for _ in range(self._burst):
            if len(self._pending) >= self._capacity:
                self._watcher.stop()
                return
            try:
                accepted = accept(self._sock)
            except OSError as error:
                self._on_error(error)
                return
            if accepted is None:
                return
            sock, peer = accepted
            # The kernel gives the lowest number that is free, so this says how many are taken.
            if sock.fileno() >= self._endpoint.ceiling:
                self._log(
                    f"{self._endpoint.ceiling} file descriptors are open, and the rest is kept for "
                    "Redis, logs and metrics: new connections get 503 until some end; raise the "
                    "limit of open files (ulimit -n, LimitNOFILE=)"
                )
                self._turn_away(sock)
                return
            pending = PendingRequest(self, sock, peer, self._endpoint)
            self._pending.add(pending)
            pending.begin()

    def _on_error(self, error: OSError) -> None:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            self._log(f"{error.strerror}: new connections get 503 until some end")
            self._turn_away(self._accept_with_spare())
        else:
            self._log(f"connections can't be accepted: {error.strerror}")
            self._pause(PAUSE, None)

    def _log(self, sentence: str) -> None:
        self._limiter.write(log.error, sentence, time.monotonic(), "%s", sentence)

    def _accept_with_spare(self) -> RawSocket | None:
        """Use the spare descriptor for one client: left alone it would wait for ever."""
        self._spare.close()
        with contextlib.suppress(OSError):
            accepted = accept(self._sock)
            if accepted is not None:
                return accepted[0]
        self._take_spare()  # another process, or another accept of this one, was faster
        return None

    def _take_spare(self) -> None:
        if not self._closed and self._spare.closed:
            with contextlib.suppress(OSError):
                self._spare = _spare_descriptor()

    def _turn_away(self, client: RawSocket | None) -> None:
        """Answer a client that can't be served; for the next one there is a pause."""
        if client is not None:
            with contextlib.suppress(OSError):
                client.send(BUSY)
                client.shutdown(SHUT_WR)
        self._pause(TURN_AWAY_TIME, client)

    def _pause(self, seconds: float, refused: RawSocket | None) -> None:
        self._watcher.stop()
        self._timer = self.loop.timer(seconds)
        self._timer.start(self._go_on, refused)

    def _go_on(self, refused: RawSocket | None) -> None:
        """Accept again, after the refused client has had its time to read."""
        self._timer.close()
        self._timer = None
        if refused is not None:
            with contextlib.suppress(OSError):
                refused.recv(16384)  # closing with unread input would reset the answer away
            refused.close()
        self._take_spare()
        self._resume()

    def _resume(self) -> None:
        is_full = len(self._pending) >= self._capacity
        if not (self._closed or is_full or self._timer or self._watcher.active):
            self._watcher.start(self._on_readable)


def _spare_descriptor() -> BinaryIO:
    # A file object, since gevent's os.close closes only some turns of the loop later.
    return open(os.devnull, "rb")
