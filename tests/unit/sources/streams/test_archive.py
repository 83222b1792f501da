# SPDX-License-Identifier: Apache-2.0
"""What is read of Redis for a catch-up, and its bounds. The model has what becomes of it."""

from __future__ import annotations

import time

import pytest
import redis

from tests.unit.sources.streams.simulation import FULL, PREFIX, First, Publish, Second, Tick, World
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams import archive
from wsgi_ws.sources.streams.archive import Archive, Part
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge, Place, Whose

PLENTY = 10**9


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PAGE", 3)
    monkeypatch.setattr(archive, "SEARCH_ENTRIES", 12)


def world(*channels: str) -> World:
    """A Redis with an event for each name, one a minute."""
    world = World(history_bytes=0)
    for channel in channels:
        world.run([Publish(channel), Tick(60_000)])
    return world


def forgetful(world: World) -> Archive:
    """With a history that has been handed everything and keeps nothing."""
    history = History(0)
    history.start_at(world.redis.stream(FULL).last)
    return Archive(world.redis, PREFIX, history, RedisClock())


def known(archive: Archive, last_id: StreamId) -> Knowledge:
    return known_from(archive, Place(last_id))


def known_from(archive: Archive, place: Place) -> Knowledge:
    snapshot = archive.snapshot([("a", place)])
    part = archive.next_part("a", place, snapshot)
    return archive.knowledge("a", place, part, snapshot)


def part_of(archive: Archive, place: Place) -> Part:
    """What a client of channel a needs of its channel's stream."""
    return archive.next_part("a", place, archive.snapshot([("a", place)]))


def numbers(world: World, knowledge: Knowledge) -> list[int]:
    """Which of the world's events are known."""
    return [[e.global_id for e in world.events].index(entry.id) for entry in knowledge.entries]


def entry_of(world: World) -> Entry:
    """The first entry of the global stream."""
    return world.redis.stream(FULL).entries[0]


def place_of(world: World, number: int) -> StreamId:
    return world.events[number].global_id or ZERO


def test_a_snapshot_has_the_clock_the_channels_stream_and_the_end_of_the_global_one() -> None:
    w = world("a", "b", "a")
    a, place = forgetful(w), Place(ZERO)
    snapshot = a.snapshot([("a", place), ("b", place)])
    assert snapshot.now_ms == w.now_ms
    parts = [a.next_part(channel, place, snapshot) for channel in "ab"]
    assert [[e.data for e in part.entries] for part in parts] == [
        [w.events[0].data, w.events[2].data],
        [w.events[1].data],
    ]
    assert snapshot.newest == place_of(w, 2)


def test_a_channels_stream_is_read_to_its_end() -> None:
    w = world(*["a"] * 8)
    assert len(part_of(forgetful(w), Place(ZERO)).entries) == 8


def test_a_channels_stream_is_read_from_a_minute_before_last_id() -> None:
    w = world(*["a"] * 8)
    part = part_of(forgetful(w), Place(place_of(w, 5)))
    assert part.entries[0].data == w.events[4].data


def test_what_the_history_has_forgotten_is_known_from_redis() -> None:
    w = world("a", "b", "a", "b", "a")
    assert numbers(w, known(forgetful(w), place_of(w, 0))) == [0, 2, 4]


def test_of_events_that_are_alike_each_is_known_however_late_its_second_half_is() -> None:
    w = world("a").run([First("a"), Tick(1), First("a")])
    own = w.redis.stream(PREFIX + "a").entries
    w.events[1].data = own[1].data = w.events[2].data
    w.run([Second(1), Tick(500), Second(0), Tick(60_000)])
    assert numbers(w, known(forgetful(w), place_of(w, 0))) == [0, 2, 1]


def test_an_entry_that_has_the_text_of_an_event_in_another_field_is_none() -> None:
    w = world("a")
    (event,) = w.events
    part = archive._of_channel([(b"9-9", [b"date", event.data])], "a", {event.data: entry_of(w)})
    assert part == []


def test_what_the_channels_stream_has_lost_is_known_from_the_global_one() -> None:
    w = world(*["a"] * 8)
    del w.redis.stream(PREFIX + "a").entries[:5]
    knowledge = known(forgetful(w), place_of(w, 1))
    assert (numbers(w, knowledge), knowledge.continuous) == ([1, 2, 3, 4, 5, 6, 7], True)


def test_the_search_in_the_global_stream_has_a_bound_and_says_so() -> None:
    w = world(*["b"] * 20, "a")
    w.redis.stream(PREFIX + "a").entries.clear()
    knowledge = known(forgetful(w), place_of(w, 1))
    assert (numbers(w, knowledge), knowledge.continuous) == ([20], False)


