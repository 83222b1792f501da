# SPDX-License-Identifier: Apache-2.0
"""The streams as a source: who joins how, whether it is ready, and how far it is behind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from wsgi_ws.config.keys import RedisSettings, Settings
from wsgi_ws.hub import Hub
from wsgi_ws.sources.source import Source
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams.source import StreamSource

SETTINGS = Settings(redis=RedisSettings(host="redis.example", port=6380))


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def source(hub: Hub) -> StreamSource:
    """Nothing of it runs, so that Redis is never asked."""
    return StreamSource(SETTINGS, hub, Mock())


@pytest.fixture
def catch_up(source: StreamSource, monkeypatch: pytest.MonkeyPatch) -> Any:
    """In place of the real one."""
    catch_up = Mock()
    monkeypatch.setattr(source, "_catch_up", catch_up)
    return catch_up


def add(hub: Hub, channel: str = "a") -> Any:
    connection = Mock(channel=channel, ended=False)
    hub.add(connection)
    return connection


def connect(source: StreamSource, *, caught_up: bool) -> None:
    source.link.connected.set()
    source._follower.caught_up = caught_up


def test_the_streams_are_a_source(source: StreamSource) -> None:
    as_source: Source = source
    assert len(as_source.jobs()) == 5


# --- joining -------------------------------------------------------------------------------------


def test_without_a_last_id_a_socket_gets_the_last_minute_first(
    source: StreamSource, hub: Hub, catch_up: Any
) -> None:
    one, now_ms = add(hub), time.time() * 1000
    source.join(one, last_id=None, tab_id=None)
    assert (hub.by_topic, catch_up.enqueue.called) == ({}, False)
    ((connection, since),) = [call.args for call in catch_up.welcome.call_args_list]
    assert (connection, round((now_ms - since.ms) / 1000)) == (one, 60)


def test_a_socket_that_is_due_no_first_catch_up_gets_live_events_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = StreamSource(replace(SETTINGS, first_catch_up=0.0), hub, Mock())
    catch_up = Mock()
    monkeypatch.setattr(source, "_catch_up", catch_up)
    one = add(hub, "a")
    source.join(one, last_id=None, tab_id=None)
    assert (hub.by_topic, catch_up.mock_calls) == ({"a": (one,)}, [])


def test_with_a_last_id_a_socket_catches_up_first(
    source: StreamSource, hub: Hub, catch_up: Any
) -> None:
    one = add(hub)
    source.join(one, last_id="1700000000000-3", tab_id=None)
    assert hub.by_topic == {}
    catch_up.enqueue.assert_called_once_with(one, StreamId(1700000000000, 3))


@pytest.mark.parametrize("last_id", ["", "$", "1700000000000", "-1-0", "1-0 "])
def test_a_malformed_last_id_is_ignored_with_a_warning(
    source: StreamSource, hub: Hub, catch_up: Any, caplog: pytest.LogCaptureFixture, last_id: str
) -> None:
    source.join(add(hub), last_id=last_id, tab_id=None)
    assert (catch_up.welcome.called, catch_up.enqueue.called) == (True, False)
    expected = f"last_id {last_id!r} is ignored: it is not like 1700000000000-0"
    assert [record.getMessage() for record in caplog.records] == [expected]


def test_after_a_gap_live_sockets_catch_up_from_before_it(
    source: StreamSource, hub: Hub, catch_up: Any
) -> None:
    live, other, catching_up = add(hub, "a"), add(hub, "b"), add(hub, "a")
    for one in (live, other):
        hub.subscribe(one, one.channel)
    source._resynchronize(StreamId(5, 0))
    calls = catch_up.enqueue_after_gap.call_args_list
    queued = {(*live, position) for live, position in (call.args for call in calls)}
    assert queued == {(live, StreamId(5, 0)), (other, StreamId(5, 0))}
    assert (hub.by_topic, catching_up in hub) == ({}, True)


# --- readiness -----------------------------------------------------------------------------------


def test_it_is_not_ready_before_redis_can_be_read(source: StreamSource) -> None:
    assert source.unreadiness() == "Redis at redis://redis.example:6380/0 can't be read"


def test_the_cause_is_named_while_redis_can_t_be_read(source: StreamSource) -> None:
    source.link.down(redis.ResponseError("DB index is out of range"))
    assert str(source.unreadiness()).endswith("can't be read: DB index is out of range")


def test_it_is_not_ready_while_entries_wait_to_be_read(source: StreamSource) -> None:
    connect(source, caught_up=False)
    assert source.unreadiness() == "catching up with the stream"


def test_it_is_not_ready_while_catch_ups_are_not_permitted(source: StreamSource) -> None:
    connect(source, caught_up=True)
    source._permissions.missing = "XRANGE is not permitted"
    assert source.unreadiness() == "XRANGE is not permitted"


def test_it_is_ready_when_all_is_read(source: StreamSource) -> None:
    connect(source, caught_up=True)
    assert source.unreadiness() is None


# --- lag -----------------------------------------------------------------------------------------


def test_there_is_no_lag_while_everything_is_read(source: StreamSource) -> None:
    connect(source, caught_up=True)
    source._history.start_at(StreamId(1, 0))
    assert source.lag() == 0.0


def test_under_load_the_lag_is_the_age_of_what_was_read_last(source: StreamSource) -> None:
    connect(source, caught_up=False)
    source._caught_up_at -= 100
    source._history.start_at(StreamId(int((time.time() - 7) * 1000), 0))
    assert round(source.lag()) == 7


def test_in_an_outage_the_lag_is_not_longer_than_that(source: StreamSource) -> None:
    source._history.start_at(StreamId(1, 0))  # nothing was written for decades
    source._caught_up_at -= 3
    assert round(source.lag()) == 3


def test_the_lag_grows_from_the_last_time_that_everything_was_read(source: StreamSource) -> None:
    source._caught_up_at -= 100
    connect(source, caught_up=True)
    source.lag()
    source.link.connected.clear()
    source._history.start_at(StreamId(1, 0))
    assert source.lag() < 50
