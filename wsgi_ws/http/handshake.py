# SPDX-License-Identifier: Apache-2.0
"""From an HTTP request to a WebSocket: the decision, before the 101, to admit or to refuse.

Pure: an environ in, an identity and the 101, or a `Refusal`, out. `dispatch` acts on it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from wsgi_ws.http import origin
from wsgi_ws.http.auth.authenticator import Authenticator
from wsgi_ws.http.auth.claims import Identity
from wsgi_ws.http.paths import PLAIN_PATHS
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.transport import Transport

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_TAB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Admitted(NamedTuple):
    """A client that may have its WebSocket.

    :ivar accept: the value of Sec-WebSocket-Accept.
    :ivar last_id: the parameter as it came; the source of events knows what it means.
    :ivar tab_id: tells the browser tabs of a user apart; None when it is missing or malformed.
    """

    identity: Identity
    accept: str
    last_id: str | None
    tab_id: str | None

    @property
    def answer(self) -> bytes:
        """The 101 (RFC 6455 §4.2.2)."""
        return (
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + self.accept.encode() + b"\r\n\r\n"
        )


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
    """The answer to `has_lost_its_upgrade`."""
    return Refusal("no_upgrade", "the headers of a WebSocket handshake without Upgrade: websocket")


def check_request(environ: Mapping[str, Any]) -> str:
    """Check the opening handshake (RFC 6455 §4.2.1); returns the value of Sec-WebSocket-Accept.

    :raises Refusal: 400 or 426, saying what is wrong.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise _malformed("the method is not GET", f" but {environ['REQUEST_METHOD']}")
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise _malformed("it must be HTTP/1.1", f", not {environ.get('SERVER_PROTOCOL')}")
    if environ.get("HTTP_TRANSFER_ENCODING") or environ.get("CONTENT_LENGTH", "0") != "0":
        raise _malformed("a handshake has no body")
    host = environ.get("HTTP_HOST", "")
    if not host or "," in host:
        raise _malformed("there must be one Host header")
    if "upgrade" not in _tokens(environ.get("HTTP_CONNECTION", "")):
        raise _malformed("the header Connection: Upgrade is missing (a proxy may have removed it)")
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip()
    if version != "13":
        problem = "only Sec-WebSocket-Version 13 is spoken here"
        raise Refusal(
            "bad_version", problem, f", not {version}" if version else ", and it has none"
        )
    return accept_value(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip())


def accept_value(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2).

    :raises Refusal: 400 when the key is not 16 bytes in base64.
    """
    if not _KEY.fullmatch(key):
        raise _malformed("Sec-WebSocket-Key is not 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


class Asked(NamedTuple):
    """What the query of a handshake asks for.

    :ivar transport: None when it may mean either.
    :ivar last_id: as in `Admitted`.
    :ivar tab_id: as in `Admitted`.
    """

    transport: Transport | None
    last_id: str | None
    tab_id: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides about opening handshakes."""

    authenticator: Authenticator
    allowed_origins: Sequence[str]
    trusted_proxies: Sequence[origin.Network]

    def decide(
        self,
        environ: Mapping[str, Any],
        now: float,
        why_closed: Callable[[Transport | None], Refusal | None],
    ) -> Admitted:
        """Admit the client, or refuse it.

        :param now: seconds since the epoch.
        :param why_closed: what to tell whoever comes at present, if nobody is admitted: to a
            transport, or (None) at all.
        :raises Refusal: with the answer that the client gets.
        """
        accept = check_request(environ)
        if refusal := why_closed(None):
            raise refusal
        self._check_origin(environ)
        asked = asked_for(environ.get("QUERY_STRING", ""))
        cookies = environ.get("HTTP_COOKIE", "")
        identity = self.authenticator.identify(cookies, now, asked.transport)
        if refusal := why_closed(identity.transport):
            raise refusal
        return Admitted(identity, accept, asked.last_id, asked.tab_id)

    def _check_origin(self, environ: Mapping[str, Any]) -> None:
        page = environ.get("HTTP_ORIGIN", "")
        host = origin.asked_host(environ, self.trusted_proxies)
        if not origin.is_allowed(page, host, self.allowed_origins):
            problem = "the page is of another host name than the one that was asked for"
            raise Refusal("foreign_origin", problem, f": Origin {page}, asked for {host}")


def asked_for(query: str) -> Asked:
    """What a page asks for: of Superset up to 6.1 with `last_id`, of Superset 7 with `tab_id`.

    A parameter without a value says that much too. Of one that is there twice, the first counts.
    """
    if not query:
        return Asked(None, None, None)
    fields = dict(reversed(parse_qsl(query, keep_blank_values=True)))
    if "last_id" in fields:
        return Asked(Transport.STREAMS, fields["last_id"] or None, None)
    if "tab_id" in fields:
        tab_id = fields["tab_id"]
        return Asked(Transport.REALTIME, None, tab_id if _TAB_ID.fullmatch(tab_id) else None)
    return Asked(None, None, None)


def _tokens(header: str) -> list[str]:
    return [token.strip() for token in header.lower().split(",")]


def _malformed(problem: str, detail: str = "") -> Refusal:
    return Refusal("malformed_handshake", problem, detail)
