# SPDX-License-Identifier: Apache-2.0
"""The messages of the last seconds, for tabs whose socket was away for a moment."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.realtime.memory import (
    ENTRY_OVERHEAD_BYTES,
    ROUTE_OVERHEAD_BYTES,
    Memory,
)

ROUTES = ("user:1", "user:1:3", "user:2")


def test_a_topic_gets_what_was_for_it_and_nothing_else() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"a", ("user:1",), 1.0)
    memory.remember(b"b", ("user:2",), 2.0)
    memory.remember(b"c", None, 3.0)
    assert memory.since(["user:1"], 0.0) == [b"a"]


def test_what_is_for_everybody_has_a_topic_of_its_own() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"c", None, 3.0)
    assert memory.since([None], 0.0) == [b"c"]


def test_what_was_before_a_time_is_left_out() -> None:
    memory = Memory(30.0, 10**6)
    for at, frame in [(1.0, b"a"), (2.0, b"b"), (3.0, b"c")]:
        memory.remember(frame, None, at)
    assert memory.since([None], 2.0) == [b"b", b"c"]


def test_a_message_for_two_of_the_topics_comes_once() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"a", ("user:1", "user:1:3"), 1.0)
    assert memory.since(["user:1", "user:1:3"], 0.0) == [b"a"]


def test_messages_of_several_topics_come_in_the_order_of_their_time() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"a", ("user:1:3",), 1.0)
    memory.remember(b"b", None, 1.0)
    memory.remember(b"c", ("user:1",), 1.0)
    assert memory.since([None, "user:1", "user:1:3"], 0.0) == [b"a", b"b", b"c"]


def test_a_message_that_is_published_again_is_the_same_one_and_younger() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"a", None, 1.0)
    memory.remember(b"b", None, 2.0)
    memory.remember(b"a", None, 3.0)
    assert memory.since([None], 2.5) == [b"a"]
    assert memory.size_bytes == 2 * (1 + ENTRY_OVERHEAD_BYTES)


def test_what_is_older_than_the_time_is_forgotten() -> None:
    memory = Memory(30.0, 10**6)
    memory.remember(b"a", ("user:1",), 1.0)
    memory.remember(b"b", None, 32.0)
    assert memory.since([None, "user:1"], 0.0) == [b"b"]
    assert memory.size_bytes == 1 + ENTRY_OVERHEAD_BYTES


def test_nothing_is_kept_when_the_time_is_0() -> None:
    memory = Memory(0.0, 10**6)
    memory.remember(b"a", None, 1.0)
    assert memory.since([None], 0.0) == []


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=3),
            st.none() | st.lists(st.sampled_from(ROUTES), min_size=1, unique=True).map(tuple),
            st.floats(0, 5),
        ),
        max_size=40,
    ),
    st.integers(0, 3000),
)
def test_it_never_has_more_than_its_bytes_and_its_seconds(
    script: list[tuple[bytes, tuple[str, ...] | None, float]], max_bytes: int
) -> None:
    memory, now, told = Memory(10.0, max_bytes), 0.0, []
    for frame, routes, step in script:
        now += step
        memory.remember(frame, routes, now)
        told.append((now, frame))
        assert memory.size_bytes <= max_bytes
    young = {frame for at, frame in told if at >= now - 10.0}
    assert set(memory.since([None, *ROUTES], 0.0)) <= young


def test_it_tells_since_when_nothing_is_missing() -> None:
    memory = Memory(30.0, 3 * ENTRY_OVERHEAD_BYTES)
    for at in range(4):
        memory.remember(b"%d" % at, None, float(at))
    assert [memory.is_complete_since(at) for at in (1.0, 1.5)] == [False, True]


def test_what_is_too_large_for_it_costs_the_others_nothing_and_is_told() -> None:
    memory = Memory(30.0, 1000)
    memory.remember(b"a", None, 1.0)
    memory.remember(b"b" * 1000, None, 2.0)
    assert memory.since([None], 0.0) == [b"a"]
    assert not memory.is_complete_since(1.5)


def test_many_routes_cost_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        memory, begin = Memory(30.0, 10**8), time.perf_counter()
        memory.remember(b"a", tuple(f"user:{number}" for number in range(count)), 1.0)
        return time.perf_counter() - begin

    few, many = (min(seconds(count) for _ in range(5)) for count in (500, 20_000))
    assert many < 400 * few  # 40 times as many: it was 1,600 times when routes were compared


def test_routes_count_as_bytes() -> None:
    memory = Memory(30.0, 10**8)
    memory.remember(b"a", tuple(f"user:{number}" for number in range(100)), 1.0)
    assert memory.size_bytes > 100 * ROUTE_OVERHEAD_BYTES
