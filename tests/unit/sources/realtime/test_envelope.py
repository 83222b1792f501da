# SPDX-License-Identifier: Apache-2.0
"""A message of the realtime channel: whom it is for, and the frame that browsers get."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.wire import TEXT, frame
from wsgi_ws.sources.realtime.envelope import MalformedMessage, Message, message_of

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def envelope(payload: str = '{"id":1}', **members: Any) -> bytes:
    """A message whose payload is this very text."""
    usual: dict[str, Any] = {"topic": "t", "scope": "principal", "routes": ["user:1"]} | members
    others = ", ".join(f"{json.dumps(name)}: {json.dumps(v)}" for name, v in usual.items())
    return f'{{{others}, "payload": {payload}}}'.encode()


def text_of(message: Message) -> str:
    """The payload of its text frame."""
    head = 2 if message.frame[1] < 126 else 4 if message.frame[1] == 126 else 10
    assert message.frame[0] == 0x81
    return message.frame[head:].decode()


def test_a_browser_gets_topic_and_payload_and_nothing_else() -> None:
    data = (
        b'{"topic": "task.status", "scope": "tab", "payload": {"task_id": "0f6d", "status": '
        b'"success"}, "routes": ["user:42:3", "user:42:7"]}'
    )
    expected = b'{"topic":"task.status","payload":{"task_id": "0f6d", "status": "success"}}'
    assert message_of(data).frame == frame(TEXT, expected, mask=None)


def test_a_targeted_message_has_its_routes_each_once() -> None:
    assert message_of(envelope(routes=["b", "a", "b"])).routes == ("b", "a")


@pytest.mark.parametrize("scope", ["principal", "tab", "some.day"])
def test_a_targeted_message_without_routes_is_for_nobody(scope: str) -> None:
    data = json.dumps({"topic": "t", "scope": scope, "payload": 1}).encode()
    assert message_of(data).routes == ()


@pytest.mark.parametrize("routes", [{}, {"routes": ["user:1"]}, {"routes": []}])
def test_a_broadcast_is_for_everybody(routes: dict[str, Any]) -> None:
    data = {"topic": "t", "scope": "authenticated_global", "payload": 1} | routes
    assert message_of(json.dumps(data).encode()).routes is None


@pytest.mark.parametrize(
    "payload",
    [
        '{"n": 12345678901234567890123, "z": 1, "a": 1e400}',
        '{"a":1,"a":2}',
        '{ "a" :\n 1 }',
        r'"\ud800 \u00e9 é"',
        r'{ "a" : "}\"\udfff" , "payload": [1] }',
        "null",
        "[" * 500 + "]" * 500,
    ],
)
def test_the_payload_is_passed_on_as_it_came(payload: str) -> None:
    message = message_of(envelope(payload))
    assert text_of(message) == '{"topic":"t","payload":' + payload + "}"


def test_a_message_without_a_payload_is_passed_on_without_one() -> None:
    message = message_of(b'{"topic":"t","scope":"principal","routes":["a"]}')
    assert text_of(message) == '{"topic":"t"}'


@given(JSON_VALUES, st.text(min_size=1))
def test_what_browsers_read_is_what_was_published(payload: Any, topic: str) -> None:
    data = envelope(json.dumps(payload), topic=topic)
    assert json.loads(text_of(message_of(data))) == {"topic": topic, "payload": payload}


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        message_of(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is not JSON"),
        (b"x", "it is not JSON"),
        (envelope("NaN"), "it is not JSON"),
        (envelope('"\xff"').replace("ÿ".encode(), b"\xff"), "it is not UTF-8"),
        (envelope("[" * 5000 + "]" * 5000), "it is nested too deeply"),
        (rb'["\ud800"]', "it is no message of Superset's: Expected `object`, got `array`"),
        (rb'{"topic":5,"scope":"\ud800"}', "Expected `str`, got `int` - at `$.topic`"),
        (b"[]", "it is no message of Superset's: Expected `object`, got `array`"),
        (b'{"scope":"a"}', "it is no message of Superset's: Object missing required field `topic`"),
        (b'{"topic":"a"}', "it is no message of Superset's: Object missing required field `scope`"),
        (envelope(topic=5), "Expected `str`, got `int` - at `$.topic`"),
        (envelope(scope=None), "Expected `str`, got `null` - at `$.scope`"),
        (envelope(topic=""), "its topic or its scope is empty"),
        (envelope(scope=""), "its topic or its scope is empty"),
        (envelope(routes=None), "Expected `array`, got `null` - at `$.routes`"),
        (envelope(routes="user:1"), "Expected `array`, got `str` - at `$.routes`"),
        (envelope(routes=["a", 5]), "Expected `str`, got `int` - at `$.routes[…]`"),
        (envelope(routes=["a", ""]), "one of its routes is empty"),
    ],
)
def test_what_is_no_message_is_told(data: bytes, problem: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        message_of(data)
    assert problem in str(caught.value)
