# SPDX-License-Identifier: Apache-2.0
"""A connection to Redis that nobody else uses, its socket on the event loop.

The way in of every event, and of what catch-ups read, so it costs as little as it can. redis-py
connects, authenticates and finds the master; from then on its socket is used directly. Its pool
looks at the connection before each command and after it, its layers and gevent's make objects for
each: that was more than half of the cost of a read that brings one event.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from _socket import MSG_PEEK, SHUT_RDWR
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import gevent
import hiredis
import redis

from wsgi_ws.loop import READ, give_way
from wsgi_ws.sources.redis_client import IDLE_MAX, MasterClient, connect_outside_the_pool
from wsgi_ws.sources.redis_replies import FORM_OF, MalformedReply, will_pass

RECEIVE_BYTES = 65536
# Commands sent at once, and their bytes (or one long command): two lots of them are on their way,
# which the kernel takes from whoever reads at all.
AHEAD = 64
AHEAD_BYTES = 16384


Command = tuple[str | bytes | int, ...]


class RedisWire:
    """Commands and replies on one connection. After an error it is of no use any more."""

    def __init__(self, client: redis.Redis) -> None:
        """Connect.

        :param client: whose server to connect to, with its `socket_timeout` as the longest silence.
        :raises redis.RedisError: when that doesn't work.
        """
        # Asked here once: for redis-py's clients, which are protocols, `isinstance` is slow.
        self._sentinels = client if isinstance(client, MasterClient) else None
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
        self.send_packed(hiredis.pack_command(command))

    def send_packed(self, command: bytes) -> None:
        """The same as Redis wants it on the wire."""
        self._socket.send(command)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands; returns the reply to each, errors among them.

        Redis works on some commands while the replies to those before are taken.

        :raises OSError: as `send` and `reply`.
        """
        replies: list[Any] = []
        before = 0  # commands of the last lot
        for count, lot in _lots(commands):
            self._socket.send(lot)
            replies += [self.next() for _ in range(before)]
            before = count
        replies += [self.next() for _ in range(before)]
        return replies

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

    @property
    def is_silent(self) -> bool:
        """Whether Redis has neither closed the connection nor said anything that nobody asked for:
        between two commands it must be."""
        try:
            left = any(True for _ in self.arrived())
        except redis.InvalidResponse:
            return False
        return not left and self._socket.is_silent()

    def check_master(self) -> None:
        """With Sentinels, now and then: is this still the master?

        :raises redis.ConnectionError: there is a new one.
        """
        if self._sentinels is not None:
            self._sentinels.check_master(self._connection.host, self._connection.port)

    def interrupt(self) -> None:
        """End the connection, so that whoever waits for a reply gets an error."""
        self._socket.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        self._connection.disconnect()


class Asked(Protocol):
    """The little of Redis that reading streams needs."""

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands; returns the reply to each, in order.

        An error of a single command is among the replies.

        :raises redis.RedisError: also OSError: Redis can't be asked.
        """


class Batches:
    """Commands in batches, on one connection for one greenlet. It is made at the first command, and
    anew after an error and where it may be dead.

    For whoever asks now and then and much at once: redis-py's pipeline makes objects for each
    command and walks through its layers for each reply, and a catch-up that its worker's history
    does not reach back to sends hundreds of commands.
    """

    def __init__(self, client: redis.Redis) -> None:
        """:param client: whose server to ask, with its `socket_timeout` as the longest silence."""
        self._client = client
        self._wire: RedisWire | None = None
        self._used_at = 0.0

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands; returns the reply to each, in order. Nothing is tried again.

        An error of a single command is among the replies.

        :raises redis.RedisError: also OSError: Redis can't be asked.
        """
        wire = self._trusted_wire()
        try:
            replies = wire.ask(commands)
        except BaseException:  # also when the greenlet is killed: replies would be left
            self.close()
            raise
        self._used_at = time.monotonic()
        checked = [
            _checked(str(command[0]), reply)
            for command, reply in zip(commands, replies, strict=True)
        ]
        if any(isinstance(reply, redis.RedisError) and will_pass(reply) for reply in checked):
            self.close()  # perhaps another server answers, or this one after a new greeting
        return checked

    def close(self) -> None:
        """Close the connection; the next command makes another one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _trusted_wire(self) -> RedisWire:
        """A connection that is not dead as far as can be seen without asking."""
        wire = self._wire
        if wire is not None and time.monotonic() - self._used_at <= IDLE_MAX and wire.is_silent:
            return wire
        self.close()
        self._wire = RedisWire(self._client)
        return self._wire


class _TlsSocket:
    """A TLS connection, as gevent serves it; its time-out is redis-py's."""

    def __init__(self, sock: Any) -> None:
        self.send = sock.sendall
        self._sock = sock
        self._raw = _copy_of(sock)

    def receive(self) -> bytes:
        """What there is, once there is something; empty at the end. Gives way to the loop."""
        give_way()  # it waits for nothing where there is something
        return bytes(self._sock.recv(RECEIVE_BYTES))

    def interrupt(self) -> None:
        """Let a `receive` that waits return."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def is_silent(self) -> bool:
        """Whether nothing has come, encrypted or not."""
        return not self._sock.pending() and _is_silent(self._raw)

    def close(self) -> None:
        """Close the copy of the socket; redis-py closes its own."""
        self._raw.close()


class _PlainSocket:
    """A TCP or Unix socket, with one watcher and one timer for all of its life."""

    def __init__(self, sock: Any, timeout: float) -> None:
        """
        :param sock: connected, and open as long as this.
        :param timeout: seconds that a wait may last.
        """
        self._hub = gevent.get_hub()
        self._sock = _copy_of(sock)
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
        """What there is, once there is something; empty at the end. Gives way to the loop.

        :raises TimeoutError: nothing has come for too long.
        """
        while True:
            if self._drained:
                self._timer.again(self._give_up)
                self._hub.wait(self._watcher)
                self._timer.stop()
            else:
                give_way()
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                self._drained = True
                continue
            self._drained = len(data) < RECEIVE_BYTES
            if self._late:
                raise TimeoutError(f"no answer for {self._timeout:.0f} s")
            return data

    def is_silent(self) -> bool:
        """Whether nothing has come."""
        return _is_silent(self._sock)

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


def _lots(commands: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """Commands as they go out together, and how many they are."""
    lot: list[bytes] = []
    size = 0
    for command in commands:
        packed = hiredis.pack_command(command)
        if lot and (len(lot) == AHEAD or size + len(packed) > AHEAD_BYTES):
            yield len(lot), b"".join(lot)
            lot, size = [], 0
        lot.append(packed)
        size += len(packed)
    if lot:
        yield len(lot), b"".join(lot)


def _copy_of(sock: Any) -> RawSocket:
    copy = RawSocket(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
    copy.setblocking(False)
    return copy


def _is_silent(sock: RawSocket) -> bool:
    try:
        sock.recv(1, MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False  # something has come, or the end


def _checked(name: str, reply: Any) -> Any:
    """A reply that has the form of its command's, or an error."""
    if isinstance(reply, redis.RedisError):
        return reply
    try:
        return FORM_OF[name](reply)
    except MalformedReply as error:
        return error
