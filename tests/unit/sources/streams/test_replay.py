# SPDX-License-Identifier: Apache-2.0
"""What a client with a `last_id` has missed, by example. `test_reconnection_model` has the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from wsgi_ws.sources.stream_id import MAX_SEQUENCE, ZERO, StreamId
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.replay import (
    ORPHAN_LOOK_BACK_MS,
    TWIN_GRACE_MS,
    Knowledge,
    Place,
    Plan,
    Whose,
    is_from_the_future,
    look_back_from,
    plan,
    second_look,
    twin_windows,
    with_rising_ids,
    without_twin,
)

T = 1_700_000_000_000
NOW = T + 100_000


def at(ms: int, seq: int = 0) -> StreamId:
    return StreamId(T + ms, seq)


def entry(ms: int, job: str, seq: int = 0) -> Entry:
    data = json.dumps({"channel_id": "c", "job_id": job, "status": "done"})
    return Entry(at(ms, seq), "c", data.encode())


def jobs(entries: Sequence[Entry]) -> list[str]:
    return [json.loads(e.data)["job_id"] for e in entries]


def planned(
    last_id: StreamId,
    channel: Sequence[Entry],
    full: Sequence[Entry],
    *,
    continuous: bool = True,
    now_ms: int = NOW,
) -> Plan:
    return plan(Place(last_id), channel, Knowledge(full, continuous), now_ms)


# --- ordinary events -----------------------------------------------------------------------------


def test_what_comes_after_last_id_in_the_global_stream_is_missed() -> None:
    channel = [entry(1, "a"), entry(2, "b"), entry(3, "c")]
    assert jobs(planned(at(1), channel, channel).missed) == ["b", "c"]


def test_events_come_in_the_order_of_the_global_stream() -> None:
    channel = [entry(1, "x"), entry(2, "a"), entry(3, "b")]
    full = [entry(1, "x", 5), entry(3, "b", 7), entry(4, "a")]
    assert jobs(planned(at(1, 5), channel, full).missed) == ["b", "a"]


def test_events_are_sent_with_the_ids_of_the_global_stream() -> None:
    channel, full = [entry(1, "x"), entry(2, "a")], [entry(1, "x"), entry(5, "a", 3)]
    assert [e.id for e in planned(at(1), channel, full).missed] == [at(5, 3)]


def test_an_event_whose_first_half_is_older_than_last_id_is_missed_too() -> None:
    channel = [entry(1, "late"), entry(2, "got")]
    full = [entry(2, "got"), entry(3, "late")]
    assert jobs(planned(at(2), channel, full).missed) == ["late"]


def test_many_events_of_one_millisecond_are_told_apart() -> None:
    channel = [entry(1, str(n), n) for n in range(6)]
    full = [entry(1, str(n), 5 - n) for n in range(5, -1, -1)]
    assert jobs(planned(at(1, 2), channel, full).missed) == ["2", "1", "0"]


def test_equal_ids_in_both_streams_may_mean_different_events() -> None:
    channel = [entry(1, "a"), entry(1, "b", 1)]
    full = [entry(1, "b"), entry(1, "a", 1)]
    assert jobs(planned(at(1), channel, full).missed) == ["a"]


# --- orphans and events in flight ----------------------------------------------------------------


def test_a_young_entry_without_a_twin_is_in_flight() -> None:
    channel = [entry(0, "got"), entry(99_000, "young")]
    result = planned(at(0), channel, channel[:1])
    assert (jobs(result.missed), jobs(result.in_flight)) == ([], ["young"])


@pytest.mark.parametrize(("age", "kind"), [(TWIN_GRACE_MS - 1, 1), (TWIN_GRACE_MS, 0)])
def test_an_entry_is_an_orphan_when_the_grace_is_over(age: int, kind: int) -> None:
    channel = [entry(0, "got"), entry(100_000 - age, "half")]
    result = planned(at(0), channel, channel[:1])
    assert [jobs(result.missed), jobs(result.in_flight)][kind] == ["half"]


def test_an_orphan_is_placed_by_its_own_id() -> None:
    channel = [entry(0, "got"), entry(1, "a"), entry(2, "orphan"), entry(3, "b")]
    full = [channel[0], channel[1], channel[3]]
    result = planned(at(0), channel, full)
    assert [(e.id, job) for e, job in zip(result.missed, jobs(result.missed), strict=True)] == [
        (at(1), "a"),
        (at(2), "orphan"),
        (at(3), "b"),
    ]


def test_an_orphan_before_last_id_is_sent_at_the_place_of_last_id() -> None:
    channel = [entry(0, "orphan"), entry(1, "got")]
    (sent,) = planned(at(1, 4), channel, [entry(1, "got", 4)]).missed
    assert (sent.id, sent.data) == (at(1, 4), channel[0].data)


def test_an_orphans_id_proves_that_the_orphans_up_to_it_were_received() -> None:
    channel = [entry(0, "orphan 1"), entry(1, "orphan 2"), entry(2, "orphan 3")]
    assert jobs(planned(at(1), channel, []).missed) == ["orphan 3"]


def test_an_id_that_also_is_a_global_one_proves_nothing() -> None:
    channel = [entry(0, "got"), entry(1, "orphan")]
    assert jobs(planned(at(1), channel, [entry(1, "got")]).missed) == ["orphan"]


def test_where_the_global_stream_is_not_known_an_orphans_id_proves_nothing() -> None:
    channel = [entry(1, "orphan or not")]
    assert jobs(planned(at(1), channel, [], continuous=False).missed) == ["orphan or not"]


def test_orphans_are_looked_for_within_a_bounded_time_before_last_id() -> None:
    assert look_back_from(Place(at(0, 7))) == StreamId(T - ORPHAN_LOOK_BACK_MS, 0)


def test_looking_back_ends_at_zero() -> None:
    assert look_back_from(Place(StreamId(5, 1))) == ZERO


# --- the second look -----------------------------------------------------------------------------


def looked(in_flight: Sequence[Entry], full: Sequence[Entry], *, now_ms: int = NOW) -> Plan:
    return second_look(in_flight, in_flight, Knowledge(full, continuous=True), now_ms)


def test_what_has_come_live_since_is_not_sent_again() -> None:
    assert looked([entry(1, "a")], [entry(2, "a")]).missed == []


def test_what_has_not_come_is_sent() -> None:
    assert jobs(looked([entry(1, "orphan"), entry(2, "a")], [entry(3, "a")]).missed) == ["orphan"]


def test_what_is_older_than_what_the_client_has_is_sent_with_the_id_of_that() -> None:
    rising = with_rising_ids([entry(1, "orphan"), entry(10, "another")], at(9, 2))
    assert [one.id for one in rising] == [at(9, 2), at(10)]


def test_what_is_still_young_is_looked_at_again() -> None:
    result = looked([entry(99_000, "young")], [])
    assert (jobs(result.missed), jobs(result.in_flight)) == ([], ["young"])


def test_an_orphan_that_the_channel_has_lost_since_is_still_sent() -> None:
    known = Knowledge([], continuous=True)
    assert jobs(second_look([entry(1, "orphan")], [], known, NOW).missed) == ["orphan"]


def test_orphans_of_the_first_look_are_not_sent_again() -> None:
    channel = [entry(1, "sent at the first look"), entry(2, "in flight")]
    known = Knowledge([], continuous=True)
    assert jobs(second_look(channel[1:], channel, known, NOW).missed) == ["in flight"]


# --- events that are alike -----------------------------------------------------------------------


def test_alike_events_are_matched_one_to_one() -> None:
    channel = [entry(1, "same"), entry(2, "same"), entry(3, "same")]
    assert len(without_twin(channel, [entry(1, "same"), entry(3, "same")])) == 1


def test_a_second_half_is_never_older_than_the_first() -> None:
    channel = [entry(1, "same"), entry(5, "same")]
    assert without_twin(channel, [entry(2, "same")]) == [channel[1]]


def test_members_that_superset_does_not_know_make_no_difference() -> None:
    one, other = (
        Entry(at(1), "c", json.dumps({"channel_id": "c", "job_id": "j", "sent_at": n}).encode())
        for n in (1, 2)
    )
    assert without_twin([one], [other]) == []


# --- gaps ----------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_global_stream_is_known_from_last_id_on() -> None:
    channel = [entry(1, "got"), entry(2, "a")]
    assert not planned(at(1), channel, channel).gap


def test_nothing_is_lost_when_the_channels_stream_reaches_back_beyond_all_that_is_missed() -> None:
    channel = [entry(0, "older"), entry(TWIN_GRACE_MS + 1, "a")]
    assert not planned(at(TWIN_GRACE_MS + 1), channel, [], continuous=False).gap


def test_the_channels_stream_must_reach_back_by_the_grace() -> None:
    """Or the first half of an event may be gone whose second half came after `last_id`."""
    channel = [entry(1, "older"), entry(TWIN_GRACE_MS + 1, "a")]
    assert planned(at(TWIN_GRACE_MS + 1), channel, [], continuous=False).gap


def test_a_gap_when_neither_stream_reaches_back_to_last_id() -> None:
    channel = [entry(5, "a")]
    assert planned(at(1), channel, [], continuous=False).gap


def test_everything_left_is_sent_over_a_gap() -> None:
    channel = [entry(5, "a"), entry(6, "b")]
    assert jobs(planned(at(1), channel, [entry(7, "b")], continuous=False).missed) == ["a", "b"]


def test_a_gap_when_the_channels_stream_was_trimmed_past_last_id() -> None:
    """The global stream has the events, but orphans among them would be gone."""
    full = [entry(1, "got"), entry(2, "a"), entry(3, "b")]
    assert planned(at(1), full[2:], full).gap


def test_no_gap_for_an_event_that_came_after_the_channels_stream_was_read() -> None:
    channel = [entry(1, "got")]
    assert not planned(at(1), channel, [*channel, entry(100_000, "new")]).gap


def test_no_gap_for_a_last_id_of_another_channel() -> None:
    """The browser keeps it over a new session, whose channel may have no events yet."""
    assert not planned(at(1), [], []).gap


def test_a_gap_when_last_id_is_not_where_it_must_be() -> None:
    """Redis was restored from a copy that is older."""
    full = [entry(1, "older"), entry(9, "newer")]
    known = Knowledge(full, continuous=True, last_id_exists=False)
    assert plan(Place(at(5)), full, known, NOW).gap


@pytest.mark.parametrize(
    ("last_id", "newest", "future"),
    [(at(6), at(5), True), (at(5), at(5), False), (at(4), at(5), False), (at(1), ZERO, True)],
)
def test_an_id_newer_than_everything_is_from_the_future(
    last_id: StreamId, newest: StreamId, future: bool
) -> None:
    assert is_from_the_future(last_id, newest, []) == future


def test_an_orphans_id_is_not_from_the_future() -> None:
    assert not is_from_the_future(at(6), at(5), [entry(6, "orphan")])


# --- where twins are looked for ------------------------------------------------------------------


def test_a_twin_is_looked_for_from_the_firsts_millisecond_on() -> None:
    """Not from its ID on: the sequence numbers of the two streams can't be compared."""
    assert twin_windows([entry(1, "a", 9)], 20) == [(at(1, 0), at(21, MAX_SEQUENCE))]


