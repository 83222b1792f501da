# SPDX-License-Identifier: Apache-2.0
"""A connection to Redis that nobody else uses, its socket on the event loop.

The way in of every event, so it costs as little as it can. redis-py connects, authenticates and
finds the master; from then on its socket is used directly. Its pool looks at the connection before
each command and after it, its layers and gevent's make objects for each: that was more than half of
the cost of a read that brings one event.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from _socket import MSG_PEEK, SHUT_RDWR
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Iterator
from typing import Any

import gevent
import hiredis
import redis

from wsgi_ws.loop import READ
from wsgi_ws.sources.redis_client import MasterClient, connect_outside_the_pool

RECEIVE_BYTES = 65536


class RedisWire:
    """Commands and replies on one connection. After an error it is of no use any more."""

    def __init__(self, client: redis.Redis) -> None:
        """Connect.

        :param client: whose server to connect to, with its `socket_timeout` as the longest silence.
        :raises redis.RedisError: when that doesn't work.
        """
        self._client = client
        self._connection, sock = connect_outside_the_pool(client)
        self._replies = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=redis.ResponseError
        )
        self.reply_bytes = 0  # of what had to be received for the last reply
        timeout = self._connection.socket_timeout
        encrypted = isinstance(sock, ssl.SSLSocket)
        self._socket = _TlsSocket(sock) if encrypted else _PlainSocket(sock, timeout)

    def send(self, command: Any) -> None:
        """Send a command, a tuple.

        :raises OSError: when it can't be sent.
        """
        self._socket.send(hiredis.pack_command(command))

    def reply(self) -> Any:
        """The next reply, or what Redis says by itself.

        :raises redis.RedisError: it is an error, or nothing of Redis's.
        :raises OSError: the connection is lost, or silent for too long.
        """
        reply = self.next()
        if isinstance(reply, redis.RedisError):
            raise reply
        return reply

    def next(self) -> Any:
        """The same, but an error is returned.

        :raises OSError: as `reply`.
        """
        self.reply_bytes = 0
        while (reply := self._replies.gets()) is False:
            data = self._socket.receive()
            if not data:
                raise ConnectionError("Connection closed by server")
            self.reply_bytes += len(data)
            self._replies.feed(data)
        return reply

    def arrived(self) -> Iterator[Any]:
        """What has come behind the last reply, without waiting. Errors are among it."""
        while (reply := self._replies.gets()) is not False:
            yield reply

    def check_master(self) -> None:
        """With Sentinels, now and then: is this still the master?

        :raises redis.ConnectionError: there is a new one.
        """
        if isinstance(self._client, MasterClient):
            self._client.check_master(self._connection.host, self._connection.port)

    def interrupt(self) -> None:
        """End the connection, so that whoever waits for a reply gets an error."""
        self._socket.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        self._connection.disconnect()


class _TlsSocket:
    """A TLS connection, as gevent serves it; its time-out is redis-py's."""

    def __init__(self, sock: Any) -> None:
        self.send = sock.sendall
        self._sock = sock

    def receive(self) -> bytes:
        """What there is, once there is something; empty at the end."""
        return bytes(self._sock.recv(RECEIVE_BYTES))

    def interrupt(self) -> None:
        """Let a `receive` that waits return."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Nothing of its own to close."""


class _PlainSocket:
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
        self._drained = True  # by the last look nothing was left: the next one would be in vain

    def send(self, data: bytes) -> None:
        """Send a short command: it fits into the kernel's buffer, or nobody has read for long."""
        if self._sock.send(data) != len(data):
            raise ConnectionError("Redis doesn't read")

    def receive(self) -> bytes:
        """What there is, once there is something; empty at the end.

        :raises TimeoutError: nothing has come for too long.
        """
        while True:
            if self._drained:
                self._timer.again(self._give_up)
                self._hub.wait(self._watcher)
                self._timer.stop()
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self._drained = True
                continue
            self._drained = len(data) < RECEIVE_BYTES
            if self._late:
                raise TimeoutError(f"no answer for {self._timeout:.0f} s")
            return data

    def interrupt(self) -> None:
        """Let a `receive` that waits return."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the copy of the socket; redis-py closes its own."""
        self._watcher.close()
        self._timer.close()
        self._sock.close()

    def _give_up(self) -> None:
        """Time-out: shut the socket down, so that the waiting `recv` returns.

        When this worker has stood still, the time is over too, but Redis's answer is there.
        """
        with contextlib.suppress(OSError):
            if self._sock.recv(1, MSG_PEEK):
                return
        self._late = True
        self.interrupt()
