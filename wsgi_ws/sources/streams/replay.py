# SPDX-License-Identifier: Apache-2.0
"""Reconnection: which events a client has missed, in which order, with which IDs. Pure.

docs/reconnection.md has the argument why this is exact and under which assumption; in short:

- `last_id` is a place in the *global* stream: the client has every event of its channel up to it.
  So it misses the global entries after it, in their order.
- An entry of the channel's own stream is matched to its twin in the global stream by its content.
  One without a twin is either *in flight* (the producer is between its two XADDs: younger than
  `TWIN_GRACE_MS`; the live stream will bring it) or an *orphan* (the producer died in between), and
  then the catch-up is the only one who can deliver it.
- An orphan is placed by its own ID. IDs sent never go back, so each is a good `last_id` next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from operator import attrgetter
from typing import NamedTuple

from wsgi_ws.sources.stream_id import MAX_SEQUENCE, ZERO, StreamId
from wsgi_ws.sources.streams.entry import Entry

# The assumption: a producer that does its second XADD at all does it this soon after the first.
# They are two commands in a row, a millisecond apart; two seconds leave room for a stalled process.
TWIN_GRACE_MS = 2_000

# How long before `last_id` an orphan is still looked for. Whether a client got it in an earlier
# catch-up can't be seen from its `last_id`, so it may be repeated, but not for longer than this.
ORPHAN_LOOK_BACK_MS = 60_000

Window = tuple[StreamId, StreamId]  # a part of a stream, both ends included


class Whose(Enum):
    """Who has named a place, and so what it says."""

    BROWSER = "last_id of a browser: perhaps of another session, or of another Redis"
    FIRST = "for a browser that has none: so far back that what it waits for is behind it"
    GOING_ON = "the client has got everything up to here on this very connection"


class Place(NamedTuple):
    """A place in the global stream from which on a client gets its events."""

    id: StreamId
    whose: Whose = Whose.BROWSER

    @property
    def is_ours(self) -> bool:
        """Whether this server has named it: then it need not be an entry's ID."""
        return self.whose is not Whose.BROWSER


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one client.

    :ivar missed: to be sent now, in this order, with these IDs.
    :ivar in_flight: entries of the channel's stream to look at again after `TWIN_GRACE_MS`. All of
        them are younger than that, so that `look_back_from` any later place does not pass them by.
    :ivar gap: events that the client has not got may be lost for good.
    """

    missed: Sequence[Entry]
    in_flight: Sequence[Entry]
    gap: bool


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the global stream for one channel.

    :ivar entries: the channel's entries, ascending: what Redis and memory have of those after
        `last_id`, and of the twins of the channel's stream from `look_back_from(last_id)` on.
    :ivar continuous: the stream has not been trimmed past `last_id`, and none of the entries after
        it is missing here.
    :ivar last_id_exists: there is an entry with the ID `last_id` in the streams as they are now.
    """

    entries: Sequence[Entry]
    continuous: bool
    last_id_exists: bool = True

    def beside(self, entries: Sequence[Entry]) -> Knowledge:
        """With more entries of the global stream, from memory."""
        if not entries:
            return self
        # An orphan was sent with the ID of another entry, and the stream may still have the others.
        both = {(entry.id, entry.identity): entry for entry in (*entries, *self.entries)}
        return replace(self, entries=in_order(both.values()))


def look_back_from(place: Place) -> StreamId:
    """Where to start reading the channel's stream for a client that has got what is before `place`.

    What comes after a place has its first half after this.
    """
    return place.id.earlier(TWIN_GRACE_MS if place.is_ours else ORPHAN_LOOK_BACK_MS)


def is_from_the_future(
    last_id: StreamId, newest_global: StreamId, channel_entries: Sequence[Entry]
) -> bool:
    """Whether `last_id` can't come from the streams as they are now: Redis was flushed or restored.

    The client's place then means nothing and everything still available is due.
    """
    newest_of_channel = channel_entries[-1].id if channel_entries else ZERO
    return last_id > max(newest_global, newest_of_channel)


