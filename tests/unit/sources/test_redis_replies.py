# SPDX-License-Identifier: Apache-2.0
"""What Redis answers: forms that are taken or refused, and what errors mean."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.sources.redis_replies import (
    ERROR_SHOWN,
    clock_ms,
    entries_of,
    is_cut_off,
    is_of_ping_alone,
    stream_of,
    to_follow_streams,
    to_subscribe,
    told,
    will_pass,
)


@pytest.mark.parametrize("reply", [[b"1700000000", b"12999"], (1_700_000_000, 12_999)])
def test_redis_s_clock_is_read_in_whole_milliseconds(reply: Any) -> None:
    assert clock_ms(reply) == 1_700_000_000_012


# --- the form of replies -------------------------------------------------------------------------

ENTRY = [b"1-0", [b"data", b"{}"]]


@pytest.mark.parametrize(
    "entries", [[], [ENTRY], [ENTRY, [b"2-0", [b"a", b"1", b"b", b"2"]]], [[b"1-0", []]]]
)
def test_entries_are_left_as_they_are(entries: Any) -> None:
    assert entries_of(entries) == entries
    assert stream_of([[b"stream", entries]]) == entries


def test_no_answer_is_no_entries() -> None:
    assert (list(entries_of(None)), list(stream_of(None))) == ([], [])


@pytest.mark.parametrize(
    "reply",
    [
        *(b"OK", 1, [1], [b"OK"], [[]], [[b"1-0"]], [[b"1-0", None]], [[b"1-0", b"data"]]),
        *([[1, []]], [[b"1", []]], [[b"x-0", []]], [ENTRY, [b"", []]], [ENTRY, 5]),
        *([[b"1-0", [b"data", 1]]], [[b"1-0", [b"a", b"1", b"b", None]]]),
    ],
    ids=repr,
)
def test_what_is_no_entries_is_an_error_of_redis(reply: Any) -> None:
    with pytest.raises(redis.RedisError):
        entries_of(reply)
    with pytest.raises(redis.RedisError):
        stream_of([[b"stream", reply]])


@pytest.mark.parametrize("reply", [b"OK", 1, [1], [], [[b"s", []], [b"t", []]]], ids=repr)
def test_what_is_not_one_stream_is_an_error_of_redis(reply: Any) -> None:
    with pytest.raises(redis.RedisError):
        stream_of(reply)


@pytest.mark.parametrize("reply", [b"OK", 1, [], [b"1", b"x"], [b"1", None]], ids=repr)
def test_what_is_no_time_is_an_error_of_redis(reply: Any) -> None:
    with pytest.raises(redis.RedisError):
        connect(RedisSettings(), read_timeout=1).response_callbacks["TIME"](reply)


# --- errors --------------------------------------------------------------------------------------


def test_a_cluster_is_called_by_its_name() -> None:
    assert "Redis Cluster" in told(redis.exceptions.MovedError("7467 127.0.0.1:7701"))
    assert "Redis Cluster" in told(redis.exceptions.ClusterDownError("Hash slot not served"))


@pytest.mark.parametrize("beginning", ["ERR ", "MOVED "])
def test_of_an_endless_error_the_beginning_is_told_in_one_line(beginning: str) -> None:
    text = told(redis.ResponseError(beginning + "several\nlines " * 100_000))
    assert beginning + "several\N{REPLACEMENT CHARACTER}lines" in text
    assert len(text) < 2 * ERROR_SHOWN
    assert "\n" not in text


def test_a_master_that_is_gone_is_no_cluster_and_passes() -> None:
    error = redis.exceptions.MasterDownError("Link with MASTER is down")
    assert (told(error), will_pass(error)) == (str(error), True)


def test_a_script_that_holds_the_server_up_passes() -> None:
    assert will_pass(redis.ResponseError("BUSY Redis is busy running a script"))
    assert not will_pass(redis.ResponseError("WRONGTYPE Operation against a key"))


@pytest.mark.parametrize("word", ["LOADING", "MASTERDOWN", "NOAUTH", "TRYAGAIN"])
def test_what_passes_is_told_by_rediss_own_word(word: str) -> None:
    assert will_pass(redis.ResponseError(f"{word} as Redis says it"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NOPERM this user has no permissions to run the 'ping' command", True),
        ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to", True),
        ("BUSY Redis is busy running a script.", False),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", False),
        ("LOADING Redis is loading the dataset in memory", False),
    ],
)
def test_a_refusal_of_ping_alone_is_told_from_one_of_messages(text: str, expected: bool) -> None:
    assert is_of_ping_alone(redis.ResponseError(text)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Connection closed by server.", True),
        ("Error while reading from localhost:6379 : (104, 'Connection reset by peer')", True),
        ("Error 111 connecting to localhost:6379. Connection refused.", False),
        ("Timeout connecting to server", False),
    ],
)
def test_a_connection_that_was_cut_is_told_from_one_that_was_not_made(
    text: str, expected: bool
) -> None:
    assert is_cut_off(redis.ConnectionError(text)) is expected


def test_a_connection_that_was_reset_was_cut() -> None:
    assert is_cut_off(ConnectionResetError(104, "Connection reset by peer"))


# --- permissions --------------------------------------------------------------------------------


def test_a_channel_that_is_forbidden_is_named_with_the_command_that_permits_it() -> None:
    error = redis.exceptions.NoPermissionError("No permissions to access a channel")
    assert to_subscribe("ws", "bi:realtime").explain(error) == (
        "user ws may not SUBSCRIBE to bi:realtime: allow it in Redis with "
        "ACL SETUSER ws &bi:realtime +subscribe +ping"
    )


def test_streams_that_are_forbidden_are_named_with_the_command_that_permits_them() -> None:
    error = redis.ResponseError("NOPERM User ws has no permissions to run the 'xread' command")
    assert to_follow_streams("ws", "async-events-").explain(error) == (
        "user ws may not read async-events-*: allow it in Redis with "
        "ACL SETUSER ws ~async-events-* +xread +xrange +xrevrange +time +select"
    )


def test_a_user_who_may_not_even_select_the_database_needs_that_first() -> None:
    error = redis.ResponseError("NOPERM User ws has no permissions to run the 'select' command")
    assert to_subscribe("ws", "realtime").explain(error).endswith("ACL SETUSER ws +select")


def test_what_does_not_know_a_command_is_not_told_to_permit_it() -> None:
    error = redis.ResponseError("ERR unknown command 'subscribe'")
    assert to_subscribe("ws", "realtime").explain(error) == (
        "what answers in Redis's place can't SUBSCRIBE to realtime"
    )
