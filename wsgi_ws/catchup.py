# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: what reconnecting clients have missed, fetched for many at once, then sent and joined
to the live stream without a seam.

One greenlet per worker serves a queue on a Redis connection of its own, never the one that blocks
in XREAD. `replay` decides what is missed; this is the I/O around it. The last step of each catch-up
(look into the history, send, subscribe) runs without a switch to another greenlet, so no event can
fall between the past and the live stream.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.queue import SimpleQueue

from wsgi_ws import replay
from wsgi_ws.connection import Connection, State
from wsgi_ws.events import MalformedEntry, frame_of, parse_entry
from wsgi_ws.history import History
from wsgi_ws.metrics import Metrics
from wsgi_ws.protocol import CloseCode
from wsgi_ws.redis_client import StreamClient
from wsgi_ws.registry import Registry
from wsgi_ws.replay import Entry, Knowledge
from wsgi_ws.stream import PAGE
from wsgi_ws.stream_id import ZERO, StreamId
from wsgi_ws.timeslice import TimeSlice

log = logging.getLogger(__name__)

BATCH = 128  # clients per round trip: 10 missed events each make a reply of half a megabyte
PATIENCE = 15.0  # seconds that a client waits while Redis fails, before it is sent away
RETRY_DELAY = 0.25  # seconds
# How far the global stream is searched around a last_id that is older than the history: entries.
SEARCH_BEFORE, SEARCH_AFTER = 2_000, 5_000
SEND_CHUNK = 65536  # bytes handed to a socket at once


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

    :ivar newest: the global stream's newest ID, read after the channels.
    :ivar now_ms: Redis's clock after that.
    """

    channels: Sequence[Sequence[Entry]]
    newest: StreamId
    now_ms: int


class CatchUp:
    """The queue of reconnecting clients of one worker, and the greenlet that serves it."""

    def __init__(
        self,
        client: StreamClient,
        prefix: str,
        *,
        registry: Registry,
        history: History,
        metrics: Metrics,
        max_backlog_bytes: int,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._registry = registry
        self._history = history
        self._metrics = metrics
        self._max_backlog_bytes = max_backlog_bytes
        self._queue: SimpleQueue[Request] = SimpleQueue()
        self._progress = Event()
        self._slice = TimeSlice()

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
                    self._slice.give_way()
            except (redis.RedisError, OSError) as error:
                waiting = self._still_patient(waiting, error)
                gevent.sleep(RETRY_DELAY)

    # --- reading Redis ---------------------------------------------------------------------------

    def _read(self, requests: Iterable[Request]) -> Snapshot:
        """The channels' streams first, then the global stream's end: see `replay.plan`."""
        pipe = self._client.pipeline(transaction=False)
        for request in requests:
            start = bytes(replay.look_back_from(request.last_id))
            pipe.execute_command("XRANGE", self._key(request.connection), start, "+", "COUNT", PAGE)
        pipe.execute_command("XREVRANGE", self._prefix + "full", "+", "-", "COUNT", 1)
        pipe.execute_command("TIME")
        *pages, newest, (seconds, microseconds) = pipe.execute()
        channels = [
            self._whole_range(request, page) for request, page in zip(requests, pages, strict=True)
        ]
        newest_id = StreamId.parse(newest[0][0]) if newest else ZERO
        return Snapshot(channels, newest_id, int(seconds) * 1000 + int(microseconds) // 1000)

    def _whole_range(self, request: Request, page: list[Any]) -> list[Entry]:
        key = self._key(request.connection)
        entries = list(self._events_of(page, request.connection.channel))
        while len(page) == PAGE:
            page = self._client.execute_command("XRANGE", key, page[-1][0], "+", "COUNT", PAGE)
            del page[:1]  # a range includes its start
            entries += self._events_of(page, request.connection.channel)
            if len(page) < PAGE - 1:
                break
        return entries

    def _search_global(self, request: Request) -> Knowledge:
        """Knowledge around a `last_id` that the history doesn't reach back to."""
        last_id, channel = request.last_id, request.connection.channel
        key, start = self._prefix + "full", replay.look_back_from(last_id)
        before = self._client.execute_command(
            "XREVRANGE", key, bytes(last_id), bytes(start), "COUNT", SEARCH_BEFORE
        )
        before.reverse()
        after = self._client.execute_command(
            "XRANGE", key, bytes(last_id), "+", "COUNT", SEARCH_AFTER
        )
        if before and after and after[0][0] == before[-1][0]:
            del after[:1]
        floor = self._history.floor
        entries = [
            entry for entry in self._events_of([*before, *after], channel) if entry.id <= floor
        ]
        reached = len(after) < SEARCH_AFTER - 1 or StreamId.parse(after[-1][0]) >= floor
        # Something at or before last_id is still there: the stream has not been trimmed past it.
        known_from = StreamId.parse(before[0][0]) if before else ZERO
        return Knowledge(
            [*entries, *self._remembered(channel, floor)],
            known_from if before else last_id,
            continuous=bool(before) and reached,
        )

    # --- the seam --------------------------------------------------------------------------------

    def _await_follower(self, position: StreamId) -> None:
        """Wait until the follower has handed out the global stream up to `position`."""
        deadline = time.monotonic() + PATIENCE
        while self._history.position < position:
            self._progress.clear()
            if not self._progress.wait(timeout=max(0.0, deadline - time.monotonic())):
                raise redis.TimeoutError("the global stream is not being followed")

    def _finish(self, request: Request, entries: Sequence[Entry], snapshot: Snapshot) -> None:
        if request.recheck:
            self._second_look(request)
            return
        last_id = request.last_id
        newest = max(snapshot.newest, self._history.position)
        everything = last_id == ZERO
        if not everything and replay.is_from_the_future(last_id, newest, entries):
            log.warning(
                "%r: last_id %s is newer than anything in Redis (flushed or restored?): "
                "sending all that is there",
                request.connection,
                last_id,
            )
            self._metrics.stream_gap()
            self._queue.put(Request(request.connection, ZERO, since=request.since))
            return
        known = self._knowledge(request)
        # No switch to another greenlet from here on: `known` is what has been handed out.
        plan = replay.plan(last_id, entries, known, snapshot.now_ms)
        if plan.gap and not everything:
            self._metrics.stream_gap()
            log.warning(
                "%r: the streams were trimmed past last_id %s, events may be lost; "
                "sending the %d that are left",
                request.connection,
                last_id,
                len(plan.missed),
            )
        if self._send(request.connection, plan.missed):
            self._registry.subscribe(request.connection)
            self._metrics.caught_up(len(plan.missed), time.monotonic() - request.since)
            if plan.in_flight:
                self._look_again_later(request, plan.in_flight)

    def _knowledge(self, request: Request) -> Knowledge:
        floor = self._history.floor
        if request.last_id >= floor or request.last_id == ZERO:
            return Knowledge(
                self._remembered(request.connection.channel, ZERO), floor, continuous=True
            )
        return self._search_global(request)

    def _remembered(self, channel: str, after: StreamId) -> list[Entry]:
        return [
            Entry(StreamId.parse(past.id), past.data)
            for past in self._history.of_channel(channel, after)
        ]

    def _send(self, connection: Connection, missed: Sequence[Entry]) -> bool:
        """Send to this connection only; False when it can't take it all (it is closed then)."""
        buffer = bytearray()
        for frame in _frames(missed):
            buffer += frame
            if len(buffer) >= SEND_CHUNK:
                if not self._send_chunk(connection, bytes(buffer)):
                    return False
                buffer.clear()
        if buffer and not self._send_chunk(connection, bytes(buffer)):
            return False
        return connection.state is State.OPEN

    def _send_chunk(self, connection: Connection, chunk: bytes) -> bool:
        limit = self._max_backlog_bytes
        if limit and connection.backlog_bytes + len(chunk) > limit:
            # Nothing is lost: the client comes back with the last_id of what it has read by then.
            connection.close(CloseCode.TRY_AGAIN_LATER, "reconnect to get the rest")
            return False
        connection.send(chunk)
        return connection.state is State.OPEN

    # --- entries in flight -----------------------------------------------------------------------

    def _look_again_later(self, request: Request, in_flight: Sequence[Entry]) -> None:
        again = Request(request.connection, request.last_id, recheck=in_flight)
        gevent.spawn_later(replay.TWIN_GRACE_MS / 1000, self._queue.put, again)

    def _second_look(self, request: Request) -> None:
        """Deliver what was in flight and has not come through the global stream since."""
        remembered = self._remembered(request.connection.channel, request.last_id)
        position = self._history.position
        orphans = [
            Entry(max(entry.id, position), entry.data)
            for entry in replay.without_twin(request.recheck, remembered)
        ]
        self._send(request.connection, orphans)

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
        return self._prefix + connection.channel

    def _events_of(self, page: Iterable[Any], channel: str) -> Iterable[Entry]:
        """The well-formed entries of a page that belong to the channel."""
        name = channel.encode()
        for raw in page:
            # Most of a piece of the global stream is others': not worth parsing. An escape may
            # spell the name in another way.
            if not any(name in value or b"\\u" in value for value in raw[1]):
                continue
            try:
                event = parse_entry(raw)
            except MalformedEntry:
                continue
            if event.channel == channel:
                yield Entry(StreamId.parse(event.id), event.data)


def _frames(missed: Iterable[Entry]) -> Iterable[bytes]:
    for entry in missed:
        event = parse_entry((bytes(entry.id), (b"data", entry.data)))
        yield frame_of(event.id, event.members)
