# SPDX-License-Identifier: Apache-2.0
"""A listening socket: accepts connections for the entrance, and answers the plain requests that
come back from there by the WSGI application."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from typing import Any, BinaryIO, Protocol

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from gevent.socket import socket as GeventSocket  # noqa: N812  a class

from wsgi_ws.http.plain import PlainHandler

log = logging.getLogger(__name__)

TURN_AWAY_TIME = 0.05  # seconds: a refused client's time to read, and the pace of refusals
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: 27\r\n\r\n"
    b"too many open connections\r\n"
)


class Reception(Protocol):
    """Who takes care of what is accepted: the entrance."""

    @property
    def request_timeout(self) -> float:
        """Seconds for a request."""

    def receive(self, sock: RawSocket, peer: Any, listener: Listener) -> None:
        """Take over a connection that has just been accepted, not blocking."""


def _spare_descriptor() -> BinaryIO:
    # A file object, since gevent's os.close closes only some turns of the loop later.
    return open(os.devnull, "rb")


_Server: Any = WSGIServer  # its types leave out much of what subclasses may use


class Listener(_Server):  # type: ignore[misc]
    """Accepts connections for the entrance; says so politely when no descriptors are left."""

    def __init__(
        self,
        sock: Any,
        reception: Reception,
        *,
        takes_upgrades: bool,
        capacity: int,
        **options: Any,
    ) -> None:
        """
        :param sock: a gevent socket that listens.
        :param takes_upgrades: whether WebSockets are served here, or plain HTTP only.
        :param capacity: connections whose request is on its way, and again as many that get an
            answer of the WSGI application; more of them wait in the kernel's queue.
        :param options: for `gevent.pywsgi.WSGIServer`.
        """
        super().__init__(sock, spawn=Pool(capacity), **options)
        self.takes_upgrades = takes_upgrades
        self._reception = reception
        self._capacity = capacity
        self._arriving = 0
        self._spare = _spare_descriptor()
        self._exhausted = False

    def do_read(self) -> Any:
        """Accept one connection. Called by gevent's server for each."""
        if self._arriving >= self._capacity:
            self.stop_accepting()
            return None
        try:
            accepted = self._accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._turn_away(error)
            return None
        if accepted:
            self._exhausted = False
        return accepted

    def _accept(self) -> tuple[RawSocket, Any] | None:
        """Not a gevent socket: to make one costs as much as to accept."""
        listening = self.socket
        try:
            descriptor, peer = listening._accept()
        except BlockingIOError:
            return None
        sock = RawSocket(listening.family, listening.type, listening.proto, descriptor)
        sock.setblocking(False)
        return sock, peer

    def do_handle(self, sock: RawSocket, peer: Any) -> None:
        """Called by gevent's server with each connection."""
        self._arriving += 1
        self._reception.receive(sock, peer, self)

    def on_left(self) -> None:
        """One of the connections is no arrival any more."""
        if self._arriving >= self._capacity:
            self._start_accepting_if_started()
        self._arriving -= 1

    def serve_plain(self, descriptor: int, peer: Any, head: bytes, rest: bytes) -> None:
        """Answer a plain request, of which this has been read, in a greenlet of its own."""
        listening = self.socket
        sock = GeventSocket(listening.family, listening.type, listening.proto, descriptor)
        super().do_handle(sock, peer, head + rest)

    def handle(self, sock: Any, peer: Any, read: bytes) -> None:
        """Called by gevent's server in that greenlet."""
        PlainHandler(self._reception.request_timeout, sock, peer, self, read).handle()

    def _turn_away(self, error: OSError) -> None:
        """Use the spare descriptor to answer one client: left alone it would wait for ever."""
        if not self._exhausted:
            self._exhausted = True
            log.error("%s: new connections get 503 until some end", error.strerror)
        self.stop_accepting()
        self._spare.close()
        client = None
        with contextlib.suppress(OSError):  # another accept of the process may have been faster
            client, _ = self._accept() or (None, None)
            if client is not None:
                client.send(BUSY)
                client.shutdown(socket.SHUT_WR)
        gevent.spawn_later(TURN_AWAY_TIME, self._go_on, client)

    def _go_on(self, client: Any) -> None:
        """Read what the refused client has sent, or closing would reset its answer away."""
        with contextlib.suppress(OSError):
            if client is not None:
                client.recv(16384)
                client.close()
            self._spare = _spare_descriptor()
        self._start_accepting_if_started()
