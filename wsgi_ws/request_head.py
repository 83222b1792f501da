# SPDX-License-Identifier: Apache-2.0
"""The header section of an HTTP request, within limits and strictly (RFC 9112 §5), for pywsgi.

pywsgi's own reader builds an e-mail message, takes megabytes before it complains, and answers some
garbage with a traceback. This one has the few methods that pywsgi calls.
"""

from __future__ import annotations

from typing import Protocol

# What common servers allow: 100 fields, 8 KiB for the longest, 16 KiB for all together.
MAX_FIELDS = 100
MAX_LINE_BYTES = 8192
MAX_TOTAL_BYTES = 16384


class BadHead(ValueError):
    """The request can't be understood; `status` is the answer's code and phrase."""

    def __init__(self, message: str, status: str = "400 Bad Request") -> None:
        super().__init__(message)
        self.status = status

    @property
    def formatted_message(self) -> str:
        """For pywsgi's log."""
        return str(self)


class LineReader(Protocol):
    """A buffered binary stream."""

    def readline(self, size: int) -> bytes:
        """A line with its end, cut at `size` bytes."""


class RequestHead:
    """Header fields by lower-case name; a repeated one is joined (cookies with `; `)."""

    status = ""  # pywsgi looks here for a parser's complaint; this one raises instead

    def __init__(self, stream: LineReader) -> None:
        """Read up to and including the empty line.

        :raises BadHead: 400, or 431 when it is too large.
        """
        self._fields: dict[str, str] = {}
        total = 0
        for _ in range(MAX_FIELDS + 1):
            line = stream.readline(MAX_LINE_BYTES + 1)
            total += len(line)
            if len(line) > MAX_LINE_BYTES or total > MAX_TOTAL_BYTES:
                raise _too_large(f"more than {MAX_TOTAL_BYTES} bytes of header fields")
            if line in (b"\r\n", b"\n"):
                return
            self._add(line)
        raise _too_large(f"more than {MAX_FIELDS} header fields")

    def _add(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise BadHead("the request ends within its header section")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _is_token(name):
            raise BadHead("a header line is not of the form `name: value`")
        text = value.strip(" \t\r\n")
        if "\0" in text or "\r" in text:
            raise BadHead(f"control characters in the header {name}")
        key = name.lower()
        if key in self._fields:
            text = self._fields[key] + ("; " if key == "cookie" else ",") + text
        self._fields[key] = text

    def get(self, name: str, default: str | None = None) -> str | None:
        """A field's value."""
        return self._fields.get(name.lower(), default)

    getheader = get

    def __delitem__(self, name: str) -> None:
        del self._fields[name.lower()]

    @property
    def typeheader(self) -> str | None:
        """The content type, or None."""
        return self._fields.get("content-type")

    def environ(self) -> dict[str, str]:
        """The fields as WSGI names them. A name with `_` is dropped: it could pass for another."""
        return {
            "HTTP_" + name.replace("-", "_").upper(): value
            for name, value in self._fields.items()
            if "_" not in name and name not in ("content-type", "content-length")
        }


_TOKEN_CHARACTERS = frozenset(  # RFC 9110 §5.6.2
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


def _is_token(name: str) -> bool:
    return bool(name) and _TOKEN_CHARACTERS.issuperset(name)


def _too_large(message: str) -> BadHead:
    return BadHead(message, "431 Request Header Fields Too Large")
