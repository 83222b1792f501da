# SPDX-License-Identifier: Apache-2.0
"""Messages are published as Superset 7 publishes them, byte by byte."""

from __future__ import annotations

from typing import Any, cast

import pytest
import redis

from wsgi_ws.superset.names import BROADCAST
from wsgi_ws.superset.realtime import channel_name, envelope, publish


class Client:
    """A client of Redis that remembers what it should have published."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def publish(self, *arguments: Any) -> int:
        self.calls.append(arguments)
        return 3


@pytest.mark.parametrize(("prefix", "name"), [("", "realtime"), ("tenant-a:", "tenant-a:realtime")])
def test_the_prefix_stands_before_the_channel_as_it_is(prefix: str, name: str) -> None:
    assert channel_name(prefix) == name


def test_a_broadcast_has_no_routes() -> None:
    assert envelope("entity.changed", BROADCAST, {"entity_type": "task", "id": 4711}) == (
        b'{"topic": "entity.changed", "scope": "authenticated_global", '
        b'"payload": {"entity_type": "task", "id": 4711}}'
    )


def test_a_message_for_tabs_has_its_routes_at_the_end() -> None:
    payload = {"task_id": "0f6d3a52-6a0e-4a5e-9b61-0d0b8a1f7c21", "status": "success"}
    assert envelope("task.status", "tab", payload, ["user:42:3", "user:42:7"]) == (
        b'{"topic": "task.status", "scope": "tab", "payload": {"task_id": '
        b'"0f6d3a52-6a0e-4a5e-9b61-0d0b8a1f7c21", "status": "success"}, '
        b'"routes": ["user:42:3", "user:42:7"]}'
    )


def test_a_message_for_a_principal_has_its_route() -> None:
    payload = {"dashboard_id": 12, "permalink_key": "Wp3kQz9AbC1"}
    assert envelope("dashboard.filters_applied", "principal", payload, ("user:42",)) == (
        b'{"topic": "dashboard.filters_applied", "scope": "principal", "payload": '
        b'{"dashboard_id": 12, "permalink_key": "Wp3kQz9AbC1"}, "routes": ["user:42"]}'
    )


def test_a_message_for_nobody_keeps_its_empty_routes() -> None:
    assert envelope("t", "tab", {}, []).endswith(b', "routes": []}')


def test_what_is_not_ascii_is_escaped() -> None:
    assert envelope("t", BROADCAST, "ä😀").endswith(rb'"payload": "\u00e4\ud83d\ude00"}')


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_becomes_null_however_deep_it_is(number: float) -> None:
    assert envelope("t", BROADCAST, {"a": [1.5, (number,)]}).endswith(
        b'"payload": {"a": [1.5, [null]]}}'
    )


def test_a_message_is_published_once_and_its_receivers_are_counted() -> None:
    client = Client()
    receivers = publish(cast(redis.Redis, client), "p:", "t", "tab", {"a": 1}, ["user:1:2"])
    assert client.calls == [("p:realtime", envelope("t", "tab", {"a": 1}, ["user:1:2"]))]
    assert receivers == 3
