# SPDX-License-Identifier: Apache-2.0
"""An HTTP request's head, from its bytes, within limits and strictly (RFC 9112 §3 and §5). Pure."""

from __future__ import annotations

import re

from wsgi_ws.observe.log_lines import request_id

MAX_FIELDS = 99  # more than that http.client doesn't take, which parses plain requests again
MAX_LINE_BYTES = 8192  # of the request line: what common servers allow
MAX_LENGTH_DIGITS = 18  # of Content-Length: as many as fit into 64 bits

_END = re.compile(rb"\n\r?\n")
_ABSOLUTE_FORM = re.compile(rb"(\S+) (?i:https?|wss?)://([^\s/?#@]+)(?=[/?#\s])(\S*) (\S+\r?)\n")
# Versions 1 and 2: haproxy.org, proxy-protocol.txt.
_PROXY_PROTOCOL = (b"PROXY TCP", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VERSIONS = ("HTTP/1.1", "HTTP/1.0")


class BadHead(ValueError):
    """The request can't be understood.

    :ivar status: the answer's code and phrase.
    :ivar kind: each has its own line in the log: a probe that speaks TLS must not hide the rest.
    """

    def __init__(
        self, message: str, status: str = "400 Bad Request", kind: str = "malformed"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def is_tls(data: bytes) -> bool:
    """Whether it begins as a TLS handshake does (RFC 8446 §5.1), which no request can."""
    return data.startswith(b"\x16\x03")


def check_protocol(data: bytes) -> None:
    """
    :param data: as far as it has come.
    :raises BadHead: when it begins as another protocol does, which is then named.
    """
    if is_tls(data):
        raise BadHead(
            "TLS to a port that speaks plain HTTP: use ws://, or TLS at a proxy", kind="tls"
        )
    if data.startswith(_PROXY_PROTOCOL):
        raise BadHead(
            "the proxy speaks the PROXY protocol: switch it off there (HAProxy: send-proxy, nginx: "
            "proxy_protocol); addresses come from X-Forwarded-For (trustedProxies)",
            kind="proxy_protocol",
        )
    if data.startswith(b"PRI * HTTP/2.0"):  # RFC 9113 §3.4
        raise BadHead("HTTP/2: let the proxy speak HTTP/1.1 to this port", kind="http2")


def end_of_head(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where the body, or the WebSocket's first frame, begins; None while the head is incomplete.

    :param start: as many bytes have been looked through before.
    """
    found = _END.search(data, max(0, start - 3))
    return found.end() if found else None


def origin_form(head: bytes) -> bytes:
    """A head that names the host in its request line (`GET http://host/path`), as it usually is.

    RFC 9112 §3.2.2: a server must take it, and that host counts instead of the field's.
    """
    found = _ABSOLUTE_FORM.match(head)
    if not found:
        return head
    method, host, rest, version = found.groups()
    path = rest if rest.startswith(b"/") else b"/" + rest
    fields = head[found.end() :].split(b"\n")
    others = b"\n".join(line for line in fields if line[:5].lower() != b"host:")
    return b"%b %b %b\nHost: %b\r\n%b" % (method, path, version, host, others)


class Request:
    """A request line, and header fields as WSGI names them.

    A field that is there twice is joined (cookies with `; `).

    :ivar peer: the address of the other end of the connection; None: a Unix socket.
    :ivar environ: the head as WSGI names its parts (PEP 3333); the path as it came.
    """

    def __init__(self, data: bytes, peer: str | None, max_bytes: int) -> None:
        """
        :param data: up to and with the empty line.
        :param max_bytes: how long it may be.
        :raises BadHead: 400, 414 for the URL, or 431 when it is too large otherwise.
        """
        text = data.decode("latin-1")
        request_line, *lines = text.split("\n")
        self._read_request_line(request_line)
        if len(data) > max_bytes:
            raise _too_large(_too_many_bytes(lines, max_bytes))
        if len(lines) > MAX_FIELDS + 2:
            raise _too_large(f"more than {MAX_FIELDS} header fields")
        if lines[-2:] not in (["\r", ""], ["", ""]):
            raise BadHead("the request ends within its header section")
        self.peer = peer
        self.environ: dict[str, str] = {}
        self._add(lines[:-2], is_clean="\0" not in text and text.count("\r") == text.count("\r\n"))
        length = self.environ.get("CONTENT_LENGTH", "0")
        if not length.isdecimal() or len(length) > MAX_LENGTH_DIGITS:
            raise BadHead("Content-Length is not a number, or too large")
        self._add_others()

    def _read_request_line(self, line: str) -> None:
        if len(line) > MAX_LINE_BYTES:
            message = f"more than {MAX_LINE_BYTES} bytes of request line"
            raise BadHead(message, "414 URI Too Long", kind="long_url")
        text = line.removesuffix("\r")
        words = text.split(" ")
        if len(words) != 3 or not _is_token(words[0]) or words[2] not in _VERSIONS:
            raise BadHead("not HTTP/1.1", kind="no_http")
        if _CONTROL.search(text):
            raise BadHead("control characters in the URL")
        self.method, self.target, self.version = words

    def _add(self, lines: list[str], *, is_clean: bool) -> None:
        """:param is_clean: whether each CR is before an LF, and there is no NUL."""
        environ = self.environ
        for line in lines:
            name, colon, value = line.partition(":")
            key = _USUAL_NAMES.get(name)
            if not colon or (key is None and not _is_token(name)):
                raise BadHead("a header line is not of the form `name: value`")
            text = value.strip(" \t\r")
            if not is_clean and ("\0" in text or "\r" in text):
                raise BadHead(f"control characters in the header {name}")
            key = key or _wsgi_name(name)
            if key is None:
                continue
            if key in environ:
                text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
            environ[key] = text

    @property
    def path(self) -> str:
        """What is asked for, without the query."""
        return self.target.partition("?")[0]

    @property
    def id(self) -> str | None:
        """What a proxy has named it (`X-Request-ID`), if that may be repeated."""
        header = self.environ.get("HTTP_X_REQUEST_ID")
        return request_id(header) if header else None

    def _add_others(self) -> None:
        """What WSGI names besides the fields."""
        path, _, query = self.target.partition("?")
        environ = self.environ
        environ["REQUEST_METHOD"] = self.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = self.version
        if self.peer is not None:
            environ["REMOTE_ADDR"] = self.peer


_TOKEN_CHARACTERS = frozenset(  # RFC 9110 §5.6.2
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


def _is_token(name: str) -> bool:
    return bool(name) and _TOKEN_CHARACTERS.issuperset(name)


def _wsgi_name(name: str) -> str | None:
    """A field's name in the environ; None: it is not there.

    A name that has a `_` could pass for another.
    """
    if "_" in name or name.lower() == "content-type":
        return None
    if name.lower() == "content-length":
        return "CONTENT_LENGTH"
    return "HTTP_" + name.replace("-", "_").upper()


# As browsers and proxies write them. To look at a name, letter by letter, and to make WSGI's of it
# costs more than all the rest of its line.
_USUAL_NAMES = {
    spelling: _wsgi_name(name)
    for name in (
        *("Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Cookie"),
        *("Host", "Origin", "Pragma", "Upgrade", "User-Agent", "Via"),
        *("Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-WebSocket-Extensions"),
        *("Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version"),
        *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port"),
        *("X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-IP", "X-Request-ID"),
    )
    for spelling in (name, name.lower())
}


def _too_many_bytes(lines: list[str], max_bytes: int) -> str:
    cookies = sum(len(line) for line in lines if line[:7].lower() == "cookie:")
    return (
        f"more than {max_bytes} bytes of header fields, {cookies} of them cookies, which add up "
        "over all applications on a host name: delete some, give the applications host names of "
        "their own, or raise maxHeaderBytes (MAX_HEADER_BYTES)"
    )


def _too_large(message: str) -> BadHead:
    return BadHead(message, "431 Request Header Fields Too Large", kind="too_large")
