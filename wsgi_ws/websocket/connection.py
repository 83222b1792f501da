# SPDX-License-Identifier: Apache-2.0
"""One admitted WebSocket on the event loop: reads, writes, backlog, closing.

Knows nothing of Redis, HTTP or who gets which event; `channel` is carried for others. There is no
greenlet behind a connection: the callbacks below run in the hub, so nothing here may block or
raise. The end of a connection is reported from the loop, never from inside `send`, so that whoever
iterates over connections may send to each without a copy.

Theory. A connection is OPEN, then CLOSING (our close frame is queued or sent, the peer's answer is
awaited) or DRAINING (likewise, but the peer has said goodbye or broken a rule: whatever it sends is
dropped unread), then ENDED; a timer bounds the two in the middle. In the usual case `send` is one
system call. What the kernel doesn't take goes into the backlog, which has a bound in bytes, and a
write watcher empties it. Once a connection is closing its backlog exists and takes no messages,
which keeps the test in `send` a single one. What a client sends is counted per window of a second,
which begins when it sends, so that silence costs nothing.
"""

from __future__ import annotations

import socket
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from wsgi_ws.websocket.frames import (
    PING_FRAME,
    UNLIMITED,
    Close,
    CloseCode,
    Data,
    Frame,
    FrameReader,
    Ping,
    Pong,
    ProtocolError,
    close_frame,
    pong_frame,
)

READ, WRITE = 1, 2  # libev's event bits
RECEIVE_BYTES = 16384  # more than a client of this protocol sends in its life
FLOOD_WINDOW = 1.0  # seconds


class State(Enum):
    OPEN = "open"
    CLOSING = "closing"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection is over: RFC 6455 close code, reason, and who began it."""

    code: int
    reason: str
    by: str  # "client", "server" or "network"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection.

    :ivar max_backlog_bytes: what a client may leave unread; 0 = no bound.
    :ivar close_timeout: seconds until a client that does not answer a close is cut.
    :ivar max_frames_per_second: from the client, fragments included; 0 = no bound.
    :ivar max_bytes_per_second: from the client; 0 = no bound.
    """

    max_message_bytes: int
    max_backlog_bytes: int
    close_timeout: float
    max_frames_per_second: int = 0
    max_bytes_per_second: int = 0


class Owner(Protocol):
    """Whom a connection tells what happens to it; shared by all connections of a worker."""

    @property
    def loop(self) -> Any:
        """gevent's event loop."""

    @property
    def limits(self) -> Limits: ...

    def on_data(self, connection: Connection, message: Data) -> None:
        """The client sent a message."""

    def on_send_error(self, connection: Connection, error: OSError) -> None:
        """A write failed; the connection is about to end."""

    def on_slow(self, connection: Connection) -> None:
        """The client reads too slowly; the connection is about to end."""

    def on_ended(self, connection: Connection, ending: Ending) -> None:
        """The connection is over and its descriptor closed. Called once, from the loop."""


