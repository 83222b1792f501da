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
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import gevent
from geventwebsocket.handler import WebSocketHandler

from wsgi_ws import origin
from wsgi_ws.access_log import AccessLog
from wsgi_ws.app import METRICS_LISTENER, PLAIN_PATHS
from wsgi_ws.auth import Authenticator, AuthError, Identity
from wsgi_ws.log_limiter import LogLimiter
from wsgi_ws.log_lines import (
    HandshakeLine,
    RefusalLine,
    abbreviated,
    and_more,
    printable,
    request_id,
)
from wsgi_ws.remedies import remedy_for
from wsgi_ws.request_head import BadHead, RequestHead
from wsgi_ws.stream_id import StreamId

log = logging.getLogger(__name__)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class Refusal(Exception):
    """A request that is answered with an HTTP error instead of the 101."""

    def __init__(
        self,
        status: str,
        reason: str,
        message: str,
        *,
        advice: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """
        :param status: the HTTP status line's end, like `401 Unauthorized`.
        :param reason: a slug for metrics.
        :param message: for the operator's log.
        :param advice: for the client, in place of the message.
        """
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.advice = advice or message
        self.headers = headers


class Admitted(NamedTuple):
    """A client that may have its WebSocket."""

    identity: Identity
    accept: str
    last_id: StreamId | None


def wants_upgrade(environ: Mapping[str, Any]) -> bool:
    """Whether the request is meant as an opening handshake; anything else is plain HTTP."""
    return "websocket" in _tokens(environ.get("HTTP_UPGRADE", ""))


def has_lost_its_upgrade(environ: Mapping[str, Any]) -> bool:
    """Whether a plain request was an opening handshake before a proxy took its hop-by-hop headers.

    What browsers add to a handshake and to nothing else goes through such a proxy.
    """
    return (
        ("HTTP_SEC_WEBSOCKET_KEY" in environ or "HTTP_SEC_WEBSOCKET_VERSION" in environ)
        and environ["REQUEST_METHOD"] == "GET"
        and environ["PATH_INFO"] not in PLAIN_PATHS
        and not wants_upgrade(environ)
    )


def lost_upgrade() -> Refusal:
    """The answer to `has_lost_its_upgrade`: to HTTP it is a plain request, so 404 as ever."""
    return Refusal(
        "404 Not Found",
        "no_upgrade",
        "the headers of a WebSocket handshake without Upgrade: websocket",
        advice="the header Upgrade: websocket is missing, a proxy may have removed it",
    )


def check_request(environ: Mapping[str, Any]) -> str:
    """Check the opening handshake (RFC 6455 §4.2.1); returns the value of Sec-WebSocket-Accept.

    :raises Refusal: 400 or 426, saying what is wrong.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise _malformed(f"the method is {environ['REQUEST_METHOD']}, not GET")
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise _malformed(f"{environ.get('SERVER_PROTOCOL')} instead of HTTP/1.1")
    if environ.get("HTTP_TRANSFER_ENCODING") or environ.get("CONTENT_LENGTH", "0") != "0":
        raise _malformed("a handshake has no body")
    host = environ.get("HTTP_HOST", "")
    if not host or "," in host:
        raise _malformed("there must be one Host header")
    if "upgrade" not in _tokens(environ.get("HTTP_CONNECTION", "")):
        raise _malformed("the header Connection: Upgrade is missing (a proxy may have removed it)")
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip()
    if version != "13":
        raise Refusal(
            "426 Upgrade Required",
            "bad_version",
            f"Sec-WebSocket-Version is {version or 'missing'}, only 13 is spoken here",
            headers=(("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")),
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
    allowed_origins: Sequence[str]
    trusted_proxies: Sequence[origin.Network]
    closed_because: Callable[[], str | None] = lambda: None  # why nobody is admitted at present

    def decide(self, environ: Mapping[str, Any]) -> Admitted:
        """
        :raises Refusal: with the answer that the client gets.
        """
        accept = check_request(environ)
        closed = self.closed_because()
        if closed:
            raise Refusal("503 Service Unavailable", "closed", closed)
        self._check_origin(environ)
        try:
            identity = self.authenticator.identify(environ.get("HTTP_COOKIE", ""))
        except AuthError as error:
            raise Refusal(
                "401 Unauthorized",
                error.reason,
                str(error),
                advice="no valid token in the cookie; open Superset under this host name first",
            ) from None
        return Admitted(identity, accept, requested_last_id(environ))

    def _check_origin(self, environ: Mapping[str, Any]) -> None:
        page = environ.get("HTTP_ORIGIN", "")
        host = origin.asked_host(environ, self.trusted_proxies)
        if not origin.is_allowed(page, host, self.allowed_origins):
            raise Refusal(
                "403 Forbidden",
                "foreign_origin",
                f"Origin {page} has another host name than {host}, which was asked for",
                advice="a page of this origin may not connect here",
            )


def requested_last_id(environ: Mapping[str, Any]) -> StreamId | None:
    """The `last_id` parameter; a malformed one is ignored with a warning, as in the Node server."""
    values = parse_qs(environ.get("QUERY_STRING", "")).get("last_id")
    if not values:
        return None
    last_id = StreamId.from_client(values[0])
    if last_id is None:
        log.warning("last_id %.40r is ignored: it is not like 1700000000000-0", values[0])
    return last_id


class Door(Protocol):
    """What stands behind the handler."""

    @property
    def admission(self) -> Admission: ...

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole request; also how long an idle keep-alive connection is kept."""

    @property
    def log_limiter(self) -> LogLimiter:
        """Shared by all connections: a broken client that asks again and again fills no disk."""

    @property
    def access_log(self) -> AccessLog: ...

    def on_open(self, descriptor: int, admitted: Admitted, early: bytes) -> int:
        """Take over an admitted client: descriptor, who it is, and the bytes that have already
        arrived behind the request. Returns the socket's number."""

    def on_refused(self, refusal: Refusal) -> None:
        """Hear of a refusal."""

    def on_bad_request(self) -> None:
        """Hear of a request that was no HTTP."""


class UpgradeHandler(WebSocketHandler):  # type: ignore[misc]  # the package has no types
    """Serves one TCP connection until it is plain HTTP's end or a WebSocket's beginning."""

    socket: Any  # pywsgi's: gevent's socket, or None when it has been given away

    def __init__(self, door: Door, *args: Any) -> None:
        super().__init__(*args)
        self._door = door

    def handle(self) -> None:
        """Serve the connection. A client that leaves before its answer is nobody's problem."""
        try:
            super().handle()
        except OSError as error:
            log.debug("connection from %s lost: %s", self._peer(), error)

    def MessageClass(self, stream: Any, _seekable: int) -> RequestHead:  # noqa: N802  pywsgi's name
        """The header section's reader."""
        return RequestHead(stream)

    def handle_one_request(self) -> Any:
        """Bound the whole request in time: a client may not hold a greenlet by dripping bytes."""
        self.requestline = None
        timeout = gevent.Timeout.start_new(self._door.request_timeout)
        try:
            return super().handle_one_request()
        except gevent.Timeout as raised:
            if raised is not timeout:
                raise
        finally:
            timeout.close()
        if self.requestline and not self.headers_sent:
            return self._answer("408 Request Timeout", "the request took too long")
        return None

    def get_environ(self) -> dict[str, Any]:
        """The WSGI environ, with the header fields as `RequestHead` names them."""
        environ: dict[str, Any] = super().get_environ()
        environ.update(self.headers.environ())
        return environ

    def _headers(self) -> Iterable[tuple[str, str]]:
        """What pywsgi would copy into the environ by itself: nothing, see `get_environ`."""
        return ()

    def run_application(self) -> None:
        """Called by pywsgi once per request, with `self.environ` complete."""
        if METRICS_LISTENER in self.environ or not wants_upgrade(self.environ):
            if has_lost_its_upgrade(self.environ):
                self._refuse(lost_upgrade())
                return
            super(WebSocketHandler, self).run_application()  # past gevent-websocket's own upgrade
            return
        try:
            admitted = self._door.admission.decide(self.environ)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._switch_protocols(admitted)

    def _refuse(self, refusal: Refusal) -> None:
        self._door.on_refused(refusal)
        self._log_refusal(refusal)
        body = f"{refusal.status}: {refusal.advice}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *refusal.headers,
        ]
        asked_as = self._request_id()
        if asked_as:
            headers.append(("X-Request-ID", asked_as))
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
        number = self._door.on_open(descriptor, admitted, early)
        if self._door.access_log.wanted:
            channel = abbreviated(admitted.identity.channel)
            self._log_access(101, channel=channel, socket=number)

    def _log_refusal(self, refusal: Refusal) -> None:
        """The access line, and now and then a warning that says what to do."""
        if self._door.access_log.wanted:
            self._log_access(int(refusal.status[:3]), reason=refusal.reason)
        held_back = self._door.log_limiter.admit(refusal.reason, time.monotonic())
        if held_back is not None:
            line = RefusalLine(
                address=self._client(),
                reason=refusal.reason,
                problem=printable(str(refusal), 400),
                remedy=remedy_for(refusal.reason),
                held_back=held_back,
                request_id=self._request_id(),
            )
            log.warning(line)

    def _log_access(self, status: int, **who: Any) -> None:
        line = HandshakeLine(
            address=self._client(),
            path=self._path(),
            status=status,
            duration_ms=round((time.time() - self.time_start) * 1000, 2),
            request_id=self._request_id(),
            **who,
        )
        self._door.access_log.write(line)

    def log_request(self) -> None:
        """pywsgi's access log is not used."""

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        """Invalid HTTP is the client's fault: one line, no traceback."""
        if isinstance(ex, OSError):
            raise ex  # the connection is gone, see `handle`
        self._door.on_bad_request()
        held_back = self._door.log_limiter.admit("bad_request", time.monotonic())
        if held_back is not None:
            problem = printable(str(ex)) + and_more(held_back)
            log.warning("bad request from %s: %s", self._peer(), problem)
        status = ex.status if isinstance(ex, BadHead) else "400 Bad Request"
        return self._answer(status, str(ex) if isinstance(ex, BadHead) else "not HTTP/1.1")

    def _answer(self, status: str, text: str) -> tuple[str, bytes]:
        """An answer for pywsgi to send before it closes, outside the WSGI way."""
        body = f"{status}: {text}\n".encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return status, head.encode() + body

    def _peer(self) -> str:
        return origin.client_address(self._peer_address, "", ())

    def _client(self) -> str:
        """The address behind trusted proxies."""
        forwarded_for = self.environ.get("HTTP_X_FORWARDED_FOR", "")
        trusted = self._door.admission.trusted_proxies
        return origin.client_address(self._peer_address, forwarded_for, trusted)

    @property
    def _peer_address(self) -> str | None:
        address = self.client_address
        return str(address[0]) if isinstance(address, tuple) else None

    def _path(self) -> str:
        """The path, and that there is a `last_id`: whatever else is in a query may be a secret."""
        path, _, query = self.path.partition("?")
        return printable(path) + ("?last_id=…" if "last_id=" in query else "")

    def _request_id(self) -> str | None:
        header = self.environ.get("HTTP_X_REQUEST_ID")
        return request_id(header) if header else None


def _tokens(header: str) -> list[str]:
    return [token.strip().lower() for token in header.split(",")]


def _malformed(message: str) -> Refusal:
    return Refusal("400 Bad Request", "malformed_handshake", message)
