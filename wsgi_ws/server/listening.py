# SPDX-License-Identifier: Apache-2.0
"""Where the service listens, and whether an address can be had. Standard library only."""

from __future__ import annotations

import socket


def everywhere(port: int) -> list[str]:
    """gunicorn's `bind` for a port on all addresses of this machine."""
    if not socket.has_dualstack_ipv6():
        return [f"0.0.0.0:{port}"]
    return [*([f"0.0.0.0:{port}"] if _is_ipv6_alone() else []), f"[::]:{port}"]


def bind_error(host: str, port: int) -> OSError | None:
    """Why an address can't be listened at; None when it can.

    :param host: empty for all addresses.
    :raises OSError: when the host is unknown.
    """
    both = not host and socket.has_dualstack_ipv6()
    family, kind, _, _, address = socket.getaddrinfo(
        "::" if both else host or "0.0.0.0", port, type=socket.SOCK_STREAM
    )[0]
    try:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if both:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _is_ipv6_alone() -> bool:
    """Whether a socket for [::] takes no IPv4 unless told to, which gunicorn doesn't do: the
    kernel's net.ipv6.bindv6only."""
    with socket.socket(socket.AF_INET6) as probe:
        return bool(probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
