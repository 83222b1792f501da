# SPDX-License-Identifier: Apache-2.0
"""The socket that listens for `/metrics` alone, if `metricsPort` is set.

gunicorn's master opens it, all workers accept at it.
"""

from __future__ import annotations

import socket


class MetricsListener:
    """At most one listening socket, which may move to another address.

    :ivar socket: None: there is none.
    """

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self._address: tuple[str, int] | None = None

    def listen(self, host: str, port: int, *, replacing: bool) -> None:
        """Listen at an address, and no longer at the one before.

        :param port: 0: nowhere.
        :param replacing: another master that listens there is about to leave (SIGUSR2).
        :raises OSError: when the address can't be had; the one before is kept.
        :raises UnicodeError: when the host can't be a name.
        """
        wanted = (host, port) if port else None
        if wanted == self._address:
            return
        opened = _bound(host, port, replacing=replacing) if port else None
        self.close()
        self.socket, self._address = opened, wanted

    def close(self) -> None:
        """Listen nowhere."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._address = None


def _bound(host: str, port: int, *, replacing: bool) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not replacing:
        # SO_REUSEPORT below would silently share the port with a stranger of the same user.
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
