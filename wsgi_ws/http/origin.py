# SPDX-License-Identifier: Apache-2.0
"""Cross-site WebSocket hijacking, and who may say which host was asked for. Pure.

A foreign page can open a WebSocket here and the browser sends the cookie along; only the `Origin`
header tells. Superset's page and this server share a host name (the cookie needs it), so an origin
of another host name is foreign unless it is configured.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from wsgi_ws.addresses import unmapped, unmapped_text
from wsgi_ws.web_origin import ANY, OPAQUE, parse_origin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_allowed(origin: str, asked_host: str, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may connect.

    A page without a host (`null`: a sandboxed frame of any site, a file) needs `null` in `allowed`.

    :param origin: the `Origin` header; pages send it, other programs don't and are let through.
    :param asked_host: the host (with or without port) that the client asked for.
    :param allowed: more origins (`https://bi.example.com`), or `*` for all.
    """
    if not origin or ANY in allowed:
        return True
    page = parse_origin(origin)
    if page is None:
        return origin == OPAQUE and OPAQUE in allowed
    if page in {parse_origin(entry) for entry in allowed}:
        return True
    asked = parse_origin("http://" + asked_host)
    return asked is not None and page.host == asked.host


def asked_host(environ: Mapping[str, Any], trusted_proxies: Sequence[Network]) -> str:
    """The host that the browser asked for.

    `X-Forwarded-Host` counts when the peer is a trusted proxy (or a Unix socket is between): anyone
    can send it.
    """
    forwarded = environ.get("HTTP_X_FORWARDED_HOST", "")
    if forwarded and is_trusted(environ.get("REMOTE_ADDR"), trusted_proxies):
        return str(forwarded).split(",")[0].strip()
    return str(environ.get("HTTP_HOST", ""))


def is_trusted(peer: str | None, trusted_proxies: Sequence[Network]) -> bool:
    """Whether the peer's address is one of a trusted proxy. `None` stands for a Unix socket."""
    if not trusted_proxies:
        return False
    if peer is None:
        return True
    address = unmapped(ipaddress.ip_address(_without_scope(peer)))
    return any(address in network for network in trusted_proxies)


def client_address(peer: str | None, forwarded_for: str, trusted_proxies: Sequence[Network]) -> str:
    """The client's address behind trusted proxies, for logs.

    Each proxy appends its peer to `X-Forwarded-For`, and everything left of the first address that
    no trusted proxy has written may be invented: so it is the right-most one that is not trusted.
    """
    address = unmapped_text(peer) if peer else "a Unix socket"
    if not forwarded_for or not is_trusted(peer or None, trusted_proxies):
        return address
    for text in reversed(forwarded_for.split(",")):
        try:
            hop = str(ipaddress.ip_address(_without_scope(_without_port(text.strip()))))
        except ValueError:  # "unknown", or nonsense: beyond this nothing is known
            break
        address = unmapped_text(hop)
        if not is_trusted(hop, trusted_proxies):
            break
    return address


def _without_scope(hop: str) -> str:
    """`fe80::1%eth0` without its scope (RFC 4007 §11), which may be any text for a log line."""
    return hop.partition("%")[0]


def _without_port(hop: str) -> str:
    """Some proxies write `203.0.113.7:50123` or `[2001:db8::1]:50123`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
