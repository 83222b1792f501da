# SPDX-License-Identifier: Apache-2.0
"""Reconnection against a model: whatever happens in whatever order, the client's list is the truth.

See `simulation` for what is real here and what is not. MODEL_EXAMPLES is how many worlds each test
sees (100 unless told otherwise); a change of the algorithm deserves some thousands, and with
HYPOTHESIS=search new ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sources.streams.simulation import (
    CHANNELS,
    FULL,
    PREFIX,
    Die,
    First,
    Flush,
    Follow,
    Overtake,
    Publish,
    Reconnect,
    Restart,
    Second,
    Serve,
    Step,
    Tick,
    Trim,
    World,
)
from wsgi_ws.sources.streams import archive, catchup, replay, sending, waiting
from wsgi_ws.sources.streams.replay import Place

WORKERS = st.integers(0, 1)
WHICH = st.integers(0, 3)
CHANNEL = st.sampled_from([*CHANNELS, "a"])
# Nothing; hardly anything; some entries; all of them.
HISTORY_BYTES = st.sampled_from([0, 500, 2_000, 10**9])
TIMES = st.sampled_from([1, 2, 15, 25, 300, 1_999, 2_000, 2_500, 30_000, 59_000, 61_000])

PRODUCING: list[st.SearchStrategy[Step]] = [
    st.builds(Publish, CHANNEL, st.just(True)),
    st.builds(Publish, CHANNEL, st.booleans()),
    st.builds(First, CHANNEL),
    st.builds(First, CHANNEL),
    st.builds(Second, WHICH),
    st.builds(Die, WHICH),
    st.builds(Tick, TIMES),
    st.builds(Follow, WORKERS, st.integers(1, 4)),
]
LOSING: list[st.SearchStrategy[Step]] = [
    st.builds(Trim, st.sampled_from([FULL, *(PREFIX + c for c in CHANNELS)]), st.integers(0, 4)),
    st.builds(Overtake, st.integers(1, 4)),
    st.builds(Flush),
]


def scripts(*more: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    short = st.lists(st.one_of(*PRODUCING, *more), max_size=3)
    step: st.SearchStrategy[Step] = st.one_of(
        *PRODUCING,
        *more,
        st.builds(Reconnect, st.integers(0, 2), WORKERS, st.integers(0, 3)),
        st.builds(Reconnect, st.integers(0, 2), WORKERS, st.integers(0, 3)),
        st.builds(Serve, WORKERS, st.lists(short, max_size=8)),
        st.builds(Serve, WORKERS, st.lists(short, max_size=8)),
        st.builds(Restart, WORKERS, st.integers(0, 8), HISTORY_BYTES),
    )
    return st.lists(step, min_size=10, max_size=100)


SCRIPTS = scripts()
LOSSY_SCRIPTS = scripts(*LOSING)

PATIENT = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES") or 100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True, params=["whole", "in parts"])
def _small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of entries makes several pages; and no bound, which is not meant here.

    In parts: each page of a channel's stream is sent before the next is read, and each event before
    the next event.
    """
    if request.param == "in parts":
        for module, name in (
            (archive, "PART_BYTES"),
            (sending, "PART_BYTES"),
            (sending, "SEND_CHUNK"),
        ):
            monkeypatch.setattr(module, name, 1)
    monkeypatch.setattr(archive, "PAGE", 3)
    monkeypatch.setattr(archive, "SEARCH_ENTRIES", 10**6)
    # Each gap counts here, and for each client.
    monkeypatch.setattr(waiting, "GAP_INTERVAL", 0.0)
    monkeypatch.setattr(catchup, "OLD_PLACE_MS", 10**12)


