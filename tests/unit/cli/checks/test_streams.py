# SPDX-License-Identifier: Apache-2.0
"""A stream in one line."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.checks.streams import Stream, age, describe_stream


def stream(*, length: int = 10, span_ms: int = 600_000, trimmed: bool | None = False) -> Stream:
    return Stream(length, 0, span_ms, length, span_ms, trimmed)


def test_one_is_not_many() -> None:
    (finding,) = describe_stream("k", stream(length=1, span_ms=0), 0)
    assert finding.sentence.startswith("k has 1 entry, too few to tell a rate")


def test_the_rate_is_that_of_the_newest_entries() -> None:
    assert stream(length=11, span_ms=600_000).per_minute == 1.0
    assert stream(length=1, span_ms=0).per_minute is None


@pytest.mark.parametrize(
    ("sampled", "span_ms", "rate"),
    [(3, 2, None), (3, 4_999, None), (3, 6_000, 20.0), (1000, 1_000, 59_940.0), (1000, 0, None)],
)
def test_a_rate_needs_some_seconds_or_many_entries(
    sampled: int, span_ms: int, rate: float | None
) -> None:
    assert stream(length=sampled, span_ms=span_ms).per_minute == rate


def test_a_stream_is_described_in_one_line() -> None:
    (finding,) = describe_stream("k", stream(length=1001), 605_000)
    assert finding.sentence == (
        "k has 1001 entries, 100.0 per minute lately, the newest 5 s old, the oldest 10 min, "
        "not trimmed so far"
    )


@pytest.mark.parametrize(
    ("trimmed", "span_ms", "count"), [(True, 30_000, 2), (True, 90_000, 1), (None, 30_000, 1)]
)
def test_a_memory_of_seconds_is_too_short(trimmed: bool | None, span_ms: int, count: int) -> None:
    found = list(describe_stream("k", stream(span_ms=span_ms, trimmed=trimmed), span_ms))
    assert len(found) == count


@pytest.mark.parametrize(
    ("ms", "text"), [(-5, "0 s"), (119_000, "119 s"), (600_000, "10 min"), (3e8, "3 days")]
)
def test_ages_in_the_unit_that_people_use(ms: int, text: str) -> None:
    assert age(ms) == text
