# SPDX-License-Identifier: Apache-2.0
"""IDs of stream entries: their order, their forms, and what a browser may send as one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.stream_id import ZERO, StreamId

U64 = st.integers(0, 2**64 - 1)
IDS = st.builds(StreamId, U64, U64)


@given(IDS)
def test_an_id_survives_the_way_to_redis_and_back(stream_id: StreamId) -> None:
    assert StreamId.parse(bytes(stream_id)) == stream_id


@given(IDS)
def test_both_forms_of_an_id_are_the_same_text(stream_id: StreamId) -> None:
    assert str(stream_id).encode() == bytes(stream_id)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (b"9-0", b"10-0"),
        (b"5-9", b"5-10"),
        (b"5-99", b"6-0"),
        (b"999999999999-0", b"1000000000000-0"),
    ],
)
def test_ids_are_ordered_as_numbers_not_as_text(earlier: bytes, later: bytes) -> None:
    assert StreamId.parse(earlier) < StreamId.parse(later)


@given(IDS)
def test_zero_is_below_every_id_that_redis_gives(stream_id: StreamId) -> None:
    assert stream_id == ZERO or stream_id > ZERO


@pytest.mark.parametrize("text", [b"", b"-", b"5", b"5-", b"-5", b"5-1-2", b"a-b", b"$", b"5-*"])
def test_what_is_no_id_raises_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  int's own texts
        StreamId.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000000-0", StreamId(1700000000000, 0)),
        ("0-0", ZERO),
        ("999999999999999-9999999999", StreamId(999999999999999, 9999999999)),
    ],
)
def test_a_last_id_within_the_seeds_rule_is_taken(text: str, expected: StreamId) -> None:
    assert StreamId.from_client(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "$",
        "+",
        "0",
        "5-",
        "-5",
        "5-1-2",
        " 5-1",
        "5-1 ",
        "5-1\n",
        "5_0-1",
        "+5-1",
        "1000000000000000-0",  # 16 digits
        "5-10000000000",  # 11 digits
        "٥-١",  # digits, but not ASCII
        "5–1",  # a dash, but not this one
        "null",
    ],
)
def test_a_last_id_outside_the_seeds_rule_is_none(text: str) -> None:
    assert StreamId.from_client(text) is None


@pytest.mark.parametrize(
    ("stream_id", "expected"),
    [
        (StreamId(5, 3), StreamId(5, 2)),
        (StreamId(5, 0), StreamId(4, 2**64 - 1)),
        (ZERO, ZERO),
    ],
)
def test_a_predecessor_is_the_largest_id_below(stream_id: StreamId, expected: StreamId) -> None:
    assert stream_id.predecessor() == expected


@pytest.mark.parametrize(
    ("stream_id", "expected"),
    [
        (ZERO, StreamId(0, 1)),
        (StreamId(5, 3), StreamId(5, 4)),
        (StreamId(5, 2**64 - 1), StreamId(6, 0)),
    ],
)
def test_a_successor_is_the_smallest_id_above(stream_id: StreamId, expected: StreamId) -> None:
    assert stream_id.successor() == expected


@given(IDS)
def test_an_id_is_its_successors_predecessor(stream_id: StreamId) -> None:
    assert stream_id.successor().predecessor() == stream_id


@pytest.mark.parametrize(("ms", "expected"), [(0, 5), (1, 4), (5, 0), (6, 0)])
def test_an_earlier_id_is_the_first_of_its_millisecond_and_not_below_zero(
    ms: int, expected: int
) -> None:
    assert StreamId(5, 3).earlier(ms) == StreamId(expected, 0)


@given(st.text() | st.from_regex(r"[0-9]{0,17}-[0-9]{0,12}"))
def test_a_client_is_believed_exactly_when_the_seeds_rule_holds(text: str) -> None:
    allowed = bool(re.fullmatch(r"[0-9]{1,15}-[0-9]{1,10}", text))
    assert (StreamId.from_client(text) is not None) == allowed
