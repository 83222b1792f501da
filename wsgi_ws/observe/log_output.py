# SPDX-License-Identifier: Apache-2.0
"""Log lines on their way out of the process: to write one never waits, never raises, ends nothing.

A full disk, a file that can't be opened again, a pipe that nobody reads: lines are dropped and
counted. This is told once per outage at the other output, and when it is over. Runs in gunicorn's
master too, which is not patched for gevent: nothing here may need an event loop.
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import io
import logging
import os
import select
import stat
import struct
import termios
import time
from _socket import MSG_DONTWAIT
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

STDOUT, STDERR = 1, 2
WAITING_MAX = 256 * 1024  # bytes that wait for a slow reader
NEWS_INTERVAL = 60.0  # seconds between two outages of an output that are told
# Of a shared pipe that might block, so much is left to the other processes that write to it.
_PART_OF_PIPE = 4


class Writer(Protocol):
    """Where bytes can be written without waiting."""

    def write(self, data: bytes, /) -> int | None:
        """Returns how many bytes were taken; None: it would have to wait.

        :raises OSError: when they can't be written.
        """

    def close(self) -> None: ...


# --- handlers ------------------------------------------------------------------------------------


class LineHandler(logging.Handler, abc.ABC):
    """Writes lines to one output.

    :ivar dropped: lines that were lost so far.
    """

    def __init__(self, place: str, *arguments: Any, **options: Any) -> None:
        """:param place: the output's name in a sentence; the rest is for the next base class."""
        super().__init__(*arguments, **options)
        self.dropped = 0
        self._place = place
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._gathers = False  # lines wait for the end of `together`
        self._torn = False  # the last line written has no end
        self._lost = 0  # lines dropped that have not been told
        self._in_outage = False  # and it has been told
        self._told_at = float("-inf")
        self._news: tuple[Any, ...] | None = None

    def begin_in_worker(self) -> None:
        """After a fork: what waits here and what was lost is the master's business."""
        self._waiting.clear()
        self._waiting_bytes = self._lost = self.dropped = 0

    @abc.abstractmethod
    def _writer(self) -> Writer:
        """The output; asked before each line.

        :raises OSError: when there is none.
        """

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a line."""
        written = super().handle(record)
        self._tell_news()
        return written

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or drop it."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)  # a defect where the line was made: with its traceback
            return
        self._put(b"\n" + line if self._torn and not self._waiting else line)
        if not self._gathers:
            self._write_waiting()

    def gather(self) -> None:
        """Let the lines that come wait until `flush`."""
        self._gathers = True

    def flush(self) -> None:
        """Write what waits, as far as the reader takes it."""
        with self.lock or contextlib.nullcontext():
            self._gathers = False
            if self._waiting:
                self._write_waiting()
        self._tell_news()

    def _put(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _write_waiting(self) -> None:
        try:
            while self._waiting and self._write_first():
                pass
        except Exception as error:  # of whatever kind: no line is worth a process
            self._drop(len(self._waiting), getattr(error, "strerror", None) or repr(error))
            self._waiting.clear()
            self._waiting_bytes = 0
            return
        while self._waiting_bytes > WAITING_MAX and len(self._waiting) > 1:
            self._waiting_bytes -= len(self._waiting.pop())
            self._drop(1, "nobody reads it")
        if not self._waiting:
            self._tell_end()

    def _write_first(self) -> bool:
        """Write some lines in one go. Returns whether it took anything."""
        lines = self._first_lines()
        taken = self._writer().write(b"".join(lines))
        if not taken:
            return False
        self._waiting_bytes -= taken
        self._torn = False
        for line in lines:
            if taken < len(line):
                self._torn = taken > 0
                self._waiting[0] = line[taken:]
                break
            self._waiting.popleft()
            taken -= len(line)
        return True

    def _first_lines(self) -> list[bytes]:
        """As many as a pipe takes whole: no other process's line gets in between (pipe(7))."""
        lines: list[bytes] = []
        room = select.PIPE_BUF
        for line in self._waiting:
            room -= len(line)
            if room < 0 and lines:
                break
            lines.append(line)
        return lines

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        self._lost += count
        if not self._in_outage and self._may_tell():
            self._in_outage = True
            sentence = "no log lines can be written to %s (%s): they are dropped until they can"
            self._news = (logging.ERROR, sentence, self._place, reason)

    def _tell_end(self) -> None:
        if self._lost and (self._in_outage or self._may_tell()):
            sentence, lost = "%s takes log lines again; dropped: %s", counted(self._lost, "line")
            self._news = (logging.WARNING, sentence, self._place, lost)
            self._lost = 0
        self._in_outage = False

    def _tell_news(self) -> None:
        """At all outputs, and so outside the lock: theirs may wait for this one's."""
        news, self._news = self._news, None
        if news:
            log.log(*news)

    def _may_tell(self) -> bool:
        now = time.monotonic()
        due = now - self._told_at >= NEWS_INTERVAL
        if due:
            self._told_at = now
        return due


class ConsoleHandler(LineHandler):
    """Standard error."""

    def __init__(self) -> None:
        super().__init__("standard error")
        self._console = Console(STDERR)

    def close(self) -> None:
        """At the process's end, and before a new configuration's handlers."""
        super().close()
        self._console.close()

    def _writer(self) -> Writer:
        return self._console.writer()


