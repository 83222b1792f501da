# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client that says exactly what went wrong: one connection, text messages, blocking.

Knows nothing of events, tokens or settings.

It stands on wsproto, which the service needs anyway. A client library (websockets) would be one
more package in Superset's environment and save little: what is long here is to connect step by
step, so that each failure has a name of its own, and that has to be written with either.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from wsgi_ws.addresses import DEFAULT_PORTS

BODY_LIMIT = 2000  # bytes that are kept of a refusal


class Unreachable(Exception):
    """There was no HTTP answer. `kind` is a slug for the reason, the text a detail."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind


class Refused(Exception):
    """The server answered with another status than 101."""

    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body


class Ended(Exception):
    """The connection is over. `code` is None when it ended without a close frame."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(f"{code} {reason}" if code else "cut without a close frame")
        self.code = code


@dataclass(frozen=True, slots=True)
class Trust:
    """The certificates that count for wss://: the system's, those of a file, or any."""

    ca_file: str | None = None
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """
        :raises OSError: when the file holds no certificates.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Socket:
    """An open WebSocket."""

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        *,
        trust: Trust | None = None,
        timeout: float = 10.0,
        address: tuple[str, int] | None = None,
    ) -> None:
        """Connect and shake hands.

        :param headers: besides those of the handshake.
        :param timeout: seconds for the connection, and for each answer while opening.
        :param address: connect here instead of where the URL says.
        :raises Unreachable: no HTTP answer.
        :raises Refused: another answer than 101.
        """
        parts = urlsplit(url)
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._socket = _connect(
            address or (parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]),
            parts.hostname or "",
            (trust or Trust()) if parts.scheme == "wss" else None,
            timeout,
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            self._send(
                Request(host=parts.netloc.rpartition("@")[2], target=target, extra_headers=extra)
            )
            self._await_acceptance(time.monotonic() + timeout)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError, LocalProtocolError):
            self._send(CloseConnection(code=1000))
        self._socket.close()

    def receive(self, timeout: float | None) -> str | None:
        """The next message; None when none came in time. Pings are answered meanwhile.

        :param timeout: seconds, or None to wait for ever.
        :raises Ended: when the connection does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        parts: list[str] = []
        while True:
            for event in self._protocol.events():
                if isinstance(event, Ping):
                    self._send(event.response())
                elif isinstance(event, CloseConnection):
                    raise Ended(int(event.code), event.reason or "")
                elif isinstance(event, TextMessage):
                    parts.append(event.data)
                    if event.message_finished:
                        return "".join(parts)
            if not self._read(deadline):
                return None

    def _await_acceptance(self, deadline: float) -> None:
        refusal: RejectConnection | None = None
        body = b""
        while True:
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    return
                if isinstance(event, RejectConnection):
                    refusal = event
                    if not event.has_body:
                        raise _refused(event, body)
                elif isinstance(event, RejectData) and refusal:
                    body += event.data[: BODY_LIMIT - len(body)]
                    if event.body_finished or len(body) >= BODY_LIMIT:
                        raise _refused(refusal, body)
            try:
                if not self._read(deadline):
                    raise Unreachable("silent")
            except Ended:
                if refusal:
                    raise _refused(refusal, body) from None
                raise Unreachable("cut") from None

    def _read(self, deadline: float | None) -> bool:
        """Take in more bytes; False when none came in time.

        :raises Ended: when there are no more.
        """
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            return False
        self._socket.settimeout(remaining)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            raise Ended(None) from None
        if not data:
            raise Ended(None)
        try:
            self._protocol.receive_data(data)
        except RemoteProtocolError as error:
            raise Unreachable("no_http", str(error)) from None
        return True

    def _send(self, event: Event) -> None:
        self._socket.sendall(self._protocol.send(event))


def _connect(
    address: tuple[str, int], host: str, trust: Trust | None, timeout: float
) -> socket.socket:
    try:
        plain = socket.create_connection(address, timeout)
    except socket.gaierror:
        raise Unreachable("unknown_host") from None
    except ConnectionRefusedError:
        raise Unreachable("refused") from None
    except TimeoutError:
        raise Unreachable("timeout") from None
    except OSError as error:
        raise Unreachable("network", error.strerror or str(error)) from None
    if trust is None:
        return plain
    try:
        return trust.context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise Unreachable("certificate", error.verify_message) from None
    except OSError as error:
        plain.close()
        detail = getattr(error, "reason", None) or str(error)
        raise Unreachable("tls", detail) from None


def _refused(event: RejectConnection, body: bytes) -> Refused:
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
    return Refused(event.status_code, headers, body.decode("utf-8", "replace"))
