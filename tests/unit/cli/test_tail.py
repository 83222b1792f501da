# SPDX-License-Identifier: Apache-2.0
"""Lines of `tail`."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from wsgi_ws.cli.messages import as_message
from wsgi_ws.cli.publish import event
from wsgi_ws.cli.tail import as_line, entry_id, merged
from wsgi_ws.superset.names import BROADCAST
from wsgi_ws.superset.realtime import envelope
from wsgi_ws.transport import Transport


def line(**members: Any) -> str:
    return as_line({"id": "1700000000123-0", **event("c0ffee00-1111"), **members})


def test_a_line_has_time_channel_and_status() -> None:
    assert line(job_id="j", result_url="/x").split() == [
        *("22:13:20.123", "c0ffee00…", "j", "done", "/x")
    ]


def test_a_line_has_the_error() -> None:
    assert "no such table" in line(status="error", errors=[{"message": "no such table"}])


def test_what_comes_from_outside_can_not_command_the_terminal() -> None:
    text = line(status="\x1b[2J", result_url="/x\n\x07")
    assert text.isprintable()


def test_a_malformed_entry_has_a_line_too() -> None:
    text = as_line({"id": "1700000000123-0", "malformed": "data is not JSON"})
    assert text.endswith("1700000000123-0  malformed: data is not JSON")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("0", "0-0"),
        ("1700000000000", "1700000000000-0"),
        ("1700000000000-7", "1700000000000-7"),
        ("$", "None"),
        ("yesterday", "None"),
        ("-", "None"),
        ("1-2-3", "None"),
        ("1&x=2", "None"),
    ],
)
def test_an_id_is_written_whole_or_as_milliseconds(text: str, whole: str) -> None:
    assert str(entry_id(text)) == whole


# --- messages ------------------------------------------------------------------------------------


def message_line(scope: str, routes: list[str] | None, **members: Any) -> list[str]:
    data = envelope("task.status", scope, {"task_id": "confidential"}, routes)
    return as_line(as_message(data) | {"time": 1_700_000_000.123} | members).split()


def test_a_line_of_a_message_has_topic_scope_size_and_routes() -> None:
    assert message_line("tab", ["user:42:3", "user:42:7"]) == [
        *("22:13:20.123", "task.status", "tab", "118", "bytes", "user:42:3", "user:42:7")
    ]


def test_a_line_of_a_broadcast_has_no_routes() -> None:
    assert message_line(BROADCAST, None)[-1] == "bytes"


def test_a_line_has_only_the_first_routes() -> None:
    routes = [f"user:{number}" for number in range(1000)]
    assert message_line("principal", routes)[-4:] == ["user:3", "and", "996", "more"]


def test_a_guests_key_is_cut() -> None:
    assert message_line("tab", [f"guest:{'5e88' * 16}:3"])[-1] == "guest:5e885e88…:3"


def test_a_malformed_message_has_a_line_too() -> None:
    assert "malformed: it is not JSON" in as_line(as_message(b"{"))


def test_the_topic_of_a_message_can_not_command_the_terminal() -> None:
    assert as_line(as_message(envelope("\x1b[2J", "\x07", {}, ["\n"]))).isprintable()


def test_a_message_as_a_browser_gets_it_has_a_line() -> None:
    assert as_line({"topic": "task.status", "payload": {}}).split() == [
        *("--:--:--.---", "task.status")
    ]


# --- several sources -----------------------------------------------------------------------------


def forbidden() -> Iterator[dict[str, Any]]:
    raise redis.exceptions.NoPermissionError("NOPERM")
    yield {}


def endless(**event: Any) -> Iterator[dict[str, Any]]:
    return itertools.repeat(event, 3)


def test_two_sources_are_shown_as_they_come() -> None:
    sources = {Transport.STREAMS: endless(a=1), Transport.REALTIME: endless(b=2)}
    shown = [*itertools.islice(merged(sources, lambda *_: None), 6)]
    assert sorted(map(str, shown)) == ["{'a': 1}"] * 3 + ["{'b': 2}"] * 3


def test_a_source_that_is_forbidden_is_told_and_left_out() -> None:
    told: queue.Queue[Transport] = queue.Queue()

    def after_it_is_told() -> Iterator[dict[str, Any]]:
        yield {"left out": told.get(timeout=30)}

    sources = {Transport.REALTIME: forbidden(), Transport.STREAMS: after_it_is_told()}
    shown = merged(sources, lambda transport, _: told.put(transport))
    assert next(shown) == {"left out": Transport.REALTIME}


def test_when_all_sources_are_forbidden_that_is_the_error() -> None:
    sources = {transport: forbidden() for transport in Transport}
    with pytest.raises(redis.exceptions.NoPermissionError):
        next(merged(sources, lambda *_: None))
