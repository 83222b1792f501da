# SPDX-License-Identifier: Apache-2.0
"""Of many alike lines one per interval is written, and says for how many it stands."""

from __future__ import annotations

import pytest

from wsgi_ws.observe.log_limiter import LogLimiter


@pytest.fixture
def limiter() -> LogLimiter:
    return LogLimiter(interval=60.0)


def test_the_first_line_of_a_kind_is_written(limiter: LogLimiter) -> None:
    assert limiter.admit("a", 1000.0) == 0


def test_the_next_ones_are_held_back_for_an_interval(limiter: LogLimiter) -> None:
    limiter.admit("a", 1000.0)
    assert [limiter.admit("a", 1000.0 + s) for s in (0.0, 30.0, 59.9)] == [None, None, None]


def test_after_the_interval_a_line_is_written_with_the_number_held_back(
    limiter: LogLimiter,
) -> None:
    assert [limiter.admit("a", now) for now in (0.0, 1.0, 2.0, 60.0)] == [0, None, None, 2]


def test_the_number_begins_anew_with_each_line(limiter: LogLimiter) -> None:
    times = (0.0, 1.0, 60.0, 61.0, 62.0, 120.0, 180.0)
    assert [limiter.admit("a", now) for now in times] == [0, None, 1, None, None, 2, 0]


def test_kinds_do_not_hold_each_other_back(limiter: LogLimiter) -> None:
    limiter.admit("a", 0.0)
    assert limiter.admit("b", 0.0) == 0


def test_a_line_says_how_many_were_held_back() -> None:
    written: list[str] = []
    limiter = LogLimiter(60.0)
    for now in (0.0, 1.0, 2.0, 60.0):
        limiter.write(lambda text, *values: written.append(text % values), "k", now, "%d", now)
    assert written == ["0", "60 [and 2 more since the last such line]"]
