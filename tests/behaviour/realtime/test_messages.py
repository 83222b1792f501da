# SPDX-License-Identifier: Apache-2.0
"""A payload goes to the browser byte by byte, and what is no message harms nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from testbed.realtime import Superset7
from testbed.servers import Server
from tests.behaviour.realtime.scene import received, socket

StartServer = Callable[..., Server]

MESSAGE = '{"topic":"x","payload":1}'  # of payload 1, as a browser gets it
PAYLOADS = {
    "a large integer": "9007199254740993",
    "a very large one": "1" + "0" * 400,
    "a float as it is written": "[1.0, 1e5, -0.0, 1E+400, 0.1000]",
    "the order of members": '{"b": 1, "a": 2}',
    "a member that is there twice": '{"a": 1, "a": 2}',
    "escapes": r'"\u00e9\u20ac\ud83d\ude00\/\b"',
    "half of a surrogate pair": r'{"a": "\ud800"}',
    "letters that need no escape": '"é€😀"',
    "white space": '{ "a" :\t[ 1 ,2 ] }',
    "null": "null",
    "a false": "false",
    "names like the envelope's": '{"topic": "x", "scope": "y", "routes": ["user:2"]}',
}


def test_a_payload_is_not_changed(start_realtime: StartServer, superset: Superset7) -> None:
    server = start_realtime()
    message = '{"topic": "x", "scope": "tab", "payload": %s, "routes": ["user:1:1"]}'
    with socket(server, "user:1", "1") as client:
        for payload in PAYLOADS.values():
            superset.publish_raw((message % payload).encode())
        (texts,) = received(superset, client)
    expected = [f'{{"topic":"x","payload":{payload}}}' for payload in PAYLOADS.values()]
    assert dict(zip(PAYLOADS, texts, strict=True)) == dict(zip(PAYLOADS, expected, strict=True))


ENVELOPES = {
    "Superset's order": (
        '{"topic": "x", "scope": "tab", "payload": 1, "routes": ["user:1", "user:2:secret"]}'
    ),
    "another order": (
        '{"routes": ["user:1", "user:2:secret"], "payload": 1, "scope": "tab", "topic": "x"}'
    ),
    "a member that nobody knows": (
        '{"topic": "x", "scope": "tab", "payload": 1, "routes": ["user:1"], "more": "secret"}'
    ),
}


def test_nothing_but_topic_and_payload_is_passed_on(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    with socket(server, "user:1", "1") as client:
        for message in ENVELOPES.values():
            superset.publish_raw(message.encode())
        (texts,) = received(superset, client)
    assert dict(zip(ENVELOPES, texts, strict=True)) == dict.fromkeys(ENVELOPES, MESSAGE)


def test_a_message_without_a_payload_is_passed_on_without_one(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    with socket(server, "user:1") as client:
        superset.publish_raw(b'{"topic": "x", "scope": "tab", "routes": ["user:1"]}')
        superset.publish("x", "tab", 1, ["user:1"])
        assert client.recv() == '{"topic":"x"}'


def deep(levels: int) -> bytes:
    nested = b"[" * levels + b"]" * levels
    return b'{"topic": "x", "scope": "tab", "payload": %s, "routes": ["user:1"]}' % nested


POISON = {
    "nothing": b"",
    "no JSON": b"this is no JSON",
    "half of it": b'{"topic": "x", "scope": "tab", "payload": {',
    "two of them": b'{"topic": "x", "scope": "authenticated_global"} {}',
    "NaN": b'{"topic": "x", "scope": "authenticated_global", "payload": NaN}',
    "bytes": bytes(range(256)),
    "no UTF-8": b'{"topic": "x", "scope": "authenticated_global", "payload": "\xff"}',
    "a surrogate in UTF-8": b'{"topic": "x", "scope": "tab", "routes": ["\xed\xa0\x80"]}',
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "no topic": b'{"scope": "authenticated_global", "payload": 1}',
    "no scope": b'{"topic": "x", "payload": 1}',
    "an empty topic": b'{"topic": "", "scope": "authenticated_global"}',
    "an empty scope": b'{"topic": "x", "scope": ""}',
    "a topic that is a number": b'{"topic": 5, "scope": "authenticated_global"}',
    "a scope that is null": b'{"topic": "x", "scope": null}',
    "routes that are a text": b'{"topic": "x", "scope": "tab", "routes": "user:1"}',
    "routes that are an object": b'{"topic": "x", "scope": "tab", "routes": {"user:1": 1}}',
    "routes that are null": b'{"topic": "x", "scope": "tab", "routes": null}',
    "a route that is a number": b'{"topic": "x", "scope": "tab", "routes": ["user:1", 5]}',
    "an empty route": b'{"topic": "x", "scope": "tab", "routes": ["user:1", ""]}',
}


def test_what_is_no_message_is_skipped_and_harms_nobody(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    with socket(server, "user:1", "1") as client:
        for data in POISON.values():
            superset.publish_raw(data)
            superset.publish("x", "tab", 1, ["user:1"])
        assert received(superset, client) == [[MESSAGE] * len(POISON)]
    assert "Traceback" not in server.log_text()
    assert server.log_text().count("subscribed to channel") == 1


def test_each_kind_of_what_is_no_message_is_told_once_a_minute(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    with socket(server, "user:1") as client:
        for _ in range(20):
            for data in POISON.values():
                superset.publish_raw(data)
        received(superset, client)
    reasons = re.findall(r"is skipped: (.*)", server.log_text())
    assert len(reasons) == len({*reasons})
    assert len(reasons) > 5


def test_a_message_of_any_depth_harms_nobody(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    depths = (100, 1005, 100_000)
    with socket(server, "user:1", "1") as client:
        for levels in depths:
            superset.publish_raw(deep(levels))
        superset.publish("x", "tab", 1, ["user:1"])
        (texts,) = received(superset, client)
    assert texts.pop() == MESSAGE
    assert {text.count("[") for text in texts} <= {*depths}  # each is whole, if it came
    assert "Traceback" not in server.log_text()


def test_a_message_larger_than_the_buffer_of_a_socket_arrives(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"MAX_SOCKET_BUFFER_BYTES": "1000000"})
    with socket(server, "user:1", "1") as client:
        superset.publish("x", "tab", "y" * 3_000_000, ["user:1"])
        superset.publish("x", "tab", 1, ["user:1"])
        large, small = received(superset, client)[0]
    assert len(json.loads(large)["payload"]) == 3_000_000
    assert small == MESSAGE


def test_what_a_tab_has_missed_may_be_larger_than_the_buffer_of_a_socket(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"MAX_SOCKET_BUFFER_BYTES": "1000000"})
    with socket(server, "user:9") as witness:
        for number in range(3):
            payload = {"task_id": str(number), "status": "success", "more": "y" * 900_000}
            superset.publish("task.status", "tab", payload, ["user:1:1"])
        received(superset, witness)
        with socket(server, "user:1", "1") as client:
            superset.publish("x", "tab", 1, ["user:1:1"])
            assert len(received(superset, client)[0]) == 4
