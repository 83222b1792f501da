# SPDX-License-Identifier: Apache-2.0
"""An entry as Redis sends it, what is read of it, and what tells two copies of an event apart."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.event_samples import DEPTHS, EVENT, ID, OBJECTS, dumped, frame, nested
from wsgi_ws.event import MalformedEntry
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams.entry import Entry

HERE = StreamId(1_700_000_000_000, 3)
POISON = [
    pytest.param(b'{"channel_id":"c1","a":"\xff"}', id="not UTF-8"),
    pytest.param(b'{"channel_id":"c1","a":"\xed\xa0\x80"}', id="a surrogate"),
]


def entry(data: bytes) -> Entry:
    return Entry.parse((ID, [b"data", data]))


def identity(data: bytes) -> bytes:
    return Entry(HERE, "c1", data).identity


# --- what is read of an entry --------------------------------------------------------------------


def test_an_entry_has_its_id_its_channel_and_the_event_as_it_was_written() -> None:
    assert entry(dumped(EVENT)) == Entry(HERE, "c1", dumped(EVENT))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"other", b"x", b"data", dumped(EVENT)], id="after others"),
        pytest.param([b"data", dumped(EVENT), b"other", b"x"], id="before others"),
        pytest.param([b"other", b"data", b"data", dumped(EVENT)], id="a value called data"),
        pytest.param([b"data", dumped(EVENT), b"data", b"x"], id="the first of two"),
    ],
)
def test_the_field_data_is_found_among_others(fields: list[bytes]) -> None:
    assert Entry.parse((ID, fields)).channel == "c1"


@pytest.mark.parametrize(
    "fields", [[], [b"other", b"x"], [b"other", b"data"], [b"DATA", dumped(EVENT)]]
)
def test_an_entry_without_the_field_data_says_so(fields: list[bytes]) -> None:
    with pytest.raises(MalformedEntry, match="no field data"):
        Entry.parse((ID, fields))


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]", b"{}"])
def test_an_entry_without_a_channel_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedEntry):
        entry(data)


@given(st.lists(st.binary() | st.sampled_from([b"data", b"{}", dumped(EVENT)]), max_size=6))
def test_any_entry_is_an_event_or_malformed_and_never_an_error(fields: list[bytes]) -> None:
    try:
        result = Entry.parse((ID, fields)).channel
    except MalformedEntry as error:
        result = str(error)
    assert result


@pytest.mark.parametrize("data", POISON)
def test_what_is_wrong_in_other_members_is_told_when_the_frame_is_wanted(data: bytes) -> None:
    broken = entry(data)
    with pytest.raises(MalformedEntry):
        broken.frame()


# --- its frame -----------------------------------------------------------------------------------


def test_the_frame_has_the_entrys_own_id() -> None:
    assert entry(dumped(EVENT)).frame() == frame(dumped(EVENT))


def test_at_another_place_the_frame_has_that_places_id() -> None:
    moved = entry(dumped(EVENT)).at(StreamId(9, 9))
    assert b'{"id":"9-9","channel_id": "c1"' in moved.frame()


def test_at_another_place_the_identity_is_not_worked_out_again() -> None:
    one = entry(dumped(EVENT))
    assert one.identity is one.at(StreamId(9, 9)).identity


def test_of_a_copy_the_identity_is_not_worked_out_again() -> None:
    known: dict[bytes, bytes] = {}
    one, copy = entry(dumped(EVENT)), entry(dumped(EVENT))
    assert copy.identity_among({one.data: one.identity}) is one.identity
    assert one.identity_among(known) is known[copy.data]


def test_what_is_known_by_its_identity_alone_is_nobodys_copy() -> None:
    known: dict[bytes, bytes] = {}
    one = entry(dumped(EVENT))
    assert one.known_by_identity().identity_among(known) == one.identity
    assert known == {}


# --- identity ------------------------------------------------------------------------------------


def test_equal_data_has_equal_identity() -> None:
    assert identity(dumped(EVENT)) == identity(dumped(EVENT))


@pytest.mark.parametrize(
    "twin",
    [
        pytest.param(dumped(EVENT | {"sent_at": 1}), id="stamped differently"),
        pytest.param(dumped(dict(reversed(EVENT.items()))), id="in another order"),
        pytest.param(json.dumps(EVENT, indent=2).encode(), id="with white space"),
    ],
)
def test_a_copy_that_differs_in_form_only_has_the_same_identity(twin: bytes) -> None:
    assert identity(twin) == identity(dumped(EVENT))


@pytest.mark.parametrize(
    "change",
    [
        {"channel_id": "c2"},
        {"job_id": "j2"},
        {"user_id": "7"},
        {"status": "error"},
        {"errors": [{"message": "x"}]},
        {"result_url": None},
    ],
)
def test_each_of_supersets_members_tells_events_apart(change: dict[str, Any]) -> None:
    assert identity(dumped(EVENT | change)) != identity(dumped(EVENT))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"5", b'{"channel_id":"c1"}'])
def test_what_is_no_event_of_supersets_is_its_own_identity(data: bytes) -> None:
    assert identity(data) == data


@pytest.mark.parametrize("data", POISON)
def test_an_event_that_nobody_can_get_is_its_own_identity(data: bytes) -> None:
    assert identity(data) == data


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_nesting_has_an_identity_too(depth: int) -> None:
    assert identity(nested(depth)) == identity(nested(depth))


@given(OBJECTS, OBJECTS)
@example({"errors": 1}, {"errors": True})
def test_events_have_equal_identity_exactly_when_supersets_members_are_equal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = EVENT | one, EVENT | other
    same = all(orjson.dumps(first[name]) == orjson.dumps(second[name]) for name in EVENT)
    assert (identity(dumped(first)) == identity(dumped(second))) == same


@given(st.binary())
def test_any_data_has_an_identity(data: bytes) -> None:
    assert isinstance(identity(data), bytes)
