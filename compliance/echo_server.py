# SPDX-License-Identifier: Apache-2.0
"""An echo server of this service's own handshake, protocol and connection code, for tests only.

The service never answers data messages; conformance suites need an answer to judge by. Everybody
is admitted, limits are those of the suite's largest messages.
"""

from __future__ import annotations

import itertools
import logging
import signal
import socket
import sys
from _socket import socket as RawSocket  # noqa: N812  a class
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import gevent
from gevent.event import Event

from wsgi_ws.http.acceptor import Acceptor
from wsgi_ws.http.auth.claims import Identity
from wsgi_ws.http.dispatch import Dispatcher
from wsgi_ws.http.handshake import Admission, Admitted, check_request
from wsgi_ws.http.pending_request import Endpoint
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.transport import Transport
from wsgi_ws.websocket.allowance import Allowances
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection, Limits
from wsgi_ws.websocket.frames import Data, binary_frame, text_frame

MIB = 1024 * 1024
REQUEST_TIMEOUT = 10.0  # seconds
MAX_HEAD_BYTES = 32768

log = logging.getLogger("echo")


class Everybody:
    """Stands in for `wsgi_ws.http.handshake.Admission`."""

    trusted_proxies = ()

    def decide(self, environ: Mapping[str, Any], now: float, why_closed: object) -> Admitted:
        """Admit whoever sends a correct handshake."""
        identity = Identity(Transport.STREAMS, "echo")
        return Admitted(identity, check_request(environ), last_id=None, tab_id=None)


class Newcomer(NamedTuple):
    """A client that has been taken over."""

    connection: Connection
    admitted: Admitted
    early: bytes

    @property
    def number(self) -> int:
        """Its socket's."""
        return self.connection.number

    def answer(self) -> None:
        """Send it the 101."""
        self.connection.send(self.admitted.answer)

    def welcome(self) -> None:
        """Read what came behind the request."""
        if self.early:
            self.connection.receive(self.early)


class Echo:
    """Stands in for `wsgi_ws.service.Service`: sends each message back."""

    log_limiter = LogLimiter(interval=0.0)
    access_log = AccessLog()  # never written: it doesn't run

    def __init__(self) -> None:
        self.admission = cast(Admission, Everybody())
        self.loop = gevent.get_hub().loop
        self.allowances = Allowances(max_frames=0, max_bytes=0)
        self.limits = Limits(
            max_message_bytes=64 * MIB, max_backlog_bytes=256 * MIB, close_timeout=2.0
        )
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()

    def take_over(self, sock: RawSocket, admitted: Admitted, early: bytes) -> Newcomer:
        """Take over a client that is admitted."""
        channel = admitted.identity.channel
        connection = Connection(self, sock, channel, next(self._numbers))
        self._connections.add(connection)
        return Newcomer(connection, admitted, early)

    def why_closed(self, transport: Transport | None) -> None:
        """Everybody is admitted."""

    def check_room(self, admitted: Admitted) -> None:
        """There is place for everybody."""

    def on_refused(self, refusal: Refusal) -> None:
        """A handshake was answered with an error."""
        log.error("handshake refused: %s", refusal)

    def on_bad_request(self) -> None:
        """A request was no HTTP."""

    def on_data(self, connection: Connection, message: Data) -> None:
        """The echo."""
        frame = text_frame if message.is_text else binary_frame
        connection.send(frame(message.payload))

    def on_send_error(self, connection: Connection, error: OSError) -> None:
        """A write failed."""
        log.info("%r: send failed: %s", connection, error)

    def on_slow(self, connection: Connection) -> None:
        """A client reads more slowly than it sends."""
        log.error("%r reads too slowly", connection)

    def on_ended(self, connection: Connection, ending: Ending) -> None:
        """A connection is over."""
        self._connections.discard(connection)


def not_found(environ: Mapping[str, Any], start_response: Any) -> list[bytes]:
    """The WSGI application for anything but a handshake."""
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"Not Found\n"]


def main() -> None:
    """Serve on the loopback port given as argument (0: a free one); prints the URL."""
    logging.basicConfig(level=logging.WARNING)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    echo = Echo()
    plain = PlainServer(not_found, {}, capacity=1000, timeout=REQUEST_TIMEOUT)
    dispatcher = Dispatcher(echo, plain, MAX_HEAD_BYTES)
    gevent.spawn(dispatcher.run)
    listening = socket.create_server(("127.0.0.1", port), backlog=100)
    print(f"ws://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    acceptor = Acceptor(
        listening,
        Endpoint(takes_upgrades=True, environ={}),
        dispatcher.put,
        max_head_bytes=MAX_HEAD_BYTES,
        request_timeout=REQUEST_TIMEOUT,
        capacity=1000,
        is_shared=False,
    )
    acceptor.start()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    stop.wait()


if __name__ == "__main__":
    main()
