# SPDX-License-Identifier: Apache-2.0
"""From a stream entry to a browser's message, and what tells two events apart."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsgi_ws.event import MalformedEntry, frame_of, identity, parse_entry

ID = b"1700000000000-3"
EVENT: dict[str, Any] = {
    "channel_id": "c1",
    "job_id": "j1",
    "user_id": None,
    "status": "done",
    "errors": [],
    "result_url": "/api/v1/chart/data/qc-1",
}
DEPTHS = [10, 250, 300, 900, 990, 1000, 1023, 1100, 5000, 100_000]


def entry(data: bytes) -> tuple[bytes, list[bytes]]:
    return ID, [b"data", data]


def dumped(event: object) -> bytes:
    return json.dumps(event).encode()


def payload(frame: bytes) -> bytes:
    """Of an unmasked frame."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def message(data: bytes) -> dict[str, Any]:
    """What a browser reads from the entry's message."""
    text = payload(parse_entry(entry(data)).frame).decode("utf-8", "strict")
    loaded = json.loads(text, parse_constant=_no_constant)
    assert isinstance(loaded, dict)
    return loaded


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def nested(depth: int) -> bytes:
    return b'{"channel_id":"c1","job_id":"j1","errors":' + b"[" * depth + b"]" * depth + b"}"


# --- the message ---------------------------------------------------------------------------------


def test_the_message_is_the_event_as_compact_json_with_its_id_in_front() -> None:
    assert payload(parse_entry(entry(dumped(EVENT))).frame) == (
        b'{"id":"1700000000000-3","channel_id":"c1","job_id":"j1","user_id":null,'
        b'"status":"done","errors":[],"result_url":"/api/v1/chart/data/qc-1"}'
    )


def test_the_message_is_a_text_frame() -> None:
    assert parse_entry(entry(dumped(EVENT))).frame[0] == 0x81


def test_the_frame_is_built_once_and_shared() -> None:
    event = parse_entry(entry(dumped(EVENT)))
    assert event.frame is event.frame


def test_an_id_in_the_event_wins_over_the_entrys() -> None:
    assert message(dumped(EVENT | {"id": "mine"}))["id"] == "mine"


def test_an_id_in_the_event_moves_to_the_front() -> None:
    assert next(iter(message(dumped(EVENT | {"id": "mine"})))) == "id"


def test_a_frame_can_be_made_with_another_id() -> None:
    assert payload(frame_of(b"9-9", {"channel_id": "c1"})) == b'{"id":"9-9","channel_id":"c1"}'


def test_a_channel_inside_a_nested_member_does_not_count() -> None:
    event = {"errors": [{"channel_id": "c2"}], "note": '"channel_id":"c3"'} | EVENT
    assert parse_entry(entry(dumped(event))).channel == "c1"


def test_the_event_keeps_its_entrys_id_and_data() -> None:
    event = parse_entry(entry(dumped(EVENT)))
    assert (event.id, event.data) == (ID, dumped(EVENT))


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
    assert parse_entry((ID, fields)).channel == "c1"


def test_a_lone_surrogate_comes_out_as_it_came_in() -> None:
    assert message(b'{"channel_id":"c1","note":"\\ud800"}')["note"] == "\ud800"


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1])
def test_a_whole_number_of_64_bits_keeps_every_digit(number: int) -> None:
    assert message(dumped(EVENT | {"n": number}))["n"] == number


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"channel_id":"c1","n":1e999}', id="alone"),
        pytest.param(b'{"channel_id":"c1","n":-1e999}', id="negative"),
        pytest.param(b'{"channel_id":"c1","n":1e999,"s":"\\ud800"}', id="beside a lone surrogate"),
        pytest.param(b'{"channel_id":"c1","n":[-1e999],"s":"\\ud800"}', id="nested"),
    ],
)
def test_a_number_too_large_for_a_browser_becomes_null_as_in_the_node_server(data: bytes) -> None:
    assert message(data)["n"] in (None, [None])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=8)
