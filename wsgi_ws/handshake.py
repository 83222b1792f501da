# SPDX-License-Identifier: Apache-2.0
"""From an HTTP request to a WebSocket: admit or refuse before the 101, then hand the socket over.

`Admission` is the decision, pure: an environ in, an identity or a `Refusal` out. `UpgradeHandler`
is the shell around it for gevent-websocket's worker. After the 101 the handler gives away the
descriptor and returns, so that an idle socket holds no greenlet, request or buffer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from geventwebsocket.handler import WebSocketHandler

from wsgi_ws.auth import Authenticator, AuthError, Identity
from wsgi_ws.stream_id import StreamId

log = logging.getLogger(__name__)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class Refusal(Exception):
    """A request that is answered with an HTTP error instead of the 101."""

    def __init__(
        self, status: str, reason: str, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """
        :param status: the HTTP status line's end, like `401 Unauthorized`.
        :param reason: a slug for metrics.
        :param message: for the operator's log.
        """
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = headers


class Admitted(NamedTuple):
    """A client that may have its WebSocket."""

    identity: Identity
    accept: str
    last_id: StreamId | None


def wants_upgrade(environ: Mapping[str, Any]) -> bool:
    """Whether the request is meant as an opening handshake; anything else is plain HTTP."""
    return "websocket" in _tokens(environ.get("HTTP_UPGRADE", ""))


def check_request(environ: Mapping[str, Any]) -> str:
    """Check the opening handshake (RFC 6455 §4.2.1); returns the value of Sec-WebSocket-Accept.

    :raises Refusal: 400 or 426, saying what is wrong.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise _malformed(f"the method is {environ['REQUEST_METHOD']}, not GET")
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise _malformed(f"{environ.get('SERVER_PROTOCOL')} instead of HTTP/1.1")
    if "upgrade" not in _tokens(environ.get("HTTP_CONNECTION", "")):
        raise _malformed("the header Connection: Upgrade is missing (a proxy may have removed it)")
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip()
    if version != "13":
        raise Refusal(
            "426 Upgrade Required",
            "bad_version",
            f"Sec-WebSocket-Version is {version or 'missing'}, only 13 is spoken here",
            (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")),
        )
    return accept_value(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip())


def accept_value(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2).

    :raises Refusal: 400 when the key is not 16 bytes in base64.
    """
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise _malformed("Sec-WebSocket-Key is not 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides about opening handshakes."""

    authenticator: Authenticator

    def decide(self, environ: Mapping[str, Any]) -> Admitted:
        """
        :raises Refusal: with the answer that the client gets.
        """
        accept = check_request(environ)
        try:
            identity = self.authenticator.identify(environ.get("HTTP_COOKIE", ""))
        except AuthError as error:
            raise Refusal("401 Unauthorized", error.reason, str(error)) from None
        return Admitted(identity, accept, requested_last_id(environ))


def requested_last_id(environ: Mapping[str, Any]) -> StreamId | None:
    """The `last_id` parameter; a malformed one is ignored with a warning, as in the Node server."""
    values = parse_qs(environ.get("QUERY_STRING", "")).get("last_id")
    if not values:
        return None
    last_id = StreamId.from_client(values[0])
    if last_id is None:
        log.warning("last_id %.40r is ignored: it is not like 1700000000000-0", values[0])
    return last_id


class UpgradeHandler(WebSocketHandler):  # type: ignore[misc]  # the package has no types
    """Serves one TCP connection until it is plain HTTP's end or a WebSocket's beginning."""

    socket: Any  # pywsgi's: gevent's socket, or None when it has been given away

    def __init__(
        self,
        admission: Admission,
        on_open: Callable[[int, Admitted, bytes], None],
        on_refused: Callable[[Refusal], None],
        *args: Any,
    ) -> None:
        """
        :param on_open: takes over an admitted client: descriptor, who it is, and the bytes that
            have already arrived behind the request.
        :param on_refused: hears of each refusal.
        """
        super().__init__(*args)
        self._admission = admission
        self._on_open = on_open
        self._on_refused = on_refused

    def run_application(self) -> None:
        """Called by pywsgi once per request, with `self.environ` complete."""
        if not wants_upgrade(self.environ):
            super(WebSocketHandler, self).run_application()  # past gevent-websocket's own upgrade
            return
        try:
            admitted = self._admission.decide(self.environ)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._switch_protocols(admitted)

    def _refuse(self, refusal: Refusal) -> None:
        log.warning("handshake from %s refused: %s", self._peer(), refusal)
        self._on_refused(refusal)
        body = (refusal.status + "\n").encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *refusal.headers,
        ]
        self.result = [body]
        self.start_response(refusal.status, headers)
        self.process_result()

    def _switch_protocols(self, admitted: Admitted) -> None:
        self.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + admitted.accept.encode() + b"\r\n\r\n"
        )
        self.socket.setblocking(False)
        early = self.rfile.peek()  # what the buffered reader has taken beyond the request
        self.close_connection = True
        descriptor = self.socket.detach()
        self.socket = None  # pywsgi would close it
        self._on_open(descriptor, admitted, early)

    def log_request(self) -> None:
        """No access log: what matters is logged where it happens."""

    def log_error(self, msg: str, *args: Any) -> None:
        """Invalid HTTP: the client's fault, one line."""
        log.warning("bad request: %s", msg % args if args else msg)

    def _peer(self) -> str:
        address = self.client_address
        return str(address[0]) if isinstance(address, tuple) else "a Unix socket"


def _tokens(header: str) -> list[str]:
    return [token.strip().lower() for token in header.split(",")]


def _malformed(message: str) -> Refusal:
    return Refusal("400 Bad Request", "malformed_handshake", message)
