# SPDX-License-Identifier: Apache-2.0
"""Lines that can't be written, and descriptors that would make a writer wait."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pty
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wsgi_ws.observe import log_output
from wsgi_ws.observe.log_output import Console, FileHandler, LineHandler, Writer, standard_stream

FULL = OSError(errno.ENOSPC, "No space left on device")


class FakeWriter:
    """An output that does as it is told: a number of bytes to take, None, or an error."""

    def __init__(self) -> None:
        self.taken = b""
        self.sizes: list[int] = []  # of what it was to write
        self.next: list[int | OSError | None] = []

    def write(self, data: bytes, /) -> int | None:
        self.sizes.append(len(data))
        answer = self.next.pop(0) if self.next else len(data)
        if isinstance(answer, OSError):
            raise answer
        self.taken += data[: answer or 0]
        return answer

    def close(self) -> None: ...


class FakeHandler(LineHandler):
    def __init__(self) -> None:
        super().__init__("the output")
        self.writer = FakeWriter()

    def _writer(self) -> Writer:
        return self.writer

    def say(self, *texts: str) -> None:
        for text in texts:
            self.handle(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))


@pytest.fixture
def handler() -> FakeHandler:
    return FakeHandler()


# --- lines ---------------------------------------------------------------------------------------


def test_a_line_that_can_not_be_written_is_counted(handler: FakeHandler) -> None:
    handler.writer.next = [FULL]
    handler.say("one", "two")
    assert (handler.writer.taken, handler.dropped) == (b"two\n", 1)


def test_lines_wait_for_a_slow_reader(handler: FakeHandler) -> None:
    handler.writer.next = [None, None]
    handler.say("one", "two", "three")
    assert (handler.writer.taken, handler.dropped) == (b"one\ntwo\nthree\n", 0)


def test_waiting_lines_can_be_written_without_a_further_one(handler: FakeHandler) -> None:
    handler.writer.next = [None]
    handler.say("one")
    handler.flush()
    assert handler.writer.taken == b"one\n"


def test_what_waits_is_bounded(handler: FakeHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_output, "WAITING_MAX", 8)
    handler.writer.next = [None] * 3
    handler.say("one", "two", "three")
    handler.say("four")
    assert (handler.writer.taken, handler.dropped) == (b"one\ntwo\nfour\n", 1)


def test_a_line_goes_on_where_it_was_torn(handler: FakeHandler) -> None:
    handler.writer.next = [2, None]
    handler.say("one", "two")
    assert handler.writer.taken == b"one\ntwo\n"


def test_after_a_torn_line_the_next_one_begins_a_new_one(handler: FakeHandler) -> None:
    handler.writer.next = [2, FULL]
    handler.say("one", "two", "three")
    assert handler.writer.taken == b"on\ntwo\nthree\n"


def test_lines_that_were_gathered_go_out_in_one_write(handler: FakeHandler) -> None:
    handler.gather()
    handler.say("one", "two")
    assert handler.writer.sizes == []
    handler.flush()
    assert (handler.writer.taken, handler.writer.sizes) == (b"one\ntwo\n", [8])


def test_after_that_a_line_is_written_at_once_again(handler: FakeHandler) -> None:
    handler.gather()
    handler.flush()
    handler.say("one")
    assert handler.writer.taken == b"one\n"


@pytest.mark.parametrize("cut", range(1, 12))
def test_gathered_lines_go_on_where_they_were_torn(handler: FakeHandler, cut: int) -> None:
    handler.gather()
    handler.say("one", "two", "six")
    handler.writer.next = [cut, None]
    handler.flush()
    handler.say("ten")
    assert (handler.writer.taken, handler.dropped) == (b"one\ntwo\nsix\nten\n", 0)


def test_gathered_lines_that_can_not_be_written_are_counted(handler: FakeHandler) -> None:
    handler.gather()
    handler.say("one", "two", "six")
    handler.writer.next = [6, FULL]
    handler.flush()
    handler.say("ten")
    assert (handler.writer.taken, handler.dropped) == (b"one\ntw\nten\n", 2)


def test_no_write_is_longer_than_a_pipe_takes_whole(handler: FakeHandler) -> None:
    handler.gather()
    handler.say(*["x" * 99] * 100)
    handler.flush()
    assert set(handler.writer.sizes) == {4000, 2000}


def test_many_gathered_lines_are_bounded(
    handler: FakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_output, "WAITING_MAX", 8)
    handler.gather()
    handler.say("one", "two", "six", "ten")
    handler.writer.next = [None]
    handler.flush()
    handler.flush()
    assert (handler.writer.taken, handler.dropped) == (b"one\ntwo\n", 2)


def test_a_worker_does_not_write_what_waits_in_the_master(handler: FakeHandler) -> None:
    handler.writer.next = [None]
    handler.say("one")
    handler.begin_in_worker()
    handler.say("two")
    assert handler.writer.taken == b"two\n"


@pytest.fixture
def news(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [record.getMessage() for record in caplog.records]


def test_an_outage_is_told_at_its_begin_and_end(
    handler: FakeHandler, news: Callable[[], list[str]]
) -> None:
    handler.writer.next = [FULL] * 3
    handler.say(*"abcd")
    assert news() == [
        "no log lines can be written to the output (No space left on device): they are dropped "
        "until they can",
        "the output takes log lines again; dropped: 3 lines",
    ]


def test_outages_in_quick_succession_are_not_told_each(
    handler: FakeHandler, news: Callable[[], list[str]]
) -> None:
    handler.writer.next = [FULL, 2, FULL, 2, FULL, 2]
    handler.say(*"abcdef")
    assert len(news()) == 2
    assert handler.dropped == 3


def test_what_was_not_told_is_told_later(
    handler: FakeHandler, news: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler.writer.next = [FULL, 2, FULL, 2]
    handler.say(*"abcd")
    monkeypatch.setattr(log_output, "NEWS_INTERVAL", 0.0)
    handler.say("e")
    assert news()[2:] == ["the output takes log lines again; dropped: 1 line"]


# --- files ---------------------------------------------------------------------------------------


def test_a_renamed_file_is_left_at_the_next_line(tmp_path: Path) -> None:
    file, renamed = tmp_path / "x.log", tmp_path / "x.log.1"
    with closing(FileHandler(str(file))) as handler:
        FakeHandler.say(handler, "one")  # type: ignore[arg-type]
        file.rename(renamed)
        FakeHandler.say(handler, "two")  # type: ignore[arg-type]
    assert (renamed.read_text(), file.read_text()) == ("one\n", "two\n")


def test_a_named_pipe_without_a_reader_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with closing(FileHandler(str(tmp_path / "pipe"))) as handler:
        FakeHandler.say(handler, "one")  # type: ignore[arg-type]
        assert handler.dropped == 1


# --- the console ---------------------------------------------------------------------------------


def write_until_full(console: Console, most: int = 10_000) -> int:
    """Returns how many lines it took."""
    for count in range(most):
        if not console.writer().write(b"x" * 999 + b"\n"):
            return count
    raise AssertionError("it takes everything")


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


@pytest.fixture(params=[pipe, sockets, pty.openpty])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """What reads, and what is written to; nobody reads."""
    made: tuple[int, int] = request.param()
    yield made
    for end in made:
        os.close(end)


def test_nobody_reading_makes_nobody_wait(ends: tuple[int, int]) -> None:
    with closing(Console(ends[1])) as console:
        assert write_until_full(console) > 0


def test_whoever_shares_the_descriptor_still_waits_for_readers(ends: tuple[int, int]) -> None:
    with closing(Console(ends[1])) as console:
        console.writer().write(b"x\n")
        assert not fcntl.fcntl(ends[1], fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_pipe_that_can_not_be_opened_again_keeps_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    reader, writer = os.pipe()
    with closing(Console(writer)) as console:
        monkeypatch.setattr(os, "open", refuse)
        assert write_until_full(console) > 0
        monkeypatch.undo()
        for _ in range(4):  # processes that have looked at it in the same moment
            assert select.select([], [writer], [], 0)[1]
            os.write(writer, b"y" * select.PIPE_BUF)
    os.close(reader)
    os.close(writer)


def test_lines_of_others_in_a_file_are_not_written_over(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb", buffering=0) as file:
        with closing(Console(file.fileno())) as console:
            console.writer().write(b"ours\n")
            file.write(b"theirs\n")
            console.writer().write(b"ours\n")
        assert (tmp_path / "log").read_bytes() == b"ours\ntheirs\nours\n"


def test_a_descriptor_that_was_replaced_is_followed(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with closing(Console(writer)) as console, (tmp_path / "log").open("wb") as file:
        console.writer().write(b"before\n")
        os.dup2(file.fileno(), writer)
        console.writer().write(b"after\n")
    assert (os.read(reader, 100), (tmp_path / "log").read_bytes()) == (b"before\n", b"after\n")
    os.close(reader)
    os.close(writer)


def test_a_stream_takes_everything_and_waits_for_nobody() -> None:
    reader, writer = os.pipe()
    with standard_stream(writer) as stream:
        for _ in range(200):
            print("x" * 999, file=stream)
    assert len(os.read(reader, 1_000_000)) >= 50_000
    os.close(reader)
    os.close(writer)