def end_of(script: Sequence[Step], history_bytes: int) -> World:
    """The world when the script is done and everybody has come back."""
    world = World(history_bytes=history_bytes).begin().run(script)
    world.settle()
    world.close()
    return world


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_every_event_arrives_once_and_in_the_order_of_the_global_stream(
    script: list[Step], history_bytes: int
) -> None:
    world = end_of(script, history_bytes)
    for client in world.clients:
        assert world.has_the_truth(client)


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_an_orphan_arrives_with_the_next_catch_up(script: list[Step], history_bytes: int) -> None:
    world = World(history_bytes=history_bytes).begin().run(script)
    world.tick(replay.TWIN_GRACE_MS)
    for client in world.clients:
        world.drop(client, 0)
    last_ids = [client.last_id for client in world.clients]
    world.settle(reconnects=1)
    world.close()
    for client, last_id in zip(world.clients, last_ids, strict=True):
        if last_id is None:
            continue
        due = {
            orphan.number
            for orphan in world.orphans
            if orphan.channel == client.channel
            and orphan.channel_id >= replay.look_back_from(Place(last_id))
        }
        assert due <= set(client.got)


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_an_orphan_is_repeated_at_most_once_per_reconnection(
    script: list[Step], history_bytes: int
) -> None:
    world = end_of(script, history_bytes)
    for client in world.clients:
        for numbers in client.per_connection:
            assert len(numbers) == len(set(numbers))


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_ids_never_go_back(script: list[Step], history_bytes: int) -> None:
    world = end_of(script, history_bytes)
    for client in world.clients:
        assert client.ids == sorted(client.ids)


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_ids_are_those_of_entries(script: list[Step], history_bytes: int) -> None:
    """A place of the server's own making would mean nothing to another worker."""
    world = end_of(script, history_bytes)
    places = {event.channel_id for event in world.events}
    places |= {event.global_id for event in world.events if event.global_id}
    for client in world.clients:
        assert set(client.ids) <= places


@PATIENT
@given(SCRIPTS, HISTORY_BYTES)
def test_no_gap_is_reported_where_nothing_was_lost(script: list[Step], history_bytes: int) -> None:
    world = end_of(script, history_bytes)
    assert [client.gaps for client in world.clients] == [0, 0, 0]


@PATIENT
@given(LOSSY_SCRIPTS, HISTORY_BYTES)
def test_nothing_is_lost_in_silence(script: list[Step], history_bytes: int) -> None:
    world = end_of(script, history_bytes)
    for client in world.clients:
        lost = set(world.due(client)) - set(client.got)
        assert client.gaps or not lost


@PATIENT
@given(LOSSY_SCRIPTS, HISTORY_BYTES)
def test_everything_still_available_is_sent(script: list[Step], history_bytes: int) -> None:
    world = end_of(script, history_bytes)
    for client in world.clients:
        streams = [world.redis.stream(FULL), world.redis.stream(PREFIX + client.channel)]
        left = {entry.data for stream in streams for entry in stream.entries}
        due = {event.number for event in world.events if event.data in left}
        assert due & set(world.due(client)) <= set(client.got)


# --- worlds that chance rarely finds -------------------------------------------------------------

ALL = 10**9


def told(*script: Step, history_bytes: int = ALL) -> World:
    """A world after a script, with client 0 as it is then."""
    world = World(history_bytes=history_bytes).begin().run(script)
    world.drop(world.clients[0], 0)
    return world


def test_an_orphan_that_was_in_flight_comes_without_another_reconnection() -> None:
    world = told(
        First("a"), Reconnect(0, 0, 0), Serve(0), Die(0), Tick(replay.TWIN_GRACE_MS), Serve(0)
    )
    assert world.clients[0].got == [0, 2]


def test_an_event_in_flight_comes_live_and_once() -> None:
    world = told(
        *(First("a"), Reconnect(0, 0, 0), Serve(0), Second(0), Follow(0, 9)),
        *(Tick(replay.TWIN_GRACE_MS), Serve(0)),
    )
    assert world.clients[0].got == [0, 2]


def test_a_slow_look_takes_no_event_for_an_orphan() -> None:
    """The clock counts from before the streams are read, not from after that."""
    slow = Serve(0, [[], [], [Tick(replay.TWIN_GRACE_MS)]])
    world = told(First("a"), Reconnect(0, 0, 0), slow, Follow(0, 9))
    assert world.clients[0].got == [0, 2]


def test_events_that_come_live_during_a_search_are_not_lost() -> None:
    """With a history that is short, and then with one that keeps nothing."""
    live = [Publish("a", True)]
    for history_bytes in (0, 500, ALL):
        world = told(
            *(Restart(0, 0, history_bytes), Tick(30_000), Publish("b", True)),
            *(Reconnect(0, 0, 0), Serve(0, [live] * 8)),
        )
        assert world.clients[0].got == world.truth(world.clients[0])