def test_windows_that_overlap_are_one() -> None:
    windows = twin_windows([entry(1, "a"), entry(15, "b"), entry(90, "c")], 20)
    assert windows == [(at(1), at(35, MAX_SEQUENCE)), (at(90), at(110, MAX_SEQUENCE))]


# --- places that this server has named -----------------------------------------------------------

OURS = pytest.mark.parametrize("whose", [Whose.FIRST, Whose.GOING_ON])


@OURS
def test_what_comes_after_a_place_of_ours_is_missed(whose: Whose) -> None:
    full = [entry(1, "got"), entry(3, "missed")]
    missed = plan(Place(at(2), whose), full, Knowledge(full, True), NOW).missed
    assert jobs(missed) == ["missed"]


@OURS
def test_a_place_of_ours_makes_no_gap(whose: Whose) -> None:
    known = Knowledge((), continuous=False, last_id_exists=False)
    assert not plan(Place(at(2), whose), (), known, NOW).gap


def test_a_first_connection_gets_no_orphans() -> None:
    """One that came back with an orphan's ID would seem to have got all that are older."""
    channel = [entry(3, "orphan"), entry(99_999, "in flight")]
    first = plan(Place(at(2), Whose.FIRST), channel, Knowledge((), True), NOW)
    assert (first.missed, first.in_flight) == ([], [])