class FileHandler(LineHandler, logging.FileHandler):
    """A file, which is left when it is renamed: at the next line, or at a SIGUSR1.

    gunicorn knows the handlers that it opens again by their class, and asks `stream`, `close` and
    `_open` for it, in its master's loop: none of them may raise.
    """

    stream: Any

    def __init__(self, filename: str) -> None:
        super().__init__(f"logFilename {filename}", filename, delay=True)
        self.stream = self._open()

    def close(self) -> None:
        """Some file systems report here what they could not write."""
        with contextlib.suppress(OSError):
            super().close()

    def _open(self) -> Any:
        """The file; None: it can't be opened, and the next line tries again."""
        try:
            return _open_to_append(self.baseFilename)
        except OSError:
            return None

    def _writer(self) -> Writer:
        if self.stream is not None and _is_renamed(self.stream, self.baseFilename):
            self.stream.close()
            self.stream = None
        if self.stream is None:
            self.stream = _open_to_append(self.baseFilename)
        writer: Writer = self.stream
        return writer


def _open_to_append(path: str) -> io.FileIO:
    # The file may be /dev/stdout or a named pipe: they must not make anybody wait either.
    flags = os.O_NONBLOCK | os.O_NOCTTY
    return io.FileIO(path, "a", opener=lambda name, own: os.open(name, own | flags, 0o666))


def _is_renamed(stream: io.FileIO, path: str) -> bool:
    try:
        return not os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return True
    except OSError:  # who may not look can't open it either
        return False


# --- the console ---------------------------------------------------------------------------------


class Console:
    """One of the standard descriptors, which other processes may share.

    To make it non-blocking would make it so for all of them: a shell, `tee`, a terminal's owner. So
    what can block is opened a second time.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._writer: Writer | None = None
        self._opened: os.stat_result | None = None

    def writer(self) -> Writer:
        """Whatever the descriptor is now: gunicorn's capture_output puts files into its place.

        :raises OSError: when it is closed.
        """
        status = os.fstat(self.descriptor)
        if (
            self._writer is None
            or self._opened is None
            or not os.path.samestat(status, self._opened)
        ):
            self.close()
            self._writer, self._opened = _unblocking(self.descriptor, status.st_mode), status
        return self._writer

    def close(self) -> None:
        """Give up what was opened."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _unblocking(descriptor: int, mode: int) -> Writer:
    if stat.S_ISSOCK(mode):  # systemd's journal
        return SocketWriter(descriptor)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with contextlib.suppress(OSError):  # no /proc, or made by root for this user
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return io.FileIO(os.open(f"/proc/self/fd/{descriptor}", flags), "w")
    if stat.S_ISFIFO(mode):
        return SharedPipe(descriptor, "w", closefd=False)
    return io.FileIO(descriptor, "w", closefd=False)


class SocketWriter:
    """A socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = RawSocket(fileno=os.dup(descriptor))

    def write(self, data: bytes) -> int | None:
        """Send without waiting."""
        try:
            return self._socket.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close this object's own descriptor."""
        self._socket.close()


class SharedPipe(io.FileIO):
    """A pipe that can't be opened a second time, and whose writes would wait when it is full.

    Between the look at it and the write others may fill it. So it is used only while most of it is
    empty, by pieces that a single free page takes.
    """

    def write(self, data: Any) -> int:
        """Write as much as is safe; 0: nothing is."""
        unread = bytearray(4)
        fcntl.ioctl(self.fileno(), termios.FIONREAD, unread)
        capacity = fcntl.fcntl(self.fileno(), fcntl.F_GETPIPE_SZ)
        if struct.unpack("i", unread)[0] > capacity // _PART_OF_PIPE:
            return 0
        return super().write(data[: select.PIPE_BUF])


class StandardStream(io.RawIOBase):
    """The bytes of `sys.stdout` or `sys.stderr`: what does not fit is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._console = Console(descriptor)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Give up what was opened; the standard descriptor stays."""
        super().close()
        self._console.close()

    def fileno(self) -> int:
        """The standard descriptor itself: gunicorn's capture_output puts a file there."""
        return self._console.descriptor

    def write(self, data: Any) -> int:
        """All of it, as far as the writer can tell."""
        with contextlib.suppress(OSError):
            self._console.writer().write(bytes(data))
        return len(data)


def standard_stream(descriptor: int) -> TextIO:
    """In place of `sys.stdout` or `sys.stderr`, for tracebacks and others who print."""
    raw: Any = StandardStream(descriptor)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


# --- asked by others -----------------------------------------------------------------------------


def begin_in_worker() -> None:
    """Begin to count in a process that has just been forked."""
    for handler in _handlers():
        handler.begin_in_worker()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """The lines that are written meanwhile go out at the end, many in one write. Few, please."""
    handlers = _handlers()
    for handler in handlers:
        handler.gather()
    try:
        yield
    finally:
        for handler in handlers:
            handler.flush()


def lines_dropped() -> int:
    """Lines that this process has lost so far; those that wait get a chance on the way."""
    for handler in _handlers():
        handler.flush()
    return sum(handler.dropped for handler in _handlers())


def _handlers() -> list[LineHandler]:
    return [h for h in logging.getLogger("wsgi_ws").handlers if isinstance(h, LineHandler)]
