# SPDX-License-Identifier: Apache-2.0
"""One admitted WebSocket on the event loop: reads, writes, backlog. Its end: see `closing`.

Knows nothing of Redis, HTTP or who gets which event; `channel` is carried for others. There is no
greenlet behind a connection: the callbacks below run in the hub, so nothing here may block or
raise. The end of a connection is reported from the loop, never from inside `send`, so a caller can
send to each connection of a set without a copy of the set.

Theory. In the usual case `send` is one system call. What the kernel doesn't take goes into the
backlog, which has a bound in bytes, and a write watcher empties it. Once a connection is closing
its backlog exists and takes no messages, which keeps the test in `send` a single one. What a client
sends is counted (`allowance`) from its first byte on; a connection keeps no count itself.
"""

from __future__ import annotations

import socket
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from wsgi_ws.loop import READ, WRITE
from wsgi_ws.websocket.allowance import Allowance, Allowances
from wsgi_ws.websocket.closing import LISTENING, Ending, Event, State, after
from wsgi_ws.websocket.frames import (
    Close,
    CloseCode,
    Data,
    Frame,
    FrameReader,
    Ping,
    Pong,
    ProtocolError,
    ping_frame,
    ping_of,
    pong_frame,
)

RECEIVE_BYTES = 16384  # more than a client of this protocol sends in its life


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection.

    :ivar max_backlog_bytes: what a client may leave unread behind the message under way when the
        next one comes; 0 = no bound. The backlog is at most this and two messages.
    :ivar close_timeout: seconds until a client that does not answer a close is cut.
    """

    max_message_bytes: int
    max_backlog_bytes: int
    close_timeout: float


class Owner(Protocol):
    """Whom a connection tells what happens to it; shared by all connections of a worker."""

    @property
    def loop(self) -> Any:
        """gevent's event loop."""

    @property
    def limits(self) -> Limits: ...

    @property
    def allowances(self) -> Allowances:
        """What its clients may still send."""

    def on_data(self, connection: Connection, message: Data) -> None:
        """The client sent a message."""

    def on_send_error(self, connection: Connection, error: OSError) -> None:
        """A write failed; the connection is about to end."""

    def on_slow(self, connection: Connection) -> None:
        """The client has read too slowly. Called from the loop, before `on_ended`."""

    def on_ended(self, connection: Connection, ending: Ending) -> None:
        """The connection is over and its descriptor closed. Called once, from the loop."""


