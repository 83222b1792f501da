# SPDX-License-Identifier: Apache-2.0
"""The order of access lines and others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator

import gevent
import pytest

from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_lines import CloseLine
from wsgi_ws.observe.log_output import LineHandler, Writer

LINE = CloseLine(7, "1a2b3c4d", 1001, "", "server", 1.0, 1)


class Shown(logging.Handler):
    """The names of the loggers of all lines."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.append(record.name)


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[Shown]:
    caplog.set_level(logging.INFO)
    handler = Shown()
    logging.getLogger("wsgi_ws").addHandler(handler)
    yield handler
    logging.getLogger("wsgi_ws").removeHandler(handler)


@pytest.fixture
def access_log(shown: Shown) -> Iterator[AccessLog]:
    access_log = AccessLog()
    job = gevent.spawn(access_log.run)
    gevent.sleep()  # it begins
    yield access_log
    job.kill()


def test_a_later_line_stands_behind_those_that_were_handed_in(
    access_log: AccessLog, shown: Shown
) -> None:
    access_log.write(LINE)
    logging.getLogger("wsgi_ws.other").warning("about the same socket")
    assert shown.names == ["wsgi_ws.access", "wsgi_ws.other"]


def test_without_another_line_they_are_written_by_themselves(
    access_log: AccessLog, shown: Shown
) -> None:
    access_log.write(LINE)
    with gevent.Timeout(30):
        while not shown.names:
            gevent.sleep(0.01)
    assert shown.names == ["wsgi_ws.access"]


def test_each_line_has_a_record_of_its_own_with_the_time_at_which_it_was_handed_in(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    lines, begin = (LINE, LINE._replace(socket=8)), time.time()
    for line in lines:
        access_log.write(line)
    end = time.time()
    access_log.flush()
    assert [record.msg for record in caplog.records] == [*lines]
    assert all(begin <= record.created <= end for record in caplog.records)
    assert {record.process for record in caplog.records} == {os.getpid()}


class Output(LineHandler):
    """An output that takes everything, and remembers each write."""

    def __init__(self) -> None:
        super().__init__("the output")
        self.writes: list[bytes] = []

    def _writer(self) -> Writer:
        return self

    def write(self, data: bytes, /) -> int:
        self.writes.append(data)
        return len(data)


def test_lines_that_wait_are_written_together(access_log: AccessLog) -> None:
    output, logger = Output(), logging.getLogger("wsgi_ws")
    logger.addHandler(output)
    for _ in range(3):
        access_log.write(LINE)
    access_log.flush()
    logger.removeHandler(output)
    assert [data.count(b"\n") for data in output.writes] == [3]
