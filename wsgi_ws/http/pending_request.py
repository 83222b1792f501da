# SPDX-License-Identifier: Apache-2.0
"""A connection that has not said yet what it wants: collects a request's head on the loop.

No greenlet waits behind it: one that has hardly run is expensive (its stack is cold memory), and a
storm of reconnecting clients, or of connections that never say anything, would make one for each.
Knows nothing of HTTP but where a head ends, and how to answer with an error.
"""

from __future__ import annotations

import contextlib
import sys
import time
from _socket import SHUT_WR
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from wsgi_ws.http.request import end_of_head, is_tls
from wsgi_ws.loop import READ

RECEIVE_BYTES = 65536  # no head may be longer

Taker = TypeVar("Taker")


class Endpoint(NamedTuple):
    """What a listening socket serves.

    :ivar takes_upgrades: whether WebSockets are served there, or plain HTTP only.
    :ivar environ: what the WSGI environ of its plain requests has besides the usual.
    :ivar ceiling: descriptors from this number on are not for its clients.
    """

    takes_upgrades: bool
    environ: Mapping[str, Any]
    ceiling: int = sys.maxsize


class Owner(Protocol):
    """Whom a pending request tells what happens to it."""

    @property
    def loop(self) -> Any:
        """gevent's event loop."""

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole head."""

    @property
    def max_head_bytes(self) -> int:
        """How long a head may be."""

    def on_head(self, pending: PendingRequest) -> None:
        """A head is complete, or can't become a good one."""

    def on_late(self, pending: PendingRequest) -> None:
        """The head is not complete, and its time is over."""

    def on_left(self, pending: PendingRequest) -> None:
        """It is not pending any more: closed, or somebody else's."""


class PendingRequest:
    """`peer` is the address as `accept` told it, `complete_at` a time of `time.monotonic`.

    The socket has one owner at each moment: this object, until it closes the socket or hands it
    over. From then on all that it is told to do is without effect.
    """

    __slots__ = (
        "_data",
        "_end",
        "_left",
        "_owner",
        "_sock",
        "_timer",
        "_watcher",
        "complete_at",
        "endpoint",
        "peer",
    )

    def __init__(self, owner: Owner, sock: RawSocket, peer: Any, endpoint: Endpoint) -> None:
        """
        :param sock: not blocking.
        :param endpoint: where it was accepted.
        """
        self.peer = peer
        self.endpoint = endpoint
        self.complete_at = 0.0
        self._owner = owner
        self._sock = sock
        self._data = b""
        self._end: int | None = None  # of the head, once that has come
        self._left = False
        self._watcher: Any = None  # while the head has not come
        self._timer: Any = None

    def begin(self) -> None:
        """Read what has come. In a storm of clients, as behind a proxy, the head is there already,
        and nothing has to be set up to wait for it."""
        self._on_readable()
        if not self._left and not self.complete_at:
            self._watcher = self._owner.loop.io(self._sock.fileno(), READ)
            self._watcher.start(self._on_readable)
            self._timer = self._owner.loop.timer(self._owner.request_timeout)
            self._timer.start(self._owner.on_late, self)

    @property
    def silent(self) -> bool:
        """Whether nothing at all has come."""
        return not self._data

    def head_and_rest(self) -> tuple[bytes, bytes]:
        """The head with its empty line, as far as there is one, and what came behind it."""
        end = self._end
        return self._data[:end], b"" if end is None else self._data[end:]

    def hand_over(self, take: Callable[[RawSocket], Taker]) -> Taker:
        """Hand the socket to its next owner; the socket is closed when that fails.

        :returns: what `take` makes of the socket.
        """
        self._leave()
        try:
            return take(self._sock)
        except BaseException:
            self._sock.close()
            raise

    def reject(self, status: str, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer with an HTTP error, and close.

        :param status: the status line's end, like `400 Bad Request`.
        """
        if self._left:
            return
        with contextlib.suppress(OSError):
            # The first bytes on this connection: they fit into its buffer.
            self._sock.send(_http_error(status, text, headers))
            self._sock.shutdown(SHUT_WR)
            self._sock.recv(RECEIVE_BYTES)  # closing with unread input would reset the answer away
        self.close()

    def close(self) -> None:
        """End without a word."""
        if not self._left:
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
            self._owner.on_head(self)

    def _is_complete(self, looked_through: int) -> bool:
        self._end = end_of_head(self._data, looked_through)
        return (
            self._end is not None
            or len(self._data) > self._owner.max_head_bytes
            or is_tls(self._data)
        )

    def _stop_waiting(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._timer.stop()
            self._timer.close()
            self._watcher = self._timer = None

    def _leave(self) -> None:
        self._left = True
        self._stop_waiting()
        self._owner.on_left(self)


def _http_error(status: str, text: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """A whole answer, after which the connection is closed."""
    body = f"{status}: {text}\n".encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{fields}\r\n"
    )
    return head.encode("latin-1", "replace") + body
