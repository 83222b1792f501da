# SPDX-License-Identifier: Apache-2.0
"""What is read of Redis for a catch-up, and its bounds. The model has what becomes of it."""

from __future__ import annotations

import pytest

from tests.unit.sources.streams.simulation import FULL, PREFIX, Publish, Tick, World
from wsgi_ws.sources.streams import archive
from wsgi_ws.sources.streams.archive import Archive
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge
from wsgi_ws.sources.streams.stream_id import ZERO, StreamId

PLENTY = 10**9


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PAGE", 3)
    monkeypatch.setattr(archive, "SEARCH_PAGES", 4)


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
    return Archive(world.redis, PREFIX, history)


def known(archive: Archive, last_id: StreamId) -> Knowledge:
    snapshot = archive.snapshot([("a", last_id)])
    return archive.knowledge("a", last_id, snapshot.channels.popleft(), snapshot)


def numbers(world: World, knowledge: Knowledge) -> list[int]:
    """Which of the world's events are known."""
    return [[e.global_id for e in world.events].index(entry.id) for entry in knowledge.entries]


def place_of(world: World, number: int) -> StreamId:
    return world.events[number].global_id or ZERO


def test_a_snapshot_has_the_clock_the_channels_stream_and_the_end_of_the_global_one() -> None:
    w = world("a", "b", "a")
    snapshot = forgetful(w).snapshot([("a", ZERO), ("b", ZERO)])
    assert snapshot.now_ms == w.now_ms
    assert [[e.data for e in entries] for entries in snapshot.channels] == [
        [w.events[0].data, w.events[2].data],
        [w.events[1].data],
    ]
    assert snapshot.newest == place_of(w, 2)


def test_a_channels_stream_is_read_to_its_end() -> None:
    w = world(*["a"] * 8)
    assert len(forgetful(w).snapshot([("a", ZERO)]).channels[0]) == 8


def test_a_channels_stream_is_read_from_a_minute_before_last_id() -> None:
    w = world(*["a"] * 8)
    snapshot = forgetful(w).snapshot([("a", place_of(w, 5))])
    assert snapshot.channels[0][0].data == w.events[4].data


def test_what_the_history_has_forgotten_is_known_from_redis() -> None:
    w = world("a", "b", "a", "b", "a")
    assert numbers(w, known(forgetful(w), place_of(w, 0))) == [0, 2, 4]


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
    last_id, a = place_of(w, 0), forgetful(w)
    snapshot = a.snapshot([("a", last_id), ("a", last_id)])
    answers = []
    for entries in snapshot.channels:
        answers.append(a.knowledge("a", last_id, entries, snapshot).last_id_exists)
        w.redis.stream(FULL).entries.clear()  # a second question would have another answer
    assert answers == [True, True]


def test_within_the_history_redis_is_not_asked_again() -> None:
    w = world("a", "a", "a")
    history = History(PLENTY)
    for event in w.events:
        place = event.global_id or ZERO
        history.append([(bytes(place), "a", event.data)], bytes(place))
    a = Archive(w.redis, PREFIX, history)
    snapshot = a.snapshot([("a", place_of(w, 0))])
    w.redis.streams.clear()
    knowledge = a.knowledge("a", place_of(w, 0), snapshot.channels[0], snapshot)
    assert (numbers(w, knowledge), knowledge.continuous) == ([0, 1, 2], True)
