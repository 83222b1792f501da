# SPDX-License-Identifier: Apache-2.0
"""One connection for following a stream: XREAD with BLOCK, on the event loop.

The way in of every event, so it costs as little as it can.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from _socket import SHUT_RDWR
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from typing import Any

import gevent
import hiredis
import redis

from wsgi_ws.loop import READ
from wsgi_ws.sources.redis_client import MasterClient, connect_outside_the_pool
from wsgi_ws.sources.redis_replies import MalformedReply, entries_of, stream_of
from wsgi_ws.sources.stream_id import StreamId

RECEIVE_BYTES = 65536


class BlockingReader:
    """XREAD on one connection that nobody else uses, in two steps: `ask`, and later `take`.

    redis-py connects, authenticates and finds the master; from then on its socket is used directly.
    Its pool looks at the connection before each command and after it, its layers and gevent's make
    objects for each: that was more than half of the cost of a read that brings one event. And Redis
    can fill the next reply while the last one is worked on. After an error the reader is of no use
    any more.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Connect.

        :param client: whose server to read, with its `socket_timeout` as the longest silence.
        :raises redis.RedisError: when that doesn't work.
        """
        self._client = client
        self._connection, sock = connect_outside_the_pool(client)
        self._replies = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=redis.ResponseError
        )
        self.reply_bytes = 0  # of the last reply
        self._asked_after: deque[bytes] = deque()
        timeout = self._connection.socket_timeout
        encrypted = isinstance(sock, ssl.SSLSocket)
        self._wire = _TlsWire(sock) if encrypted else _PlainWire(sock, timeout)

    def ask(self, key: str, position: bytes, *, count: int, block_ms: int) -> None:
        """Send a command for the entries of a stream after `position`.

        :raises redis.RedisError: when the master has moved.
        :raises OSError: when it can't be sent.
        """
        if isinstance(self._client, MasterClient):
            self._client.check_master(self._connection.host, self._connection.port)
        command: Any = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", key, position)
        self._wire.send(hiredis.pack_command(command))
        self._asked_after.append(position)

    def take(self) -> Any:
        """The entries that were asked for, oldest first; empty when none came in time.

        :raises redis.RedisError: Redis answers with an error, or with something else.
        :raises OSError: the connection is lost, or silent for too long.
        """
        entries = stream_of(self._reply())
        position = self._asked_after.popleft()
        if entries and StreamId.parse(entries[0][0]) <= StreamId.parse(position):
            raise MalformedReply("entries from before the position that was asked for")
        return entries

    def oldest(self, key: str) -> Any:
        """The oldest entry of a stream, in a sequence; empty when there is none.

        Only between `take` and the next `ask`.

        :raises redis.RedisError: also OSError, as `take`.
        """
        command: Any = ("XRANGE", key, "-", "+", "COUNT", 1)
        self._wire.send(hiredis.pack_command(command))
        return entries_of(self._reply())

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()
        self._connection.disconnect()

    def _reply(self) -> Any:
        # None is asked for before the last one has come: all that is received belongs to one.
        self.reply_bytes = 0
        while (reply := self._replies.gets()) is False:
            data = self._wire.receive()
            if not data:
                raise ConnectionError("Connection closed by server")
            self.reply_bytes += len(data)
            self._replies.feed(data)
        if isinstance(reply, redis.RedisError):
            raise reply
        return reply


class _TlsWire:
    """A TLS connection, as gevent serves it; its time-out is redis-py's."""

    def __init__(self, sock: Any) -> None:
        self.send = sock.sendall
        self._sock = sock

    def receive(self) -> bytes:
        """What there is, once there is something; empty at the end."""
        return bytes(self._sock.recv(RECEIVE_BYTES))

    def close(self) -> None:
        """Nothing of its own to close."""


class _PlainWire:
    """A TCP or Unix socket, with one watcher and one timer for all of its life."""

    def __init__(self, sock: Any, timeout: float) -> None:
        """
        :param sock: connected, and open as long as this.
        :param timeout: seconds that a wait may last.
        """
        self._hub = gevent.get_hub()
        self._sock = RawSocket(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
        self._sock.setblocking(False)
        self._watcher = self._hub.loop.io(self._sock.fileno(), READ)
        self._timer = self._hub.loop.timer(timeout, timeout)
        self._timeout = timeout
        self._late = False

    def send(self, data: bytes) -> None:
        """Send a short command: it fits into the kernel's buffer, or nobody has read for long."""
        if self._sock.send(data) != len(data):
            raise ConnectionError("Redis doesn't read")

    def receive(self) -> bytes:
        """What there is, once there is something; empty at the end.

        :raises TimeoutError: nothing has come for too long.
        """
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self._timer.again(self._give_up)
                self._hub.wait(self._watcher)
                self._timer.stop()
                continue
            if self._late:
                raise TimeoutError(f"no answer for {self._timeout:.0f} s")
            return data

    def close(self) -> None:
        """Close the copy of the socket; redis-py closes its own."""
        self._watcher.close()
        self._timer.close()
        self._sock.close()

    def _give_up(self) -> None:
        """Time-out: shut the socket down, so that the waiting `recv` returns."""
        self._late = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)
