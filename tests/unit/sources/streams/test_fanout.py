# SPDX-License-Identifier: Apache-2.0
"""What a fan-out takes for new when a follower has to look behind what it has read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import cast
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsgi_ws.hub import Hub
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams import fanout
from wsgi_ws.sources.streams.entry import RawEntry
from wsgi_ws.sources.streams.fanout import Fanout
from wsgi_ws.sources.streams.history import ENTRY_OVERHEAD_BYTES, History

PLENTY = 10**9
MALFORMED = b"{"


def raw(number: int, text: str = "") -> RawEntry:
    return b"%d-0" % number, [b"data", event(text)]


def event(text: str) -> bytes:
    return MALFORMED if text == "malformed" else json.dumps({"channel_id": "c", "t": text}).encode()


def fan_out(history: History) -> Fanout:
    metrics = cast(TransportMetrics, Mock())
    return Fanout(Hub(), history, metrics, on_progress=lambda: None, on_gap=lambda position: None)


def filled(*batches: Sequence[RawEntry], max_bytes: int = PLENTY) -> tuple[Fanout, History]:
    history = History(max_bytes)
    result = fan_out(history)
    result.start([], ZERO)
    for batch in batches:
        result.deliver(batch)
    return result, history


def test_what_was_delivered_is_not_unseen() -> None:
    one, _ = filled([raw(1), raw(2)], [raw(3)])
    assert one.unseen([raw(1), raw(2), raw(3)]) == []


def test_what_lies_between_entries_that_were_delivered_is_unseen() -> None:
    one, _ = filled([raw(1), raw(3)], [raw(5)])
    assert one.unseen([raw(1), raw(2), raw(4), raw(5)]) == [raw(2), raw(4)]


def test_another_event_with_the_same_id_is_unseen() -> None:
    one, _ = filled([raw(1), raw(2)])
    assert one.unseen([raw(1), raw(2, "of the other server")]) == [raw(2, "of the other server")]


def test_what_is_older_than_the_history_can_not_be_told_and_is_left_alone() -> None:
    one, history = filled([raw(5)], [raw(6)], max_bytes=ENTRY_OVERHEAD_BYTES + 100)
    assert history.floor == StreamId(5, 0)
    assert one.unseen([raw(4), raw(5, "new"), raw(6)]) == []


def test_a_malformed_entry_is_not_unseen() -> None:
    one, _ = filled([raw(1)])
    assert one.unseen([raw(2, "malformed")]) == []


def test_nothing_of_nothing_is_unseen() -> None:
    one, _ = filled([raw(1)])
    assert one.unseen([]) == []


def test_of_a_past_that_is_too_long_the_newest_part_is_remembered() -> None:
    """Not none of it: a batch is remembered and forgotten as a whole."""
    history = History(fanout.PIECE * 2 * ENTRY_OVERHEAD_BYTES)
    past = [raw(number) for number in range(1, 10 * fanout.PIECE + 1)]
    fan_out(history).start(past, ZERO)
    assert history.position == StreamId(10 * fanout.PIECE, 0)
    assert history.floor == StreamId(9 * fanout.PIECE, 0)


ENTRIES = st.dictionaries(
    st.integers(1, 60), st.sampled_from(["", "x", "malformed"]), max_size=30
).map(lambda texts: [raw(number, texts[number]) for number in sorted(texts)])


@given(ENTRIES, st.lists(st.integers(1, 6)), ENTRIES, st.integers(0, 12), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_unseen_is_what_a_comparison_with_the_whole_history_finds(
    monkeypatch: pytest.MonkeyPatch,
    delivered: list[RawEntry],
    sizes: list[int],
    asked: list[RawEntry],
    room: int,
    indexed: bool,
) -> None:
    monkeypatch.setattr(fanout, "PIECE", 4)
    batches, rest = [], delivered
    for size in [*sizes, len(delivered)]:
        batches.append(rest[:size])
        rest = rest[size:]
    one, history = filled(*filter(None, batches), max_bytes=room * (ENTRY_OVERHEAD_BYTES + 30))
    if indexed:
        history.of_channel("c")
    unseen = one.unseen(asked)
    known = {(entry.id, entry.data) for entry in history.of_channel("c")}
    expected = [
        (entry_id, fields)
        for entry_id, fields in asked
        if StreamId.parse(entry_id) > history.floor
        and fields[1] != MALFORMED
        and (StreamId.parse(entry_id), fields[1]) not in known
    ]
    assert unseen == expected


def test_a_page_costs_what_is_in_it_whatever_the_history_has() -> None:
    """Against a comparison with the whole history, which takes some hundred times as long."""
    history, count = History(PLENTY), 60_000
    for number in range(1, count + 1):  # as they come while nothing is behind: one by one
        history.append([(b"%d-0" % number, "c", event(""))], b"%d-0" % number)
    one, page = fan_out(history), [raw(number) for number in range(30_000, 30_100)]
    cheapest = min(cost(lambda: one.unseen(page)) for _ in range(5))
    assert cheapest < cost(lambda: {entry.id for entry in history.of_channel("c")}) / 5


def cost(work: Callable[[], object]) -> float:
    begin = time.process_time()
    assert work() is not None
    return time.process_time() - begin