def plan(
    place: Place,
    channel_entries: Sequence[Entry],
    known: Knowledge,
    now_ms: int,
    end: StreamId | None = None,
    reached: StreamId | None = None,
) -> Plan:
    """What a client has missed that comes back with this place.

    :param channel_entries: the channel's stream from `look_back_from(place)` on, ascending.
    :param now_ms: Redis's clock, read *before* `channel_entries` and before the end of what is
        known of the global stream.
    :param end: when the channel's stream has not been read to its end: the plan is for what is up
        to here, the end of a millisecond; `channel_entries` has all of that.
    :param reached: the last ID that the client has, if it isn't the place itself.
    """
    last_id = place.id
    alone, trimmed = _matched(channel_entries, known.entries)
    proven = known.continuous and _is_orphan_id(last_id, alone, known.entries)
    # A first connection gets none: with the ID of one it would seem to have got all that are older.
    is_first = place.whose is Whose.FIRST
    orphans, in_flight = _by_age([] if is_first else alone, now_ms)
    missed = [entry for entry in known.entries if entry.id > last_id]
    missed += [entry for entry in orphans if not (proven and entry.id <= last_id)]
    # The twin of a global entry is gone from the channel's stream, and orphans may be gone with it.
    # (It may also have been written after that stream was read, but then it is younger.)
    read_to = end or StreamId(now_ms, 0)
    orphans_lost = any(last_id <= entry.id < read_to for entry in trimmed)
    # Whatever comes after last_id has its first half after this.
    reaches_back = any(entry.id.ms < last_id.ms - TWIN_GRACE_MS for entry in channel_entries)
    # Redis was restored from a copy that is older than last_id.
    restored = known.continuous and not known.last_id_exists
    lost = orphans_lost or restored or not (known.continuous or reaches_back)
    # Stable: at equal IDs the global entry goes first.
    missed = in_order(entry for entry in missed if end is None or entry.id <= end)
    missed = with_rising_ids(missed, last_id if reached is None else reached)
    return Plan(missed, in_flight, gap=lost and not place.is_ours)


def second_look(
    in_flight: Sequence[Entry],
    channel_entries: Sequence[Entry],
    known: Knowledge,
    now_ms: int,
) -> Plan:
    """What of the entries in flight at the first look has turned out to be an orphan.

    The client is live since the first look: it has all of `known`. Parameters as for `plan`.

    :returns: `missed` with the IDs of the channel's stream: `with_rising_ids` gives those to send.
    """
    there = {entry.id: entry for entry in [*in_flight, *channel_entries]}
    alone, _ = _matched(in_order(there.values()), known.entries)
    looked_for = {entry.id for entry in in_flight}
    orphans, still = _by_age([e for e in alone if e.id in looked_for], now_ms)
    return Plan(orphans, still, gap=False)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The entries ascending."""
    return sorted(entries, key=attrgetter("id"))


def without_twin(
    channel_entries: Sequence[Entry], global_entries: Sequence[Entry]
) -> Sequence[Entry]:
    """The channel's entries whose twin is not among the global ones, ascending."""
    return _matched(channel_entries, global_entries)[0]


def twin_windows(entries: Iterable[Entry], reach_ms: int) -> list[Window]:
    """Where in the global stream to look for the twins of `entries`.

    :param entries: of the channel's stream, ascending.
    :param reach_ms: how long after the first half the second one is looked for.
    """
    windows: list[Window] = []
    for entry in entries:
        start = StreamId(entry.id.ms, 0)  # the sequence numbers of two streams can't be compared
        end = StreamId(entry.id.ms + reach_ms, MAX_SEQUENCE)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


# --- helpers -------------------------------------------------------------------------------------


def _matched(
    channel_entries: Sequence[Entry], global_entries: Sequence[Entry]
) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Those of either stream that have no twin in the other, ascending.

    Events may be alike (`Entry.identity`), so they are matched one to one, the newest first. The
    second half never comes before the first: that tells most of the alike ones apart.
    """
    twins: defaultdict[bytes, list[Entry]] = defaultdict(list)
    known: dict[bytes, bytes] = {}  # both halves are nearly always equal to the byte
    for entry in global_entries:
        twins[entry.identity_among(known)].append(entry)
    left = []
    for entry in reversed(channel_entries):
        candidates = twins.get(entry.identity_among(known))
        if candidates and candidates[-1].id.ms >= entry.id.ms:
            candidates.pop()
        else:
            left.append(entry)
    left.reverse()
    return left, in_order(entry for candidates in twins.values() for entry in candidates)


def _by_age(alone: Iterable[Entry], now_ms: int) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Entries without a twin as orphans and, when the twin may still come, as in flight."""
    orphans: list[Entry] = []
    in_flight: list[Entry] = []
    for entry in alone:
        young = now_ms - entry.id.ms < TWIN_GRACE_MS
        (in_flight if young else orphans).append(entry)
    return orphans, in_flight


def _is_orphan_id(
    last_id: StreamId, alone: Sequence[Entry], global_entries: Sequence[Entry]
) -> bool:
    """Whether `last_id` is an orphan's, and so proves that the orphans up to it were received."""
    return any(entry.id == last_id for entry in alone) and not any(
        entry.id == last_id for entry in global_entries
    )


def with_rising_ids(entries: Iterable[Entry], start: StreamId) -> list[Entry]:
    """An orphan older than what the client has gets the ID of the place where it is sent."""
    rising = []
    for entry in entries:
        start = max(start, entry.id)
        rising.append(entry.at(start))
    return rising
