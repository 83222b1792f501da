# SPDX-License-Identifier: Apache-2.0
"""A TCP connection that has not said yet what it wants: collects a request's head on the loop.

No greenlet waits behind it: one that has hardly run is expensive (its stack is cold memory), and a
storm of reconnecting clients, or of connections that never say anything, would make one for each.
Knows nothing of HTTP but where a head ends.
"""

from __future__ import annotations

import contextlib
import time
from _socket import SHUT_WR
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from typing import Any, Protocol

from wsgi_ws.http.request import MAX_HEAD_BYTES, end_of_head, is_tls
from wsgi_ws.loop import READ

RECEIVE_BYTES = MAX_HEAD_BYTES


class Host(Protocol):
    """Whom an arrival tells what happens to it."""

    @property
    def loop(self) -> Any:
        """gevent's event loop."""

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole head."""

    def on_head(self, arrival: Arrival) -> None:
        """A head is complete, or can't become a good one."""

    def on_late(self, arrival: Arrival) -> None:
        """The head is not complete, and its time is over."""

    def on_left(self, arrival: Arrival) -> None:
        """It is no arrival any more: closed, or somebody else's."""


class Arrival:
    """`peer` is the address as `accept` told it, `complete_at` a time of `time.monotonic`."""

    __slots__ = (
        "_data",
        "_host",
        "_left",
        "_sock",
        "_timer",
        "_watcher",
        "complete_at",
        "listener",
        "peer",
    )

    def __init__(self, host: Host, sock: RawSocket, peer: Any, listener: Any) -> None:
        """
        :param sock: not blocking; this object closes it unless it is taken over.
        :param listener: where it was accepted; not used here.
        """
        self.peer = peer
        self.listener = listener
        self.complete_at = 0.0
        self._host = host
        self._sock = sock
        self._data = b""
        self._left = False
        self._watcher = host.loop.io(sock.fileno(), READ)
        self._watcher.start(self._on_readable)
        self._timer = host.loop.timer(host.request_timeout)
        self._timer.start(host.on_late, self)

    @property
    def silent(self) -> bool:
        """Whether nothing at all has come."""
        return not self._data

    def head_and_rest(self) -> tuple[bytes, bytes]:
        """The head with its empty line, as far as there is one, and what came behind it."""
        end = end_of_head(self._data)
        return self._data[:end], b"" if end is None else self._data[end:]

    def take_over(self) -> int:
        """The descriptor, now the caller's."""
        self._leave()
        return self._sock.detach()

    def answer(self, data: bytes) -> None:
        """Send a short last answer, and close."""
        with contextlib.suppress(OSError):
            self._sock.send(data)  # the first bytes on this connection: they fit into its buffer
            self._sock.shutdown(SHUT_WR)
            self._sock.recv(RECEIVE_BYTES)  # what is unread at the end resets the answer away
        self.close()

    def close(self) -> None:
        """End without a word."""
        self._leave()
        self._sock.close()

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        looked_through = len(self._data)
        self._data += data
        if not self._data:
            self.close()
        elif not data or self._is_complete(looked_through):
            self._stop_waiting()
            self.complete_at = time.monotonic()
            self._host.on_head(self)

    def _is_complete(self, looked_through: int) -> bool:
        end = end_of_head(self._data, looked_through)
        return end is not None or len(self._data) > MAX_HEAD_BYTES or is_tls(self._data)

    def _stop_waiting(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._timer.stop()
        self._timer.close()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._stop_waiting()
            self._host.on_left(self)
