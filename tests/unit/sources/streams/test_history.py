# SPDX-License-Identifier: Apache-2.0
"""The history against a naive model: every entry it claims to have, in order, within its bound."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import ENTRY_OVERHEAD_BYTES, History, Kept

CHANNELS = ["a", "b", "c"]
PLENTY = 10**9


def past(number: int, channel: str = "a", size: int = 0) -> Entry:
    return Entry(StreamId(number, 0), channel, b"x" * size)


def kept(chunk: Iterable[Entry]) -> list[Kept]:
    """In the form in which the fan-out hands them over."""
    return [(bytes(entry.id), entry.channel, entry.data) for entry in chunk]


def number_of(entry: Entry) -> int:
    return entry.id.ms


def filled(*chunks: Iterable[Entry], max_bytes: int = PLENTY) -> History:
    """A history that got these chunks, whose IDs must ascend."""
    history = History(max_bytes)
    for chunk in map(list, chunks):
        history.append(kept(chunk), bytes(chunk[-1].id))
    return history


def room_for(entries: int) -> int:
    return entries * ENTRY_OVERHEAD_BYTES


# --- what it answers -----------------------------------------------------------------------------


def test_only_the_channels_own_entries_come_out() -> None:
    history = filled([past(1, "a"), past(2, "b"), past(3, "a")])
    assert history.of_channel("a") == [past(1, "a"), past(3, "a")]


def test_entries_come_in_the_order_of_the_stream_across_chunks() -> None:
    history = filled([past(9)], [past(10), past(11)], [past(100)])
    assert [number_of(p) for p in history.of_channel("a")] == [9, 10, 11, 100]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (ZERO, [5, 10]),
        (StreamId(4, 99), [5, 10]),
        (StreamId(5, 0), [10]),
        (StreamId(5, 1), [10]),
        (StreamId(10, 0), []),
        (StreamId(11, 0), []),
    ],
)
def test_only_entries_above_the_given_id_come_out(after: StreamId, expected: list[int]) -> None:
    history = filled([past(5), past(10)])
    assert [number_of(p) for p in history.of_channel("a", after)] == expected


def test_an_unknown_channel_has_no_entries() -> None:
    assert filled([past(1, "a")]).of_channel("b") == []


def test_asking_does_not_change_the_answer() -> None:
    history = filled([past(1)], [past(2)])
    assert history.of_channel("a") == history.of_channel("a")


def test_the_answer_belongs_to_the_caller() -> None:
    history = filled([past(1)])
    history.of_channel("a").clear()
    assert history.of_channel("a") == [past(1)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 99, [1, 3, 5, 7, 9]),
        (3, 7, [3, 5, 7]),
        (2, 8, [3, 5, 7]),
        (1, 1, [1]),
        (4, 4, []),
        (9, 99, [9]),
        (10, 99, []),
        (0, 0, []),
    ],
)
@pytest.mark.parametrize("indexed", [0, 1, 3])
def test_entries_of_all_channels_between_two_ids_come_out(
    start: int, end: int, expected: list[int], indexed: int
) -> None:
    history = History(PLENTY)
    for number, chunk in enumerate([[past(1, "a"), past(3, "b")], [past(5)], [past(7), past(9)]]):
        if number == indexed:
            history.of_channel("a")  # so that what is there is indexed, what follows is not
        history.append(kept(chunk), bytes(chunk[-1].id))
    found = history.between(StreamId(start, 0), StreamId(end, 0))
    assert [StreamId.parse(entry_id).ms for entry_id, _, _ in found] == expected


# --- where it begins and ends --------------------------------------------------------------------


def test_the_position_is_the_chunks_last_id_even_if_that_entry_was_malformed() -> None:
    history = History(PLENTY)
    history.append(kept([past(1)]), b"7-3")
    assert history.position == StreamId(7, 3)


def test_a_beginning_sets_floor_and_position() -> None:
    history = History(PLENTY)
    history.start_at(StreamId(5, 0))
    assert (history.floor, history.position) == (StreamId(5, 0), StreamId(5, 0))


def test_a_beginning_forgets_what_was_before() -> None:
    history = filled([past(1)], [past(2)])
    history.of_channel("a")  # indexed
    history.append(kept([past(3)]), b"3-0")  # not indexed yet
    history.start_at(StreamId(5, 0))
    assert (history.of_channel("a"), history.size_bytes) == ([], 0)


def test_the_floor_stays_while_nothing_is_forgotten() -> None:
    history = History(room_for(2))
    history.start_at(StreamId(5, 0))
    history.append(kept([past(6)]), b"6-0")
    assert history.floor == StreamId(5, 0)


def test_the_floor_rises_to_the_last_entry_forgotten() -> None:
    history = filled([past(1), past(2)], [past(3)], max_bytes=room_for(1))
    assert history.floor == StreamId(2, 0)


@pytest.mark.parametrize("asked_before", [True, False])
def test_the_oldest_is_forgotten_first(asked_before: bool) -> None:
    history = filled([past(1)], [past(2)], max_bytes=room_for(2))
    if asked_before:
        history.of_channel("a")
    history.append(kept([past(3)]), b"3-0")
    assert history.of_channel("a") == [past(2), past(3)]


def test_without_room_nothing_is_kept() -> None:
    history = filled([past(1)], [past(2)], max_bytes=0)
    assert (history.of_channel("a"), history.floor, history.size_bytes) == ([], StreamId(2, 0), 0)


def test_batches_without_a_single_event_leave_nothing_behind() -> None:
    history = History(PLENTY)
    tracemalloc.start()
    try:
        for number in range(20_000):
            history.append([], b"%d-0" % number)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000


# --- the model -----------------------------------------------------------------------------------

APPEND = st.lists(st.tuples(st.sampled_from(CHANNELS), st.integers(0, 600)), max_size=5)
ASK = st.sampled_from(CHANNELS)  # which indexes: later evictions must not depend on it
STEPS = st.lists(APPEND | ASK, max_size=40)


class Model:
    """The same by brute force: all chunks there ever were, and how many of them are forgotten."""

    def __init__(self, max_bytes: int) -> None:
        self.chunks: list[list[Entry]] = []
        self.max_bytes = max_bytes

    def kept(self) -> list[Entry]:
        chunks = list(self.chunks)
        while sum(cost(chunk) for chunk in chunks) > self.max_bytes:
            chunks.pop(0)
        return [entry for chunk in chunks for entry in chunk]


def cost(chunk: list[Entry]) -> int:
    return sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in chunk)


def replayed(steps: list[list[tuple[str, int]] | str], max_bytes: int) -> tuple[History, Model]:
    history, model = History(max_bytes), Model(max_bytes)
    number = 0
    for step in steps:
        if isinstance(step, str):
            history.of_channel(step)
            continue
        chunk = []
        for channel, size in step:
            number += 1
            chunk.append(past(number, channel, size))
        number += 1  # a malformed entry at the end, or an empty chunk's only one
        history.append(kept(chunk), b"%d-0" % number)
        model.chunks.append(chunk)
    return history, model


BOUND = st.integers(0, 3_000)


@given(STEPS, BOUND, st.sampled_from(CHANNELS), st.integers(0, 100))
def test_a_channels_history_is_what_a_naive_model_keeps_of_it(
    steps: list[list[tuple[str, int]] | str], bound: int, channel: str, after: int
) -> None:
    history, model = replayed(steps, bound)
    expected = [p for p in model.kept() if p.channel == channel and number_of(p) > after]
    assert history.of_channel(channel, StreamId(after, 0)) == expected


@given(STEPS, BOUND)
def test_every_entry_between_floor_and_position_is_there(
    steps: list[list[tuple[str, int]] | str], bound: int
) -> None:
    history, model = replayed(steps, bound)
    everything = [entry for chunk in model.chunks for entry in chunk]
    within = [p for p in everything if history.floor < p.id <= history.position]
    found = [p for channel in CHANNELS for p in history.of_channel(channel)]
    assert sorted(found, key=number_of) == within


@given(STEPS, BOUND)
def test_the_memory_used_stays_within_the_bound(
    steps: list[list[tuple[str, int]] | str], bound: int
) -> None:
    history, _ = replayed(steps, bound)
    assert history.size_bytes <= bound


@given(STEPS, BOUND)
def test_the_memory_counted_is_that_of_the_entries_kept(
    steps: list[list[tuple[str, int]] | str], bound: int
) -> None:
    history, model = replayed(steps, bound)
    assert history.size_bytes == cost(model.kept())


def test_behind_a_gap_what_was_handed_out_before_is_still_there() -> None:
    history = History(10**6)
    history.append([(b"1-0", "c", b"before")], b"1-0")
    history.begin_behind_gap(StreamId(5, 0))
    history.append([(b"6-0", "c", b"behind")], b"6-0")
    assert [entry.data for entry in history.of_channel("c")] == [b"before", b"behind"]
    assert (history.floor, history.position) == (StreamId(5, 0), StreamId(6, 0))


def test_to_forget_what_was_before_a_gap_does_not_move_the_floor_back() -> None:
    history = History(1000)
    history.append([(b"1-0", "c", b"x" * 500)], b"1-0")
    history.begin_behind_gap(StreamId(5, 0))
    history.append([(b"6-0", "c", b"x" * 500)], b"6-0")
    assert history.floor == StreamId(5, 0)
