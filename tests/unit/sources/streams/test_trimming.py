# SPDX-License-Identifier: Apache-2.0
"""Which reads are followed by a look at the stream's oldest entry, and that no gap gets by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.trimming import LONG, LOOK_EVERY, SHORT, TrimWatch

NODE = 100  # entries that Redis trims at once


def at(number: int) -> StreamId:
    return StreamId(number, 0)


def long_stream() -> TrimWatch:
    watch = TrimWatch()
    watch.begin(at(1))
    watch.read(LONG)
    watch.looked(at(1), at(1 + LONG))
    return watch


def test_every_read_of_an_unknown_stream_is_doubted() -> None:
    assert TrimWatch().doubts(1)


def test_a_short_read_of_a_long_stream_is_not_doubted() -> None:
    assert not long_stream().doubts(SHORT - 1)


def test_a_read_that_may_be_a_whole_stream_is_doubted() -> None:
    assert long_stream().doubts(SHORT)


def test_now_and_then_a_read_is_doubted_whatever_it_brought() -> None:
    watch = long_stream()
    watch.read(LOOK_EVERY)
    assert watch.doubts(1)
    watch.looked(at(1), at(LOOK_EVERY))
    assert not watch.doubts(1)


def test_a_stream_that_has_become_short_is_doubted() -> None:
    watch = long_stream()
    watch.looked(at(5 + LONG), at(9 + LONG))
    assert watch.doubts(1)


def test_many_entries_read_do_not_make_a_stream_long() -> None:
    watch = TrimWatch()
    watch.begin(at(1))
    watch.read(LONG)
    watch.looked(at(2), at(1 + LONG))
    assert watch.doubts(1)


@given(
    limit=st.integers(1, 600),
    slack=st.integers(0, NODE),
    steps=st.lists(st.integers(0, 700), max_size=60),
)
def test_no_gap_is_missed_whatever_the_limit(limit: int, slack: int, steps: list[int]) -> None:
    """Numbers of entries that are written between two reads of at most a hundred."""
    watch, oldest, newest, position = TrimWatch(), 1, 0, 0
    watch.begin(ZERO)
    for written in steps:
        newest += written
        if newest - oldest + 1 > limit + slack:  # trimmed by nodes, at any of the writes
            oldest = newest - limit + 1
        first = max(oldest, position + 1)
        count = min(SHORT, newest - first + 1)
        if not count:
            continue
        looks = count == SHORT or watch.doubts(count)
        if looks:
            watch.looked(at(oldest), at(position))
        assert looks or first == position + 1
        position = first + count - 1
        watch.read(count)
