# SPDX-License-Identifier: Apache-2.0
"""What a client's `last_id` means to the service."""

from __future__ import annotations

import logging

import pytest

from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams import source
from wsgi_ws.sources.streams.source import ALIKE_INTERVAL


def place_of(last_id: str | None, limiter: LogLimiter | None = None) -> StreamId | None:
    return source.place_of(last_id, limiter or LogLimiter(ALIKE_INTERVAL))


@pytest.mark.parametrize(("last_id", "place"), [(None, None), ("5-1", StreamId(5, 1))])
def test_a_missing_or_correct_last_id_is_no_reason_to_warn(
    last_id: str | None, place: StreamId | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert place_of(last_id) == place
    assert caplog.records == []


@pytest.mark.parametrize("value", ["null", "5", "$", "5-1-2", "-5-1", "5-1\n", "1" * 16 + "-0"])
def test_a_malformed_last_id_is_ignored_with_a_warning(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert place_of(value) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_warning_about_a_last_id_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    place_of("\n" * 5000)
    (line,) = caplog.messages
    assert len(line) < 150
    assert "\n" not in line


def test_a_client_that_sends_malformed_ones_again_and_again_fills_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = LogLimiter(ALIKE_INTERVAL)
    for number in range(1000):
        place_of(f"x{number}", limiter)
    assert caplog.messages == ["last_id 'x0' is ignored: it is not like 1700000000000-0"]
