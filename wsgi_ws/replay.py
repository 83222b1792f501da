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

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wsgi_ws.events import identity
from wsgi_ws.stream_id import ZERO, StreamId

# The assumption: a producer that does its second XADD at all does it this soon after the first.
# They are two commands in a row, a millisecond apart; two seconds leave room for a stalled process.
TWIN_GRACE_MS = 2_000

# How long before `last_id` an orphan is still looked for. Whether a client got it in an earlier
# catch-up can't be seen from its `last_id`, so it may be repeated, but not for longer than this.
ORPHAN_LOOK_BACK_MS = 60_000


class Entry(NamedTuple):
    """An entry of either stream."""

    id: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one client.

    :ivar missed: to be sent now, in this order, with these IDs.
    :ivar in_flight: entries of the channel's stream to look at again after `TWIN_GRACE_MS`.
    :ivar gap: events between `last_id` and the first one available may be lost for good.
    """

    missed: Sequence[Entry]
    in_flight: Sequence[Entry]
    gap: bool


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the global stream for one channel.

    :ivar entries: the channel's entries, ascending.
    :ivar known_from: from here up to `last_id` nothing is missing in `entries`.
    :ivar continuous: nothing is missing from `last_id` up to now either.
    """

    entries: Sequence[Entry]
    known_from: StreamId
    continuous: bool


def look_back_from(last_id: StreamId) -> StreamId:
    """Where to start reading the channel's stream for a client with this `last_id`."""
    return StreamId(max(0, last_id.ms - ORPHAN_LOOK_BACK_MS), 0)


def is_from_the_future(
    last_id: StreamId, newest_global: StreamId, channel_entries: Sequence[Entry]
) -> bool:
    """Whether `last_id` can't come from the streams as they are now: Redis was flushed or restored.

    The client's place then means nothing and everything still available is due.
    """
    newest_of_channel = channel_entries[-1].id if channel_entries else ZERO
    return last_id > max(newest_global, newest_of_channel)


def plan(
    last_id: StreamId, channel_entries: Sequence[Entry], known: Knowledge, now_ms: int
) -> Plan:
    """What a client with this `last_id` has missed.

    :param last_id: `ZERO` when everything available is due.
    :param channel_entries: the channel's stream from `look_back_from(last_id)` on, ascending, read
        *before* the end of what is known of the global stream.
    :param now_ms: Redis's clock at that moment, milliseconds since the epoch.
    """
    unmatched = without_twin(channel_entries, known.entries)
    horizon = _horizon_ms(last_id, known)
    proven = _is_orphan_id(last_id, unmatched, known.entries)
    missed = [entry for entry in known.entries if entry.id > last_id]
    in_flight = []
    for entry in unmatched:
        if entry.id.ms < horizon or (proven and entry.id <= last_id):
            continue
        if now_ms - entry.id.ms < TWIN_GRACE_MS:
            in_flight.append(entry)
        else:
            missed.append(entry)
    missed.sort(key=lambda entry: entry.id)  # stable: at equal IDs the global entry goes first
    covered = known.continuous or any(entry.id <= last_id for entry in channel_entries)
    return Plan(_with_rising_ids(missed, last_id), in_flight, gap=not covered)


def without_twin(channel_entries: Iterable[Entry], global_entries: Iterable[Entry]) -> list[Entry]:
    """The channel's entries whose data is not among the global ones, ascending.

    Events may be alike (`events.identity`); they are matched one to one, the newest first, so that
    what is left over is the oldest, whose twin may have been forgotten.
    """
    twins = Counter(identity(entry.data) for entry in global_entries)
    left = []
    for entry in reversed(list(channel_entries)):
        key = identity(entry.data)
        if twins[key]:
            twins[key] -= 1
        else:
            left.append(entry)
    left.reverse()
    return left


def _horizon_ms(last_id: StreamId, known: Knowledge) -> int:
    """The oldest moment at which an entry without a twin counts as possibly not received.

    Where the global stream is not known no twin can be found; there only what a producer may have
    written just before `last_id` is in doubt.
    """
    wanted = max(last_id.ms - ORPHAN_LOOK_BACK_MS, known.known_from.ms)
    return min(wanted, last_id.ms - TWIN_GRACE_MS)


def _is_orphan_id(
    last_id: StreamId, unmatched: Sequence[Entry], global_entries: Sequence[Entry]
) -> bool:
    """Whether `last_id` is an orphan's, and so proves that the orphans up to it were received."""
    return any(entry.id == last_id for entry in unmatched) and not any(
        entry.id == last_id for entry in global_entries
    )


def _with_rising_ids(entries: Iterable[Entry], start: StreamId) -> list[Entry]:
    """An orphan older than what the client has gets the ID of the place where it is sent."""
    rising = []
    for entry in entries:
        start = max(start, entry.id)
        rising.append(Entry(start, entry.data))
    return rising
