# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP by gevent's WSGI server: one request, whose head has been read already, then the end.

One request per connection: probes and scrapers need no more, and nothing that a client or a proxy
sends behind a request can be mistaken for another.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Mapping
from functools import partial
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.socket import socket as GeventSocket  # noqa: N812  a class

from wsgi_ws.observe.log_limiter import LogLimiter

log = logging.getLogger(__name__)

ALIKE_INTERVAL = 60.0  # seconds between two log lines about requests that could not be answered


class Continued(io.RawIOBase):
    """Bytes that have been read from a socket, then what it goes on with."""

    def __init__(self, read: bytes, sock: Any) -> None:
        super().__init__()
        self._read = memoryview(read)
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As much of what was read as fits, or one `recv`."""
        if not self._read:
            return int(self._sock.recv_into(buffer))
        count = min(len(buffer), len(self._read))
        buffer[:count] = self._read[:count]
        self._read = self._read[count:]
        return count


class PlainServer:
    """Answers plain requests by the WSGI application; `len` is how many it answers now."""

    def __init__(
        self, application: Any, environ: Mapping[str, Any], *, capacity: int, timeout: float
    ) -> None:
        """
        :param application: a WSGI application.
        :param environ: what the environ of every request has besides the usual.
        :param capacity: requests that are answered at one time.
        :param timeout: seconds for the rest of a request and for the answer.
        """
        # Never started, so it doesn't listen: handlers ask it for application, environ and logs.
        self._pywsgi: Any = WSGIServer(("", 0), application, environ={**environ}, log=None)
        self._pool = Pool(capacity)
        self._timeout = timeout
        self._limiter = LogLimiter(ALIKE_INTERVAL)

    def __len__(self) -> int:
        return len(self._pool)

    @property
    def is_full(self) -> bool:
        """Whether `serve` would have to wait."""
        return bool(self._pool.full())

    def serve(self, sock: RawSocket, peer: Any, read: bytes, environ: Mapping[str, Any]) -> None:
        """Answer a request in a greenlet of its own.

        :param sock: belongs to this object when the method returns.
        :param peer: its address as `accept` told it.
        :param read: the request as far as it has come, with a head that is known to be good.
        :param environ: what the environ has besides that of every request.
        """
        self._pool.spawn(self._answer, sock, peer, read, environ)

    def _answer(self, sock: RawSocket, peer: Any, read: bytes, environ: Mapping[str, Any]) -> None:
        with contextlib.closing(_waiting(sock)) as waiting:
            own = {**_server_environ(waiting.getsockname()), **environ}
            handler = PlainHandler(waiting, peer, self._pywsgi, read, own, self._limiter)
            handler.answer(self._timeout)


class PlainHandler(WSGIHandler):
    """Answers one request.

    Rests on parts of pywsgi that are not documented: that a handler reads from `rfile`, asks
    `close_connection` after a request, builds its answer's head in `finalize_headers`, and tells
    `handle_error` of what went wrong.
    """

    def __init__(
        self,
        sock: GeventSocket,
        peer: Any,
        server: Any,
        read: bytes,
        environ: Mapping[str, Any],
        limiter: LogLimiter,
    ) -> None:
        """
        :param server: a pywsgi server.
        :param read: the request as far as it has come, with a head that is known to be good.
        """
        super().__init__(sock, peer, server)
        self.rfile = io.BufferedReader(Continued(read, sock))
        self._environ = environ
        self._limiter = limiter

    def answer(self, timeout: float) -> None:
        """Serve the connection. A client that leaves before its answer is nobody's problem.

        :param timeout: seconds.
        """
        try:
            with contextlib.suppress(gevent.Timeout), gevent.Timeout(timeout):
                self.handle()
        except OSError as error:
            log.debug("connection from %s lost: %s", self.client_address, error)

    def read_request(self, raw_requestline: str) -> Any:
        """Parse the head; called by pywsgi.

        It takes the line apart at white space of Latin-1 too, which may be a part of a letter here.
        """
        ascii_only = "".join(c if c < "\x7f" else f"%{ord(c):02X}" for c in raw_requestline)
        good = super().read_request(ascii_only)
        self.close_connection = True
        return good

    def get_environ(self) -> dict[str, Any]:
        """The request as WSGI sees it; called by pywsgi."""
        return {**super().get_environ(), **self._environ}

    def finalize_headers(self) -> None:
        """Complete the answer's headers; called by pywsgi."""
        super().finalize_headers()
        headers: Any = self.response_headers
        headers[:] = [(name, value) for name, value in headers if name.lower() != b"connection"]
        headers.append((b"Connection", b"close"))

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Something else than an answer came out; called by pywsgi.

        The client's body may be late or cut off: nothing here needs it.
        """
        if issubclass(t, (gevent.Timeout, OSError)):
            log.debug("connection from %s: %r", self.client_address, v)
        else:
            self._limiter.write(
                *(partial(log.error, exc_info=(t, v, tb)), "defect", time.monotonic()),
                "a plain request could not be answered",
            )
        pywsgi: Any = self
        pywsgi._send_error_response_if_possible(500)

    def log_request(self) -> None:
        """pywsgi's access log is not used."""

    def log_error(self, msg: str, *args: Any) -> None:
        """Nor are its lines about bad requests, which the request's reader has told already."""
        log.debug(msg, *args)


def _waiting(sock: RawSocket) -> GeventSocket:
    """A socket for greenlets, which wait where it would block; `sock` gives its descriptor up."""
    waiting = GeventSocket(sock.family, sock.type, sock.proto, sock.fileno())
    sock.detach()
    return waiting


def _server_environ(address: Any) -> dict[str, Any]:
    """Where the request came to (PEP 3333); a Unix socket has neither name nor port."""
    name, port = address[:2] if isinstance(address, tuple) else ("", "")
    return {"SERVER_NAME": str(name), "SERVER_PORT": str(port)}