class _Backlog:
    """Bytes that the kernel has not taken yet, in order."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes | memoryview] = deque()
        self.size = 0


class Connection:
    """An open WebSocket. `opened_at`, `pong_at`, `taken_until`, `unanswered_since`: times of
    `time.monotonic`."""

    __slots__ = (
        "_backlog",
        "_deadline",
        "_ending",
        "_owner",
        "_read_watcher",
        "_reader",
        "_sock",
        "_write_watcher",
        "channel",
        "events_sent",
        "number",
        "opened_at",
        "pong_at",
        "slot",
        "state",
        "taken_until",
        "unanswered_since",
    )

    def __init__(self, owner: Owner, sock: RawSocket, channel: str, number: int) -> None:
        """Take over a connected TCP or Unix socket whose handshake is done.

        :param sock: not blocking; this object closes it.
        :param number: tells connections of a worker apart in logs.
        """
        self.channel = channel
        self.number = number
        self.state = State.OPEN
        self.events_sent = 0  # counted by those who send them
        self.opened_at = time.monotonic()
        self.pong_at = self.opened_at  # the last sign of life; at first, the handshake
        self.taken_until = self.opened_at  # what was sent before has arrived: a pong has proven it
        self.unanswered_since: float | None = None  # first ping without a pong
        self.slot = 0  # the heartbeat's place for it
        self._owner = owner
        self._sock = sock
        self._backlog: _Backlog | None = None
        self._reader: FrameReader | None = None  # while a part of a frame or message is pending
        self._write_watcher: Any = None
        self._deadline: Any = None
        self._ending: Ending | None = None
        self._read_watcher = owner.loop.io(sock.fileno(), READ)
        self._read_watcher.start(self._on_readable)

    def __repr__(self) -> str:
        channel = self.channel[:8].encode("unicode_escape").decode("ascii")
        return f"socket {self.number} of channel {channel}"

    # --- for others ------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Send a frame now or queue it. Never blocks, never raises; a no-op once closing."""
        if self._backlog is None:
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(frame):
                return
            # A view: of a large frame for thousands there is one copy.
            self._queue(memoryview(frame)[sent:] if sent else frame)
        elif self.state is State.OPEN and not self._is_cut_as_slow():
            self._queue(frame)

    def ping(self, now: float) -> None:
        """Send a ping; `unanswered_since` is its time unless an earlier one is unanswered."""
        if self.unanswered_since is None:
            self.unanswered_since = now
        self._send_control(ping_frame(now))

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake after what is queued; cut it after the close timeout."""
        self._advance(Event.CLOSE, Ending(code, reason, "server"))

    def terminate(self, reason: str) -> None:
        """Cut the connection at once, without a close frame."""
        self._advance(Event.LOST, Ending(CloseCode.ABNORMAL, reason, "server"))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; also those that came together with the handshake."""
        if self.state is State.ENDED:
            return
        try:
            allowance = self._count_bytes(len(data))
            if self.state in LISTENING:
                self._read(data, allowance)
        except ProtocolError as error:
            self._fail(error)

    @property
    def ended(self) -> bool:
        """Whether it is over and its descriptor closed."""
        return self.state is State.ENDED

    @property
    def backlog_bytes(self) -> int:
        """Bytes waiting for the client to read."""
        return self._backlog.size if self._backlog else 0

    # --- called by the loop ----------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._advance(Event.LOST, Ending.of_error(error))
            return
        if data:
            self.receive(data)
        else:
            self._advance(Event.LOST, Ending(CloseCode.ABNORMAL, "end of stream", "client"))

    def _on_writable(self) -> None:
        backlog = self._backlog
        assert backlog is not None
        try:
            while backlog.chunks:
                chunk = backlog.chunks[0]
                sent = self._sock.send(chunk)
                backlog.size -= sent
                if sent < len(chunk):
                    backlog.chunks[0] = memoryview(chunk)[sent:]
                    return
                backlog.chunks.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._on_flushed()

    def _on_flushed(self) -> None:
        self._stop_writing()
        if self.state is State.OPEN:
            self._backlog = None
        else:
            self._advance(Event.FLUSHED)

    def _on_deadline(self) -> None:
        self._advance(Event.LOST)

    # --- steps -----------------------------------------------------------------------------------

    def _count_bytes(self, count: int) -> Allowance:
        allowance = self._owner.allowances.of(self, time.monotonic())
        if not allowance.take_bytes(count):
            raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many bytes per second")
        return allowance

    def _read(self, data: bytes, allowance: Allowance) -> None:
        reader = self._reader or FrameReader(self._owner.limits.max_message_bytes)
        self._reader = reader
        for frame in reader.feed(data, allowance):
            self._on_frame(frame)
            if self.state not in LISTENING:
                return
        if reader.at_rest:
            self._reader = None

    def _on_frame(self, frame: Frame) -> None:
        if isinstance(frame, Pong):
            self._on_pong(frame)
        elif isinstance(frame, Close):
            self._reader = None
            self._advance(Event.CLIENT_CLOSED, Ending.of_close(frame))
        elif self.state is not State.OPEN:
            return
        elif isinstance(frame, Ping):
            self._send_control(pong_frame(frame.payload))
        else:
            self._owner.on_data(self, frame)

    def _on_pong(self, pong: Pong) -> None:
        """A sign of life; and what was sent before its own ping, which is not always the last one,
        has arrived."""
        self.pong_at = time.monotonic()
        self.unanswered_since = None
        sent_at = ping_of(pong.payload)
        if sent_at is not None and self.taken_until < sent_at <= self.pong_at:
            self.taken_until = sent_at

    def _fail(self, error: ProtocolError) -> None:
        self._reader = None
        if error.code is CloseCode.POLICY_VIOLATION:
            self._read_watcher.stop()  # from here on TCP's flow control holds the flood back
        self._advance(Event.CLIENT_FAILED, Ending.of_failure(error))

    def _advance(self, event: Event, ending: Ending | None = None) -> None:
        """Enter the state that follows. `ending` counts if this event begins the end."""
        before, self.state = self.state, after(self.state, event)
        if self.state is before:
            return
        if self._ending is None:
            self._ending = ending
        elif event is Event.CLIENT_CLOSED and ending is not None:
            self._ending = self._ending.answered_by(ending)
        if self.state is State.ENDED:
            self._release()
        elif before is State.OPEN:
            self._send_close()
        elif self.state is State.HALF_CLOSED:
            self._half_close()

    def _send_close(self) -> None:
        assert self._ending is not None
        self._deadline = self._owner.loop.timer(self._owner.limits.close_timeout)
        self._deadline.start(self._on_deadline)
        if self._backlog is None:
            self._backlog = _Backlog()
        frame = self._ending.frame
        self._backlog.chunks.append(frame)
        self._backlog.size += len(frame)
        if self._write_watcher is None:
            self._on_writable()
        if not self.ended and self._backlog.chunks:
            self._start_writing()

    def _half_close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._advance(Event.LOST, Ending.of_error(error))

    def _send_control(self, frame: bytes) -> None:
        """A ping or pong is no reason to cut a client that is reading a large message."""
        if self._backlog is None:
            self.send(frame)
        elif self.state is State.OPEN:
            self._queue(frame)

    def _is_cut_as_slow(self) -> bool:
        """Cut a client that leaves too much unread.

        The next message does not count, nor the one under way: if they did, a message larger than
        the limit would cut clients that read as fast as they can.
        """
        limit, backlog = self._owner.limits.max_backlog_bytes, self._backlog
        assert backlog is not None
        unread = backlog.size - len(backlog.chunks[0])
        if not limit or unread <= limit:
            return False
        # From the loop: a log line costs more than a send, and the other sockets wait for theirs.
        self._owner.loop.run_callback(self._owner.on_slow, self)
        self.terminate(f"{unread} bytes unread")
        return True

    def _queue(self, chunk: bytes | memoryview) -> None:
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = _Backlog()
        backlog.chunks.append(chunk)
        backlog.size += len(chunk)
        self._start_writing()

    def _start_writing(self) -> None:
        if self._write_watcher is None:
            self._write_watcher = self._owner.loop.io(self._sock.fileno(), WRITE)
            self._write_watcher.start(self._on_writable)

    def _stop_writing(self) -> None:
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
            self._write_watcher = None

    def _lose(self, error: OSError) -> None:
        self._owner.on_send_error(self, error)
        self._advance(Event.LOST, Ending.of_error(error))

    def _release(self) -> None:
        self._stop_writing()
        self._read_watcher.stop()
        self._read_watcher.close()
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline.close()
        self._reader = None
        self._backlog = _Backlog()
        self._sock.close()
        self._owner.loop.run_callback(self._owner.on_ended, self, self._ending)
