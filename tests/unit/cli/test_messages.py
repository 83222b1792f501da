# SPDX-License-Identifier: Apache-2.0
"""Messages of Superset 7 as `tail` shows them and `send` makes them."""

from __future__ import annotations

import json

import pytest

from wsgi_ws.cli.messages import as_message, is_for, sample
from wsgi_ws.superset.names import BROADCAST
from wsgi_ws.superset.realtime import envelope

STATUS = {"task_id": "t", "status": "success"}


def test_a_message_has_its_members_and_its_size() -> None:
    data = envelope("task.status", "tab", STATUS, ["user:42:3"])
    message = as_message(data)
    assert message.items() >= json.loads(data).items()
    assert message["bytes"] == len(data)


@pytest.mark.parametrize("data", [b"\xff", b"[]", b'{"topic": "t", "scope": ""}', b"{"])
def test_what_is_no_message_says_why(data: bytes) -> None:
    assert as_message(data)["malformed"]


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        (["user:42"], True),
        (["user:7", "user:42:3"], True),
        (["user:421"], False),
        (["guest:42"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_principal_has_the_messages_of_its_tabs_too(
    routes: list[str] | None, wanted: bool
) -> None:
    message = as_message(envelope("t", "tab", {}, routes))
    assert is_for(message, "user:42") is wanted


@pytest.mark.parametrize(
    ("route", "topic", "scope"),
    [
        (None, "entity.changed", BROADCAST),
        ("user:42", "task.status", "principal"),
        ("user:42:3", "task.status", "tab"),
    ],
)
def test_a_sample_is_what_superset_would_send_there(
    route: str | None, topic: str, scope: str
) -> None:
    assert sample(None, None, route)[:2] == (topic, scope)


def test_each_sample_ends_a_task_of_its_own() -> None:
    assert sample(None, None, "user:42")[2] != sample(None, None, "user:42")[2]


def test_a_samples_topic_and_payload_may_be_chosen() -> None:
    assert sample("x", {"a": 1}, "user:42") == ("x", "principal", {"a": 1})
