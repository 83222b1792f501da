# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: what reconnecting clients have missed, fetched for many at once, then sent and joined
to the live stream without a seam.

One greenlet per worker serves a queue on a Redis connection of its own, never the one that blocks
in XREAD. `replay` decides what is missed; this is the I/O around it. The last step of each catch-up
(look into the history, send, subscribe) runs without a switch to another greenlet, so no event can
fall between the past and the live stream.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.queue import SimpleQueue

from wsgi_ws.event import MalformedEntry
from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.metrics import Metrics
from wsgi_ws.sources.redis_client import StreamClient, clock_ms
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.entry import Entry, RawEntry
from wsgi_ws.sources.streams.follower import PAGE
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge
from wsgi_ws.sources.streams.stream_id import MAX_SEQUENCE, ZERO, StreamId
from wsgi_ws.superset.stream_names import channel_stream, global_stream
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode

log = logging.getLogger(__name__)

BATCH = 128  # clients per round trip: 10 missed events each make a reply of half a megabyte
PATIENCE = 15.0  # seconds that a client waits while Redis fails, before it is sent away
RETRY_DELAY = 0.25  # seconds
# How much of the global stream is searched for what neither the history nor the channel's stream
# has any more: pages. A client may ask for it with any last_id it likes.
SEARCH_PAGES = 10
# How far the second half of an event is looked for behind the first. Nearly all come at once, and
# what is read at each step grows with the whole stream's rate.
REACHES_MS = (20, 200, replay.TWIN_GRACE_MS)
PLACES = 32  # of the global stream, read in one round trip
SEND_CHUNK = 65536  # bytes handed to a socket at once
_END = StreamId(MAX_SEQUENCE, MAX_SEQUENCE)