def test_a_place_that_is_not_in_the_streams_is_not_known() -> None:
    w = world("a", "b", "a")
    away = place_of(w, 1).successor()
    assert not known(forgetful(w), away).last_id_exists
    assert known(forgetful(w), place_of(w, 1)).last_id_exists


def test_clients_with_one_last_id_ask_for_its_place_once() -> None:
    w = world("b", "a")
    place, a = Place(place_of(w, 0)), forgetful(w)
    snapshot = a.snapshot([("a", place), ("a", place)])
    answers = []
    for _ in range(2):
        part = a.next_part("a", place, snapshot)
        answers.append(a.knowledge("a", place, part, snapshot).last_id_exists)
        w.redis.stream(FULL).entries.clear()  # a second question would have another answer
    assert answers == [True, True]


def test_within_the_history_redis_is_not_asked_again() -> None:
    w = world("a", "a", "a")
    history = History(PLENTY)
    for event in w.events:
        entry_id = bytes(event.global_id or ZERO)
        history.append([(entry_id, "a", event.data)], entry_id)
    a, place = Archive(w.redis, PREFIX, history, RedisClock()), Place(place_of(w, 0))
    snapshot = a.snapshot([("a", place)])
    w.redis.streams.clear()
    knowledge = a.knowledge("a", place, a.next_part("a", place, snapshot), snapshot)
    assert (numbers(w, knowledge), knowledge.continuous) == ([0, 1, 2], True)


def test_for_a_first_connection_the_global_stream_is_not_searched() -> None:
    w = world(*["a"] * 8)
    del w.redis.stream(PREFIX + "a").entries[:5]
    knowledge = known_from(forgetful(w), Place(place_of(w, 1), Whose.FIRST))
    assert (numbers(w, knowledge), knowledge.continuous) == ([5, 6, 7], True)


def test_a_place_of_ours_need_not_be_in_the_streams() -> None:
    w = world("a", "b", "a")
    away = place_of(w, 1).successor()
    assert known_from(forgetful(w), Place(away, Whose.GOING_ON)).last_id_exists


def test_the_global_stream_is_searched_once_for_clients_whose_channels_have_nothing() -> None:
    w = world(*["b"] * 8)
    a, place = forgetful(w), Place(place_of(w, 5))
    snapshot = a.snapshot([("a", place), ("c", place)])
    first = a.knowledge("a", place, a.next_part("a", place, snapshot), snapshot)
    w.redis.stream(FULL).entries.clear()
    second = a.knowledge("c", place, a.next_part("c", place, snapshot), snapshot)
    assert (first.continuous, second.continuous) == (True, True)


def test_a_search_goes_as_far_when_its_pages_are_small() -> None:
    w = world("a", *["b"] * 8)
    w.redis.stream(PREFIX + "a").entries.clear()
    a = forgetful(w)
    a._size.refused(1, 0.0)  # so that as little as possible is asked for at once
    assert numbers(w, known(a, place_of(w, 0))) == [0]


# --- bounds in bytes -----------------------------------------------------------------------------


def test_a_large_stream_is_read_in_parts_that_end_with_a_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 1)
    w = world(*["a"] * 8)
    found = part_of(forgetful(w), Place(ZERO))
    assert len(found.entries) == 3
    assert found.end == StreamId(w.events[2].channel_id.ms, 0).predecessor()


def test_a_part_reaches_beyond_the_place_that_it_is_read_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 1)
    w = World(history_bytes=0).run([Publish("a")] * 8 + [Tick(1), Publish("a"), Publish("a")])
    place = Place(place_of(w, 7))
    found = part_of(forgetful(w), place)
    assert found.end is None or found.end > place.id


def test_one_unreadable_key_is_the_answer_for_its_client_only() -> None:
    w = world("a", "b")
    w.redis.wrong_type.add(PREFIX + "a")
    a, place = forgetful(w), Place(ZERO)
    snapshot = a.snapshot([("a", place), ("b", place)])
    with pytest.raises(redis.ResponseError):
        a.next_part("a", place, snapshot)
    assert len(a.next_part("b", place, snapshot).entries) == 1


def test_without_the_permission_for_time_this_machines_clock_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    w = world("a")
    w.redis.refuses_time = True
    a, before = forgetful(w), int(time.time() * 1000)
    now_ms = a.snapshot([("a", Place(ZERO))]).now_ms
    a.snapshot([("a", Place(ZERO))])
    assert before <= now_ms <= time.time() * 1000
    assert [record.levelname for record in caplog.records] == ["WARNING"]