class _Backlog:
    """Bytes that the kernel has not taken yet, in order."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0


class Connection:
    """An open WebSocket. `opened_at`, `pong_at`, `unanswered_since`: times of `time.monotonic`."""

    __slots__ = (
        "_backlog",
        "_bytes_left",
        "_deadline",
        "_ending",
        "_frames_left",
        "_owner",
        "_read_watcher",
        "_reader",
        "_sock",
        "_window_ends",
        "_write_watcher",
        "channel",
        "events_sent",
        "number",
        "opened_at",
        "pong_at",
        "slot",
        "state",
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
        self.unanswered_since: float | None = None  # first ping without a pong
        self.slot = 0  # the heartbeat's place for it
        self._owner = owner
        self._sock = sock
        self._backlog: _Backlog | None = None
        self._reader: FrameReader | None = None  # while a part of a frame or message is pending
        self._window_ends = 0.0
        self._frames_left = self._bytes_left = 0  # in this window
        self._write_watcher: Any = None
        self._deadline: Any = None
        self._ending: Ending | None = None
        self._read_watcher = owner.loop.io(sock.fileno(), READ)
        self._read_watcher.start(self._on_readable)

    def __repr__(self) -> str:
        return f"socket {self.number} of channel {self.channel[:8]}"

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
            frame = frame[sent:]
        elif self.state is not State.OPEN:
            return
        self._queue(frame)

    def ping(self, now: float) -> None:
        """Send a ping; `unanswered_since` is its time unless an earlier one is unanswered."""
        if self.unanswered_since is None:
            self.unanswered_since = now
        self.send(PING_FRAME)

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake after what is queued; cut it after the close timeout."""
        if self.state is State.OPEN:
            self._start_closing(Ending(code, reason, "server"), State.CLOSING)

    def terminate(self, reason: str) -> None:
        """Cut the connection at once, without a close frame."""
        self._end(Ending(CloseCode.ABNORMAL, reason, "server"))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; also those that came together with the handshake."""
        if self.state is State.ENDED:
            return
        try:
            self._count_bytes(len(data))
            if self.state is not State.DRAINING:
                self._read(data)
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
            self._end(Ending(CloseCode.ABNORMAL, error.strerror or str(error), "network"))
            return
        if data:
            self.receive(data)
        else:
            self._end(Ending(CloseCode.ABNORMAL, "end of stream", "client"))

    def _on_writable(self) -> None:
        backlog = self._backlog
        assert backlog is not None
        try:
            while backlog.chunks:
                chunk = backlog.chunks[0]
                sent = self._sock.send(chunk)
                backlog.size -= sent
                if sent < len(chunk):
                    backlog.chunks[0] = chunk[sent:]
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
        elif self.state is State.DRAINING:
            assert self._ending is not None
            if self._ending.by == "client":
                self._end(self._ending)  # our close frame was the answer: the server ends TCP
            else:
                self._half_close()

    def _on_deadline(self) -> None:
        assert self._ending is not None
        self._end(self._ending)

    # --- steps -----------------------------------------------------------------------------------

    def _count_bytes(self, count: int) -> None:
        now = time.monotonic()
        if now >= self._window_ends:
            limits = self._owner.limits
            self._window_ends = now + FLOOD_WINDOW
            self._frames_left = limits.max_frames_per_second or UNLIMITED
            self._bytes_left = limits.max_bytes_per_second or UNLIMITED
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many bytes per second")

    def _read(self, data: bytes) -> None:
        reader = self._reader or FrameReader(self._owner.limits.max_message_bytes)
        self._reader = reader
        reader.frames_left = self._frames_left
        for frame in reader.feed(data):
            self._on_frame(frame)
            if self.state is State.DRAINING or self.state is State.ENDED:
                return
        self._frames_left = reader.frames_left
        if reader.at_rest:
            self._reader = None

    def _on_frame(self, frame: Frame) -> None:
        if isinstance(frame, Pong):
            self.pong_at = time.monotonic()
            self.unanswered_since = None
        elif isinstance(frame, Close):
            self._on_close(frame)
        elif self.state is not State.OPEN:
            return
        elif isinstance(frame, Ping):
            self.send(pong_frame(frame.payload))
        else:
            self._owner.on_data(self, frame)

    def _on_close(self, frame: Close) -> None:
        self._reader = None
        if self.state is State.OPEN:
            self._start_closing(Ending(frame.code, frame.reason, "client"), State.DRAINING)
        elif self.backlog_bytes:
            self.state = State.DRAINING  # the two close frames cross, ours is still queued
        elif self._ending is not None:
            self._end(self._ending)

    def _fail(self, error: ProtocolError) -> None:
        """RFC 6455 §7.1.7. Draining before the end keeps a reset from eating the close frame."""
        self._reader = None
        if error.code is CloseCode.POLICY_VIOLATION:
            self._read_watcher.stop()  # from here on TCP's flow control holds the flood back
        if self.state is State.OPEN:
            self._start_closing(Ending(error.code, error.reason, "server"), State.DRAINING)
        elif self.state is State.CLOSING:
            self.state = State.DRAINING
            if not self.backlog_bytes:
                self._half_close()

    def _start_closing(self, ending: Ending, state: State) -> None:
        self.state = state
        self._ending = ending
        # RFC 6455 §5.5.1: the answer to a close frame carries the code received.
        frame = close_frame(ending.code, ending.reason if ending.by == "server" else "")
        self._deadline = self._owner.loop.timer(self._owner.limits.close_timeout)
        self._deadline.start(self._on_deadline)
        if self._backlog is None:
            self._backlog = _Backlog()
        self._backlog.chunks.append(frame)
        self._backlog.size += len(frame)
        if self._write_watcher is None:
            self._on_writable()
        if self.state is not State.ENDED and self._backlog.chunks:
            self._start_writing()

    def _half_close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end(self._ending or Ending(CloseCode.ABNORMAL, str(error), "network"))

    def _queue(self, chunk: bytes) -> None:
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = _Backlog()
        limit = self._owner.limits.max_backlog_bytes
        if limit and backlog.size + len(chunk) > limit:
            self._owner.on_slow(self)
            self._end(Ending(CloseCode.ABNORMAL, f"{backlog.size} bytes unread", "server"))
            return
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
        self._end(Ending(CloseCode.ABNORMAL, error.strerror or str(error), "network"))

    def _end(self, ending: Ending) -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self._stop_writing()
        self._read_watcher.stop()
        self._read_watcher.close()
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline.close()
        self._reader = None
        self._backlog = _Backlog()
        self._sock.close()
        self._owner.loop.run_callback(self._owner.on_ended, self, self._ending or ending)
