# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP by gevent's WSGI server: one request, whose head has been read already, then the end.

One request per connection: probes and scrapers need no more, and nothing that a client or a proxy
sends behind a request can be mistaken for another.
"""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler

log = logging.getLogger(__name__)


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


class PlainHandler(WSGIHandler):
    """Answers one request."""

    def __init__(self, timeout: float, sock: Any, address: Any, server: Any, read: bytes) -> None:
        """
        :param timeout: seconds for the rest of the request and for the answer.
        :param read: the request as far as it has come, with a head that is known to be good.
        """
        super().__init__(sock, address, server)
        self.rfile = io.BufferedReader(Continued(read, sock))
        self._timeout = timeout

    def handle(self) -> None:
        """Serve the connection. A client that leaves before its answer is nobody's problem."""
        try:
            with contextlib.suppress(gevent.Timeout), gevent.Timeout(self._timeout):
                super().handle()
        except OSError as error:
            log.debug("connection from %s lost: %s", self.client_address, error)

    def read_request(self, raw_requestline: str) -> Any:
        """Parse the head; called by pywsgi."""
        good = super().read_request(raw_requestline)
        self.close_connection = True
        return good

    def finalize_headers(self) -> None:
        """Complete the answer's headers; called by pywsgi."""
        super().finalize_headers()
        headers: Any = self.response_headers
        headers.append((b"Connection", b"close"))

    def log_request(self) -> None:
        """pywsgi's access log is not used."""
