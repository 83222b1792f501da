# SPDX-License-Identifier: Apache-2.0
"""Host names, IP addresses and default ports: rules that HTTP and the command line share. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult

# RFC 9110 §4.2, RFC 6455 §3.
DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SHORT_LOOPBACK = re.compile(r"127(\.\d+){1,2}")  # inet_aton(3) takes 127.1 for 127.0.0.1
_MAPPED = "::ffff:"


def port_of(url: SplitResult) -> int | None:
    """The port of a URL: its own, or its scheme's; None for a scheme without one here.

    :raises ValueError: when the port is no number of a port.
    """
    return url.port or DEFAULT_PORTS.get(url.scheme)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means the very machine (or container) that uses it."""
    name = host.lower().rstrip(".")
    if name == "localhost" or _SHORT_LOOPBACK.fullmatch(name):
        return True
    return is_loopback_address(name)


def is_loopback_address(text: str) -> bool:
    """Whether this is an IP address of the loopback; a name is none."""
    try:
        return unmapped(ip_address(text)).is_loopback
    except ValueError:
        return False


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2), else the address itself.

    A dual-stack listener sees its IPv4 peers as mapped addresses.
    """
    return getattr(address, "ipv4_mapped", None) or address


def unmapped_text(address: str) -> str:
    """Likewise for an address as text: `203.0.113.7` for `::ffff:203.0.113.7`.

    The kernel and Python 3.13 write the last part with dots, older Pythons in hexadecimal.
    """
    if not address.startswith(_MAPPED):
        return address
    rest = address.removeprefix(_MAPPED)
    return rest if "." in rest else str(unmapped(ip_address(address)))
