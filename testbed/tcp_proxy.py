# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on loopback that can be cut, frozen and restored: the network between two servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class TcpProxy:
    """Forwards connections to a port, as long as it is told to."""

    def __init__(
        self, target_port: int, port: int = 0, rewrite: Callable[[bytes], bytes] | None = None
    ) -> None:
        """
        :param port: its own; any free one unless told.
        :param rewrite: what the target gets in place of each piece that a client sends.
        """
        self._rewrite = rewrite
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._sockets: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections with a reset and refuse new ones."""
        self._refusing = True
        self._drop_all()

    def restore(self) -> None:
        """Forward again; frozen connections stay dead, as behind a firewall that forgot them."""
        self._refusing = False
        self._flowing.set()

    def freeze(self) -> None:
        """Swallow what existing connections send, without ever closing them: half-open."""
        self._flowing.clear()

    def forget(self) -> None:
        """Swallow for ever what is sent on the connections that there are, as a balancer that has
        forgotten them; new ones work."""
        self._forgotten.update(self._sockets)

    def inject(self, data: bytes) -> None:
        """Send bytes to all clients, as if the target had."""
        for each in list(self._clients):
            with contextlib.suppress(OSError):  # one that has left
                each.sendall(data)

    def close(self) -> None:
        """Stop for good."""
        self._listener.close()
        self._flowing.set()
        self._drop_all()

    def _drop_all(self) -> None:
        sockets, self._sockets, self._clients = self._sockets, [], []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                client.close()
                continue
            for each in (client, server):  # or small pieces would wait for acknowledgements
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            self._clients.append(client)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        frozen = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                frozen = frozen or not self._flowing.is_set() or source in self._forgotten
                if self._rewrite and source in self._clients:
                    data = self._rewrite(data)
                if not frozen:
                    target.sendall(data)
            if not frozen:
                target.shutdown(socket.SHUT_WR)