def test_a_place_that_redis_no_longer_knows_is_a_gap() -> None:
    """It was restored from a copy that is older than `last_id`."""
    world = World(history_bytes=ALL).begin().run([Publish("a"), Tick(5_000), Publish("a", True)])
    client = world.clients[0]
    for key in (FULL, PREFIX + "a"):
        del world.redis.stream(key).entries[-1]  # the copy has what came before
    world.run([Tick(5_000), Publish("a"), Restart(0, 8, ALL), Reconnect(0, 0, 0), Serve(0)])
    assert client.gaps == 1


def test_the_last_id_of_an_earlier_session_is_no_gap() -> None:
    """The browser has kept it; the channel is a new one."""
    world = World(history_bytes=ALL).begin()
    newcomer = world.clients[2]
    newcomer.ids.append(world.redis.stream(PREFIX + "a").entries[0].id)
    world.run([Publish("a", True), Reconnect(2, 0, 0), Serve(0)])
    assert newcomer.gaps == 0


def test_an_event_that_came_after_the_channels_stream_was_read_is_not_lost() -> None:
    """Without a history it is neither there nor among the channel's entries."""
    between_the_reads = Serve(0, [[], [], [Tick(30_000), Publish("a", True)]])
    world = told(Reconnect(0, 0, 0), between_the_reads, history_bytes=0)
    assert world.clients[0].got == [0, 2]


def test_what_was_trimmed_before_it_was_read_comes_in_order() -> None:
    """Also what is so young that its second half might still come."""
    unread: list[Step] = [Publish("a"), Tick(1)]
    script = [*unread * 3, Overtake(1), Follow(0, 9), Publish("a", True), Serve(0)]
    world = told(*script, Tick(replay.TWIN_GRACE_MS), Publish("a", True), Serve(0))
    assert world.clients[0].got == world.truth(world.clients[0])


def test_an_event_of_the_very_millisecond_of_the_first_look_is_not_lost() -> None:
    """It has that millisecond's first ID, and comes between the two reads; no history keeps it."""
    between_the_reads = Serve(1, [[], [], [Publish("a")]])
    world = told(Tick(2_500), Reconnect(0, 1, 0), between_the_reads, history_bytes=0)
    assert world.clients[0].got == [0, 2]


def test_an_emptied_global_stream_proves_nothing() -> None:
    """A new worker has read nothing of it, and `last_id` is also the ID of an entry that the client
    has not got, in its channel's stream."""
    world = World(history_bytes=0).begin()
    world.run([*[Publish("a", True)] * 5, Reconnect(0, 0, 0), Publish("a", True), Tick(2_000)])
    world.run([Trim(FULL, 0), Restart(0, 0, 0)])
    world.settle()
    world.close()
    assert set(world.due(world.clients[0])) <= set(world.clients[0].got)


def test_what_is_trimmed_before_it_is_found_in_flight_comes_before_what_is_newer() -> None:
    """A worker without a history can't tell the two; another one thinks that the client has it."""
    trimmed: Step = Serve(1, [[Publish("a", True), Trim(FULL, 0)]])
    world = World(history_bytes=2_000).begin().run([*[Publish("a", True)] * 6, Restart(1, 0, 0)])
    world.run([Reconnect(0, 1, 0), trimmed, Publish("a", True)])
    world.settle()
    world.close()
    overtaken, newer = world.truth(world.clients[0])[-2:]
    assert [n for n in world.clients[0].got if n in (overtaken, newer)] == [overtaken, newer]


def test_what_a_flush_takes_while_a_catch_up_reads_is_a_gap() -> None:
    """The stream reached back when that was asked, and has lost an event before that was read; no
    history keeps it."""
    world = World(history_bytes=0).begin().run([*[Publish("a", True)] * 7, Trim(PREFIX + "a", 0)])
    flushed: list[Step] = [Publish("a", True), Flush(), Publish("a", True)]
    world.run([Reconnect(0, 0, 0), Serve(0, [*[[]] * 5, flushed])])
    assert world.clients[0].gaps == 1
