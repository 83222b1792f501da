# SPDX-License-Identifier: Apache-2.0
"""From an event's JSON to a browser's message."""

from __future__ import annotations

import contextlib
import json
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.event_samples import DEPTHS, EVENT, ID, OBJECTS, dumped, frame, nested
from wsgi_ws.event import MalformedEntry, head_of, members_of


def payload(frame: bytes) -> bytes:
    """Of an unmasked frame."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def message(data: bytes) -> dict[str, Any]:
    """What a browser reads from the event's message."""
    text = payload(frame(data)).decode("utf-8", "strict")
    loaded = json.loads(text, parse_constant=_no_constant)
    assert isinstance(loaded, dict)
    return loaded


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


# --- the message ---------------------------------------------------------------------------------


def test_the_message_is_the_producers_text_with_the_id_in_front_of_the_members() -> None:
    assert payload(frame(dumped(EVENT))) == (
        b'{"id":"1700000000000-3","channel_id": "c1", "job_id": "j1", "user_id": null, '
        b'"status": "done", "errors": [], "result_url": "/api/v1/chart/data/qc-1"}'
    )


@pytest.mark.parametrize("space", [b" ", b"\t", b"\r\n", b"\n\n  "])
def test_white_space_around_the_event_does_no_harm(space: bytes) -> None:
    assert message(space + dumped(EVENT) + space) == message(dumped(EVENT))


def test_the_message_is_a_text_frame() -> None:
    assert frame(dumped(EVENT))[0] == 0x81


def test_an_id_in_the_event_wins_over_the_entrys() -> None:
    assert message(dumped(EVENT | {"id": "mine"}))["id"] == "mine"


@pytest.mark.parametrize("name", ["id", "\\u0069d", "\\u0069\\u0064"])
def test_an_id_in_the_event_is_found_however_its_name_is_written(name: str) -> None:
    event = b'{"channel_id":"c1","%b":"mine"}' % name.encode()
    assert payload(frame(event)) == event


def test_an_id_inside_another_member_does_not_count() -> None:
    assert message(dumped(EVENT | {"errors": [{"id": 1}]}))["id"] == ID.decode()


def test_a_channel_inside_a_nested_member_does_not_count() -> None:
    event = {"errors": [{"channel_id": "c2"}], "note": '"channel_id":"c3"'} | EVENT
    assert head_of(dumped(event)).channel_id == "c1"


@pytest.mark.parametrize(
    ("event", "channel"),
    [
        (b'{"channel_id":"c1","channel_id":"c2"}', "c2"),
        (b'{"channel_id":5,"channel_id":"c2"}', "c2"),
        (b'{"channel_id":"c1","channel_id":""}', None),
        (b'{"channel_id":"c1","channel_id":5}', None),
    ],
)
def test_of_two_channels_the_last_counts_as_in_every_json_parser(
    event: bytes, channel: str | None
) -> None:
    try:
        found = head_of(event).channel_id
    except MalformedEntry:
        found = None
    assert found == channel


def test_a_lone_surrogate_comes_out_as_it_came_in() -> None:
    assert message(b'{"channel_id":"c1","note":"\\ud800"}')["note"] == "\ud800"


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, -(2**63), 2**64 - 1, 10**400])
def test_a_whole_number_keeps_every_digit(number: int) -> None:
    assert message(dumped(EVENT | {"n": number}))["n"] == number


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1.0", b"1E+2", b"0.1e-7"])
def test_a_number_goes_as_it_was_written(number: bytes) -> None:
    assert b'"n":%b}' % number in frame(b'{"channel_id":"c1","n":%b}' % number)


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
    assert message(unescaped) == message(dumped(event))


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


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An event's text with some bytes changed, put in or taken out."""
    text = bytearray(dumped(draw(OBJECTS) | {"channel_id": "c1"}))
    known = b'{}[]",:\\/u0123456789eE+-.ntf \t\n\r\x00\x1f\x7f\x80\xc3\xed\xff'
    some = st.sampled_from(list(known))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = bytes(draw(st.lists(some, max_size=2)))
    return bytes(text)


@given(damaged())
def test_what_goes_to_a_browser_is_json_or_does_not_go(data: bytes) -> None:
    try:
        text = payload(frame(data))
    except MalformedEntry:
        return
    event = json.loads(data.decode("utf-8", "strict"), parse_constant=_no_constant)
    assert json.loads(text.decode("utf-8", "strict")) == {"id": ID.decode()} | event


@given(damaged())
def test_what_does_not_go_to_a_browser_is_no_event(data: bytes) -> None:
    with contextlib.suppress(MalformedEntry):
        frame(data)
        return
    with pytest.raises(MalformedEntry):
        members_of(data)


# --- malformed data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'channel_id': 'c1'}", "not JSON"),
        (dumped(EVENT) + b"x", "not JSON"),
        (b'{"channel_id":"c1","a":NaN}', "not JSON"),
        (b'{"channel_id":"c1","a":-Infinity}', "not JSON"),
        (b'{"channel_id":"c1","s":"\\ud800","a":NaN}', "not JSON"),
        (b'\xef\xbb\xbf{"channel_id":"c1"}', "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"channel_id":"c1","a":"\xff"}', "not UTF-8"),
        (b'{"channel_id":"c1","a":"\xed\xa0\x80"}', "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"{}", "no channel_id"),
        (b'{"channel_id":""}', "no channel_id"),
        (b'{"channel_id":null}', "no channel_id"),
        (b'{"channel_id":5}', "no channel_id"),
        (b'{"channel_id":["c1"]}', "no channel_id"),
        (b'{"errors":{"channel_id":"c1"}}', "no channel_id"),
    ],
)
def test_data_that_is_no_event_says_what_is_wrong(data: bytes, word: str) -> None:
    with pytest.raises(MalformedEntry, match=word):
        members_of(data)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"{}", b'{"channel_id":5}'])
def test_data_without_a_channel_says_what_is_wrong_before_its_members_are_looked_at(
    data: bytes,
) -> None:
    with pytest.raises(MalformedEntry):
        head_of(data)


@given(OBJECTS, CHANNELS)
def test_the_channel_is_found_without_the_other_members(
    members: dict[str, Any], channel: str
) -> None:
    assert head_of(dumped(members | {"channel_id": channel})).channel_id == channel


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_nesting_gives_a_message_or_is_malformed_and_never_an_error(depth: int) -> None:
    data = nested(depth)
    try:
        text = payload(frame(data))
    except MalformedEntry:
        assert depth > 500  # so much must be possible
    else:
        assert text.count(b"[") == depth


@given(st.binary() | st.sampled_from([b"{}", dumped(EVENT)]))
def test_any_data_is_an_event_or_malformed_and_never_an_error(data: bytes) -> None:
    try:
        result = head_of(data).channel_id
    except MalformedEntry as error:
        result = str(error)
    assert result
