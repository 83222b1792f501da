# SPDX-License-Identifier: Apache-2.0
"""Lines that are served in turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.fair_queue import FairQueue

ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers()))


def queue(items: list[tuple[str, int]]) -> FairQueue[tuple[str, int]]:
    filled: FairQueue[tuple[str, int]] = FairQueue()
    for item in items:
        filled.put(item[0], item)
    return filled


def test_one_of_each_line_is_taken() -> None:
    assert queue([("a", 1), ("a", 2), ("b", 3)]).take(9) == [("a", 1), ("b", 3)]


def test_who_has_been_served_is_behind_all_others() -> None:
    waiting = queue([("a", 1), ("a", 2), ("b", 3)])
    assert [waiting.take(1) for _ in range(3)] == [[("a", 1)], [("b", 3)], [("a", 2)]]


@given(ITEMS, st.integers(1, 4))
def test_everything_is_taken_once_and_each_line_in_its_order(
    items: list[tuple[str, int]], limit: int
) -> None:
    waiting, taken = queue(items), []
    while len(waiting):
        taken += waiting.take(limit)
    for key in "abc":
        assert [item for item in taken if item[0] == key] == [i for i in items if i[0] == key]


@given(ITEMS, st.integers(0, 4))
def test_the_length_is_what_waits(items: list[tuple[str, int]], limit: int) -> None:
    waiting = queue(items)
    taken = waiting.take(limit)
    assert len(waiting) == len(items) - len(taken)
