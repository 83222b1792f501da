# SPDX-License-Identifier: Apache-2.0
"""Who waits for a catch-up: what is known of each until its turn, and what has been told lately."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.replay import Place, Whose
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection

# A gap is told once per channel in this time, in seconds: a browser sends one `last_id` at each
# load of a page, and all of a user's tabs share it.
GAP_INTERVAL = 3600.0
GAPS_REMEMBERED = 10_000  # channels


@dataclass(slots=True, eq=False)
class Request:
    """What connections of one channel need: several when they come for the first time.

    :ivar in_flight: for a second look: entries that were in flight at the first one. The connection
        is live, and nothing else is of interest.
    :ivar reached: the last ID that the clients have got, as far as that is known; never a place of
        this server's making, since they come back with it.
    :ivar had: what the clients got just before the place: the global stream may lose it meanwhile.
    :ivar has_waited: for the grace: no entry that was there when it came can be in flight any more.
    :ivar may_be_sent_away: False when it is this server's doing that they wait.
    :ivar sent: events so far.
    :ivar came_at: by `time.monotonic`; `waits_since` that it is in the queue.
    """

    connections: list[Connection]
    place: Place
    in_flight: Sequence[Entry] = ()
    reached: StreamId = ZERO
    had: Sequence[Entry] = ()
    has_waited: bool = False
    may_be_sent_away: bool = True
    sent: int = 0
    came_at: float = field(default_factory=time.monotonic)
    waits_since: float = field(default_factory=time.monotonic)

    @property
    def channel(self) -> str:
        """Of all its connections."""
        return self.connections[0].channel

    @property
    def is_second_look(self) -> bool:
        return bool(self.in_flight)

    @property
    def is_open(self) -> bool:
        """Whether anybody is still there."""
        return any(connection.state is State.OPEN for connection in self.connections)

    def __repr__(self) -> str:
        more = len(self.connections) - 1
        return f"{self.connections[0]!r}" + (f" and {more} more" if more else "")

    def close(self, code: int, reason: str) -> None:
        """Send the clients away; they come back with what they have got."""
        for connection in self.connections:
            connection.close(code, reason)

    def rest(
        self, connection: Connection, sent: Sequence[Entry], place: StreamId, events: int
    ) -> Request:
        """What is left for one of the connections, which must drain first.

        :param sent: the entries that it has been sent now.
        :param place: it has got everything up to here.
        :param events: how many of the entries were events that could be sent.
        """
        is_first = self.place.whose is Whose.FIRST
        beginning = Place(place, Whose.FIRST if is_first else Whose.GOING_ON)
        return Request(
            [connection],
            beginning,
            reached=sent[-1].id if sent else self.reached,
            had=() if is_first else self._had_from(replay.look_back_from(beginning), sent),
            has_waited=self.has_waited,
            sent=self.sent + events,
            came_at=self.came_at,
        )

    def _had_from(self, since: StreamId, sent: Sequence[Entry]) -> Sequence[Entry]:
        """What tells the orphans that are due from those that were sent; a first connection, which
        gets none, needs nothing of it."""
        lately = [entry.known_by_identity() for entry in sent if entry.id >= since]
        return [*lately, *(entry for entry in self.had if entry.id >= since)]


def second_look(connection: Connection, reached: StreamId, in_flight: Sequence[Entry]) -> Request:
    """For a connection that is live: are the entries that were in flight there by now?"""
    # Nothing from before the entries in flight is of interest.
    place = Place(in_flight[0].id.predecessor(), Whose.FIRST)
    return Request([connection], place, in_flight, reached=reached)


class Gaps:
    """Which gaps have been told lately."""

    def __init__(self) -> None:
        self._told_at: OrderedDict[str, float] = OrderedDict()

    def is_news(self, channel: str) -> bool:
        """Whether none of this channel was told lately; from now on one has been."""
        now = time.monotonic()
        told_at = self._told_at.get(channel)
        if told_at is not None and now - told_at < GAP_INTERVAL:
            return False
        self._told_at[channel] = now
        self._told_at.move_to_end(channel)
        if len(self._told_at) > GAPS_REMEMBERED:
            self._told_at.popitem(last=False)
        return True
