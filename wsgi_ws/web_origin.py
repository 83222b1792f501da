# SPDX-License-Identifier: Apache-2.0
"""Web origins (RFC 6454): scheme, host and port of a page, and what is wrong with a configured one.

Pure.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from wsgi_ws.addresses import port_of

ANY = "*"
OPAQUE = "null"  # RFC 6454 §7: what browsers send for pages without an origin, as sandboxed frames


class WebOrigin(NamedTuple):
    """An origin in its normal form: `https://a` and `https://A.:443/` are one."""

    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> WebOrigin | None:
    """The origin of a URL or of an `Origin` header; None when it has no scheme or no host."""
    try:
        parts = urlsplit(text)
        port = port_of(parts)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    return WebOrigin(parts.scheme, host, port) if parts.scheme and host else None


def problem_with(entry: str) -> str | None:
    """Why an entry of `allowedOrigins` matches no page, with the right form; None if it can match.

    The text goes behind the entry: `has no scheme: write https://a.example.org`.
    """
    if entry in (ANY, OPAQUE):
        return None
    bare = entry.strip("[]\"' \t")
    if not bare:
        return "is empty: remove it, or name an origin like https://a.example.org"
    if bare != entry:
        return f"has quotes, brackets or spaces around it: write {_form(bare)}, separated by commas"
    if ANY in entry:
        return f"has a star, which must stand alone and means all: name each, like {_form(entry)}"
    origin = parse_origin(entry)
    if origin is None:
        return f"has no scheme or no host: write {_form(entry)}"
    if origin.scheme in ("ws", "wss"):
        return f"is the socket's URL, not its page's: write {_form(entry)}"
    return None


def _form(entry: str) -> str:
    """The origin that an entry probably means."""
    scheme, colon, rest = entry.partition("://")
    host = (rest if colon else entry).lstrip("/").replace("*.", "a.") or "a.example.org"
    plain = scheme in ("http", "ws") and colon
    return f"{'http' if plain else 'https'}://{host}"
