# SPDX-License-Identifier: Apache-2.0
"""Events are written as Superset's AsyncQueryManager writes them."""

from __future__ import annotations

import json
from typing import Any, cast

import redis

from wsgi_ws.superset.producer import event, new_channel, publish, xadds

MEMBERS = ["channel_id", "job_id", "user_id", "status", "errors", "result_url"]


class Client:
    """A client of Redis that remembers what it should have written."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def xadd(self, *arguments: Any) -> bytes:
        self.calls.append(arguments)
        return b"1700000000000-%d" % len(self.calls)


def test_an_event_has_supersets_members_in_supersets_order() -> None:
    assert list(event("c1")) == MEMBERS


def test_an_event_is_done_and_without_result_if_nobody_says_otherwise() -> None:
    assert event("c1", job_id="j1") == {
        "channel_id": "c1",
        "job_id": "j1",
        "user_id": None,
        "status": "done",
        "errors": [],
        "result_url": None,
    }


def test_members_may_be_added() -> None:
    assert list(event("c1", status="running", t=1)) == [*MEMBERS, "t"]


def test_each_event_has_a_job_of_its_own() -> None:
    assert event("c1")["job_id"] != event("c1")["job_id"]


def test_each_channel_is_a_new_one() -> None:
    assert new_channel() != new_channel()


def test_an_event_goes_into_the_channels_stream_first() -> None:
    assert [xadd.name for xadd in xadds("p-", "c1", "{}")] == ["p-c1", "p-full"]


def test_both_streams_are_trimmed_to_supersets_limits() -> None:
    assert [xadd.maxlen for xadd in xadds("p-", "c1", "{}")] == [1_000, 1_000_000]


def test_an_event_may_be_written_without_trimming() -> None:
    assert [xadd.maxlen for xadd in xadds("p-", "c1", "{}", trimmed=False)] == [None, None]


def test_both_streams_get_the_same_entry_with_an_id_from_redis() -> None:
    own, whole = xadds("p-", "c1", '{"a":1}')
    assert own[1:3] == whole[1:3] == ({"data": '{"a":1}'}, "*")


def test_the_id_that_browsers_see_is_the_one_in_the_global_stream() -> None:
    client = Client()
    message = event("c1")
    entry_id = publish(cast(redis.Redis, client), "p-", message)
    data = {"data": json.dumps(message)}
    assert client.calls == [("p-c1", data, "*", 1_000), ("p-full", data, "*", 1_000_000)]
    assert entry_id == "1700000000000-2"