CHANNELS = st.text(min_size=1)


@given(OBJECTS, CHANNELS)
def test_any_object_comes_out_with_equal_members_in_their_order(
    members: dict[str, Any], channel: str
) -> None:
    event = members | {"channel_id": channel}
    expected = list(({"id": ID.decode()} | event).items())
    assert list(message(dumped(event)).items()) == expected


@given(OBJECTS, CHANNELS)
def test_any_object_comes_out_the_same_if_it_was_not_escaped(
    members: dict[str, Any], channel: str
) -> None:
    event = members | {"channel_id": channel}
    unescaped = json.dumps(event, ensure_ascii=False).encode()
    assert parse_entry(entry(unescaped)).frame == parse_entry(entry(dumped(event))).frame


@given(
    st.dictionaries(
        st.text(st.characters()), st.text(st.characters()) | st.floats() | st.integers()
    )
)
def test_an_object_with_anything_in_it_gives_clean_json_or_is_malformed(
    members: dict[str, Any],
) -> None:
    data = dumped(members | {"channel_id": "c1"})  # with NaN, Infinity, surrogates, huge numbers
    try:
        assert message(data)["channel_id"] == "c1"
    except MalformedEntry:
        assert b"NaN" in data or b"Infinity" in data


# --- malformed entries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ([], "no field data"),
        ([b"other", b"x"], "no field data"),
        ([b"other", b"data"], "no field data"),
        ([b"DATA", dumped(EVENT)], "no field data"),
        ([b"data", b""], "not JSON"),
        ([b"data", b"{"], "not JSON"),
        ([b"data", b"{'channel_id': 'c1'}"], "not JSON"),
        ([b"data", dumped(EVENT) + b"x"], "not JSON"),
        ([b"data", b'{"channel_id":"c1","a":NaN}'], "not JSON"),
        ([b"data", b'{"channel_id":"c1","a":-Infinity}'], "not JSON"),
        ([b"data", b'{"channel_id":"c1","s":"\\ud800","a":NaN}'], "not JSON"),
        ([b"data", b'\xef\xbb\xbf{"channel_id":"c1"}'], "not JSON"),
        ([b"data", b"\xff"], "not UTF-8"),
        ([b"data", b'{"channel_id":"c1","a":"\xff"}'], "not UTF-8"),
        ([b"data", b'{"channel_id":"c1","a":"\xed\xa0\x80"}'], "not UTF-8"),
        ([b"data", b"[]"], "not a JSON object"),
        ([b"data", b"null"], "not a JSON object"),
        ([b"data", b'"text"'], "not a JSON object"),
        ([b"data", b"{}"], "no channel_id"),
        ([b"data", b'{"channel_id":""}'], "no channel_id"),
        ([b"data", b'{"channel_id":null}'], "no channel_id"),
        ([b"data", b'{"channel_id":5}'], "no channel_id"),
        ([b"data", b'{"channel_id":["c1"]}'], "no channel_id"),
        ([b"data", b'{"errors":{"channel_id":"c1"}}'], "no channel_id"),
    ],
)
def test_an_entry_that_is_no_event_says_what_is_wrong(fields: list[bytes], word: str) -> None:
    with pytest.raises(MalformedEntry, match=word):
        parse_entry((ID, fields))


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_nesting_gives_a_message_or_is_malformed_and_never_an_error(depth: int) -> None:
    data = nested(depth)
    try:
        frame = parse_entry(entry(data)).frame
    except MalformedEntry:
        assert depth > 500  # so much must be possible
    else:
        assert payload(frame).count(b"[") == depth


@given(st.lists(st.binary() | st.sampled_from([b"data", b"{}", dumped(EVENT)]), max_size=6))
def test_any_entry_is_an_event_or_malformed_and_never_an_error(fields: list[bytes]) -> None:
    try:
        result = parse_entry((ID, fields)).channel
    except MalformedEntry as error:
        result = str(error)
    assert result


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