@dataclass(slots=True)
class Request:
    """A client that waits for its catch-up.

    :ivar recheck: set for a second look: entries that were in flight at the first one.
    """

    connection: Connection
    last_id: StreamId
    recheck: Sequence[Entry] = ()
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one round trip has read, for all of its clients.

    :ivar now_ms: Redis's clock before that.
    :ivar newest: the global stream's newest ID, read last.
    :ivar places: whether the global stream has an entry with an ID, as far as somebody has asked.
    """

    now_ms: int
    channels: Sequence[Sequence[Entry]]
    newest: StreamId
    places: dict[StreamId, bool] = field(default_factory=dict)


class CatchUp:
    """The queue of reconnecting clients of one worker, and the greenlet that serves it."""

    def __init__(
        self,
        client: StreamClient,
        prefix: str,
        *,
        hub: Hub,
        history: History,
        metrics: Metrics,
        max_backlog_bytes: int,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._full = global_stream(prefix)
        self._hub = hub
        self._history = history
        self._metrics = metrics
        self._max_backlog_bytes = max_backlog_bytes
        self._chunk_bytes = min(SEND_CHUNK, max_backlog_bytes or SEND_CHUNK)
        self._queue: SimpleQueue[Request] = SimpleQueue()
        self._progress = Event()

    def enqueue(self, connection: Connection, last_id: StreamId) -> None:
        """Let a new connection catch up; it is subscribed to live events at the end of it."""
        self._queue.put(Request(connection, last_id))

    def on_progress(self) -> None:
        """The follower has handed out more of the global stream."""
        self._progress.set()

    def run(self) -> None:
        """Serve the queue until killed."""
        while True:
            batch = [self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            self._serve([r for r in batch if r.connection.state is State.OPEN])

    def _serve(self, requests: Iterable[Request]) -> None:
        waiting = deque(requests)
        while waiting:
            try:
                snapshot = self._read(waiting)
                self._await_follower(snapshot.newest)
                for entries in snapshot.channels:
                    self._finish(waiting[0], entries, snapshot)
                    waiting.popleft()
                    give_way()
            except (redis.RedisError, OSError) as error:
                waiting = self._still_patient(waiting, error)
                gevent.sleep(RETRY_DELAY)

    # --- reading Redis ---------------------------------------------------------------------------

    def _read(self, requests: Iterable[Request]) -> Snapshot:
        """First the clock, last the global stream's end: see `replay.plan`."""
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("TIME")
        for request in requests:
            start = bytes(replay.look_back_from(request.last_id))
            pipe.execute_command("XRANGE", self._key(request.connection), start, "+", "COUNT", PAGE)
        pipe.execute_command("XREVRANGE", self._full, "+", "-", "COUNT", 1)
        time_reply, *pages, newest = pipe.execute()
        channels = [
            self._whole_stream(request, page) for request, page in zip(requests, pages, strict=True)
        ]
        newest_id = StreamId.parse(newest[0][0]) if newest else ZERO
        return Snapshot(clock_ms(time_reply), channels, newest_id)

    def _whole_stream(self, request: Request, page: list[Any]) -> list[Entry]:
        channel = request.connection.channel
        entries = self._entries_of(page, channel)
        if len(page) == PAGE:
            rest = StreamId.parse(page[-1][0]).successor()
            entries += self._range(self._key(request.connection), channel, rest, _END)
        return entries

    def _knowledge(
        self, request: Request, channel_entries: Sequence[Entry], snapshot: Snapshot
    ) -> Knowledge:
        """What is known for this client. The last step of this is a look into the history."""
        last_id, channel = request.last_id, request.connection.channel
        before = replay.look_back_from(last_id).predecessor()
        remembered = self._remembered(channel, before)
        is_a_place = any(e.id == last_id for e in channel_entries) or any(
            e.id == last_id for e in remembered
        )
        if not is_a_place:  # of this channel's
            is_a_place = self._is_in_stream(last_id, snapshot)
            remembered = self._remembered(channel, before)
        floor = self._history.floor
        if last_id > floor and not self._alone(channel_entries, remembered, floor):
            return Knowledge(remembered, True, is_a_place)
        return self._search(request, channel_entries, snapshot.now_ms, remembered, is_a_place)

    def _is_in_stream(self, last_id: StreamId, snapshot: Snapshot) -> bool:
        if last_id not in snapshot.places:
            snapshot.places[last_id] = bool(self._page(last_id, last_id, 1))
        return snapshot.places[last_id]

    def _search(
        self,
        request: Request,
        channel_entries: Sequence[Entry],
        now_ms: int,
        remembered: Sequence[Entry],
        is_a_place: bool,
    ) -> Knowledge:
        """Knowledge that needs more than the history: Redis is asked for the rest.

        Of the global stream this reads only the places where this channel's entries must be, and
        what is newer than `channel_entries` if the history has forgotten that, too.
        """
        last_id, channel = request.last_id, request.connection.channel
        floor = self._history.floor
        read_to = min(self._history.position, StreamId(now_ms, 0))
        found = {entry.id: entry for entry in remembered}
        continuous = True
        if last_id <= floor:
            lost, continuous = self._beyond_the_channel(request, channel_entries, floor)
            found.update((entry.id, entry) for entry in lost)
        alone = self._alone(channel_entries, replay.in_order(found.values()), floor)
        for reach_ms in REACHES_MS:
            part = replay.in_order(
                self._places(channel, replay.twin_windows(alone, reach_ms), floor)
            )
            found.update((entry.id, entry) for entry in part)
            alone = replay.without_twin(alone, part)
        while read_to < self._history.floor:  # which goes on during the search
            start, read_to = read_to, self._history.floor
            newer = self._range(self._full, channel, start, read_to)
            found.update((entry.id, entry) for entry in newer)
        found.update((entry.id, entry) for entry in self._remembered(channel, read_to))
        return Knowledge(replay.in_order(found.values()), continuous, is_a_place)

    def _alone(
        self, channel_entries: Sequence[Entry], known: Sequence[Entry], floor: StreamId
    ) -> Sequence[Entry]:
        """The channel's entries whose twin may be one that the history has forgotten."""
        if not channel_entries or channel_entries[0].id.ms > floor.ms:
            return ()
        return [e for e in replay.without_twin(channel_entries, known) if e.id.ms <= floor.ms]

    def _beyond_the_channel(
        self, request: Request, channel_entries: Sequence[Entry], floor: StreamId
    ) -> tuple[list[Entry], bool]:
        """The global entries from `last_id` on whose twin may be gone from the channel's stream.

        Also tells whether nothing after `last_id` is missing. The search has a bound and begins
        with the newest.
        """
        last_id, channel = request.last_id, request.connection.channel
        end = floor
        if channel_entries:
            end = min(end, replay.twin_windows(channel_entries[:1], replay.TWIN_GRACE_MS)[0][1])
        end = max(end, last_id)
        count = PAGE if end > last_id else 1
        entries: list[Entry] = []
        for _ in range(SEARCH_PAGES):
            page = self._page(end, ZERO, count)
            entries += [e for e in self._entries_of(page, channel) if e.id >= last_id]
            if len(page) < count or StreamId.parse(page[-1][0]) <= last_id:
                break
            end = StreamId.parse(page[-1][0])
        # Something at or before last_id is still there: the stream has not been trimmed past it.
        return entries, bool(page) and StreamId.parse(page[-1][0]) <= last_id

    def _page(self, end: StreamId, start: StreamId, count: int) -> list[Any]:
        """The newest entries of a part of the global stream, the newest first."""
        page: list[Any] = self._client.execute_command(
            "XREVRANGE", self._full, bytes(end), bytes(start), "COUNT", count
        )
        return page

    def _places(
        self, channel: str, windows: Iterable[tuple[StreamId, StreamId]], floor: StreamId
    ) -> Iterable[Entry]:
        """The channel's entries in some parts of the global stream, up to `floor`."""
        waiting = deque((start, min(end, floor)) for start, end in windows if start <= floor)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(PLACES, len(waiting)))]
            pipe = self._client.pipeline(transaction=False)
            for start, end in batch:
                pipe.execute_command("XRANGE", self._full, bytes(start), bytes(end), "COUNT", PAGE)
            for (_, end), page in zip(batch, pipe.execute(), strict=True):
                yield from self._entries_of(page, channel)
                if len(page) == PAGE:
                    waiting.append((StreamId.parse(page[-1][0]).successor(), end))

    def _range(self, key: str, channel: str, start: StreamId, end: StreamId) -> Iterable[Entry]:
        """The channel's entries in a part of a stream, both ends included."""
        while start <= end:
            page = self._client.execute_command(
                "XRANGE", key, bytes(start), bytes(end), "COUNT", PAGE
            )
            yield from self._entries_of(page, channel)
            if len(page) < PAGE:
                break
            start = StreamId.parse(page[-1][0]).successor()

    # --- the seam --------------------------------------------------------------------------------

    def _await_follower(self, position: StreamId) -> None:
        """Wait until the follower has handed out the global stream up to `position`."""
        deadline = time.monotonic() + PATIENCE
        while self._history.position < position:
            self._progress.clear()
            if not self._progress.wait(timeout=max(0.0, deadline - time.monotonic())):
                raise redis.TimeoutError("the global stream is not being followed")

    def _finish(self, request: Request, entries: Sequence[Entry], snapshot: Snapshot) -> None:
        last_id = request.last_id
        newest = max(snapshot.newest, self._history.position)
        first_look, everything = not request.recheck, last_id == ZERO
        if first_look and not everything and replay.is_from_the_future(last_id, newest, entries):
            log.warning(
                "%r: last_id %s is newer than anything in Redis (flushed or restored?): "
                "sending all that is there",
                request.connection,
                last_id,
            )
            self._metrics.stream_gap()
            self._queue.put(Request(request.connection, ZERO, since=request.since))
            return
        known = self._knowledge(request, entries, snapshot)
        # No switch to another greenlet from here on: `known` is what has been handed out.
        if first_look:
            plan = replay.plan(last_id, entries, known, snapshot.now_ms)
        else:
            plan = replay.second_look(request.recheck, last_id, entries, known, snapshot.now_ms)
        if plan.gap and not everything:
            self._metrics.stream_gap()
            log.warning(
                "%r: events since last_id %s may be lost (the streams were trimmed, flushed or "
                "restored); sending the %d that are left",
                request.connection,
                last_id,
                len(plan.missed),
            )
        sent = self._send(request.connection, plan.missed)
        if sent is None:
            return
        request.connection.events_sent += sent
        if first_look:
            self._hub.subscribe(request.connection, request.connection.channel)
            self._metrics.caught_up(sent, time.monotonic() - request.since)
        if plan.in_flight:
            self._look_again_later(request, plan.in_flight)

    def _remembered(self, channel: str, after: StreamId) -> list[Entry]:
        return self._history.of_channel(channel, after)

    def _send(self, connection: Connection, missed: Sequence[Entry]) -> int | None:
        """Send to this connection only.

        :returns: how many; None when it can't take them all (it is closed then).
        """
        count, buffer = 0, bytearray()
        for frame in _frames(missed):
            if buffer and len(buffer) + len(frame) > self._chunk_bytes:
                if not self._send_chunk(connection, bytes(buffer)):
                    return None
                buffer.clear()
            buffer += frame
            count += 1
        if buffer and not self._send_chunk(connection, bytes(buffer)):
            return None
        return count if connection.state is State.OPEN else None

    def _send_chunk(self, connection: Connection, chunk: bytes) -> bool:
        limit = self._max_backlog_bytes
        unread = connection.backlog_bytes
        if limit and unread and unread + len(chunk) > limit:
            # Nothing is lost: the client comes back with the last_id of what it has read by then.
            connection.close(CloseCode.TRY_AGAIN_LATER, "reconnect to get the rest")
            return False
        connection.send(chunk)
        return connection.state is State.OPEN

    # --- entries in flight -----------------------------------------------------------------------

    def _look_again_later(self, request: Request, in_flight: Sequence[Entry]) -> None:
        again = Request(request.connection, request.last_id, recheck=in_flight)
        gevent.spawn_later(replay.TWIN_GRACE_MS / 1000, self._queue.put, again)

    # --- helpers ---------------------------------------------------------------------------------

    def _still_patient(self, requests: Iterable[Request], error: Exception) -> deque[Request]:
        now = time.monotonic()
        patient: deque[Request] = deque()
        for request in requests:
            if request.connection.state is not State.OPEN:
                continue
            if now - request.since < PATIENCE:
                patient.append(request)
                continue
            log.error("%r: catch-up failed: %s; closed with 1012", request.connection, error)
            request.connection.close(CloseCode.SERVICE_RESTART, "missed events can't be read now")
        return patient

    def _key(self, connection: Connection) -> str:
        return channel_stream(self._prefix, connection.channel)

    def _entries_of(self, page: Iterable[RawEntry], channel: str) -> list[Entry]:
        """The entries of a page that belong to the channel."""
        name, found = channel.encode(), []
        for raw in page:
            # Most of a piece of the global stream is others': not worth parsing. An escape may
            # spell the name in another way.
            if not any(name in value or b"\\u" in value for value in raw[1]):
                continue
            with contextlib.suppress(MalformedEntry):
                entry = Entry.parse(raw)
                if entry.channel == channel:
                    found.append(entry)
        return found


def _frames(missed: Iterable[Entry]) -> Iterator[bytes]:
    """The frames of those that can be sent; live, the others are skipped, too."""
    for entry in missed:
        with contextlib.suppress(MalformedEntry):
            yield entry.frame()