def test_what_was_sent_before_a_place_is_not_sent_again_when_the_stream_has_lost_it() -> None:
    sent, lost = entry(1, "sent"), entry(1, "overtaken, and trimmed since", 1)
    known = Knowledge((), True).beside([sent.known_by_identity()])
    place = Place(at(2), Whose.GOING_ON)
    assert jobs(plan(place, [sent, lost], known, NOW).missed) == ["overtaken, and trimmed since"]


def test_what_is_known_twice_counts_once() -> None:
    """Or one of two events that are alike would be taken for the other's twin."""
    alike = [entry(1, "a"), entry(2, "a")]
    known = Knowledge(alike[:1], True).beside([alike[0].known_by_identity()])
    assert len(plan(Place(at(0)), alike, known, NOW).missed) == 2


@OURS
def test_the_channels_stream_is_read_from_before_a_place_of_ours_by_the_grace(whose: Whose) -> None:
    assert look_back_from(Place(at(0, 7), whose)) == StreamId(T - TWIN_GRACE_MS, 0)


# --- a part of the channel's stream --------------------------------------------------------------


def test_a_part_is_planned_up_to_its_end() -> None:
    channel = [entry(1, "a"), entry(2, "b")]
    full = [*channel, entry(3, "c")]
    plan_of_part = plan(Place(at(0)), channel, Knowledge(full, True), NOW, end=at(2))
    assert jobs(plan_of_part.missed) == ["a", "b"]


def test_what_is_behind_a_part_is_not_taken_for_trimmed() -> None:
    channel = [entry(0, "got"), entry(1, "a")]
    full = [*channel, entry(3, "c")]
    assert not plan(Place(at(0)), channel, Knowledge(full, True), NOW, end=at(2)).gap
