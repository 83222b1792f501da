# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: what reconnecting clients have missed, sent to them before they are live again.

One greenlet per worker serves a queue, many clients at once. `archive` reads what is there, and
`replay` decides what of it a client has missed. The last step of each catch-up (look into the
history, send, subscribe) runs without a switch to another greenlet, so that no event can fall
between the past and the live stream.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import gevent
import redis
from gevent.event import Event
from gevent.queue import SimpleQueue

from wsgi_ws.event import MalformedEntry
from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.metrics import Metrics
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.archive import Archive, Snapshot
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.stream_id import ZERO, StreamId
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode

log = logging.getLogger(__name__)

BATCH = 128  # clients per round trip: 10 missed events each make a reply of half a megabyte
PATIENCE = 15.0  # seconds that a client waits while Redis fails, before it is sent away
RETRY_DELAY = 0.25  # seconds
SEND_CHUNK = 65536  # bytes handed to a socket at once


@dataclass(slots=True)
class ReturningClient:
    """A client that waits for its catch-up.

    :ivar in_flight: set for a second look: entries that were in flight at the last one.
    :ivar since: when it came, by `time.monotonic`.
    """

    connection: Connection
    last_id: StreamId
    in_flight: Sequence[Entry] = ()
    since: float = field(default_factory=time.monotonic)


class CatchUp:
    """The queue of reconnecting clients of one worker, and the steps that each goes through."""

    def __init__(
        self,
        archive: Archive,
        history: History,
        *,
        hub: Hub,
        metrics: Metrics,
        max_backlog_bytes: int,
        later: Callable[..., object] = gevent.spawn_later,
    ) -> None:
        """
        :param max_backlog_bytes: what a client may leave unread; 0 for no limit.
        :param later: takes seconds, a function and its argument, and calls it when they are over.
        """
        self._archive = archive
        self._history = history
        self._hub = hub
        self._metrics = metrics
        self._max_backlog_bytes = max_backlog_bytes
        self._later = later
        self._queue: SimpleQueue[ReturningClient] = SimpleQueue()
        self._progress = Event()

    def __len__(self) -> int:
        """How many wait in the queue."""
        return self._queue.qsize()

    def enqueue(self, connection: Connection, last_id: StreamId) -> None:
        """Let a new connection catch up; it is subscribed to live events at the end of it."""
        self._queue.put(ReturningClient(connection, last_id))

    def on_progress(self) -> None:
        """The follower has handed out more of the global stream."""
        self._progress.set()

    def run(self) -> None:
        """Serve the queue until killed."""
        while True:
            self.serve(self.next_clients(BATCH))

    def next_clients(self, limit: int) -> Sequence[ReturningClient]:
        """Take clients from the queue, waiting for the first."""
        clients = [self._queue.get()]
        while len(clients) < limit and not self._queue.empty():
            clients.append(self._queue.get())
        return clients

    def serve(self, clients: Iterable[ReturningClient]) -> None:
        """Let clients catch up; try again while Redis fails and their patience lasts."""
        waiting = deque(c for c in clients if c.connection.state is State.OPEN)
        while waiting:
            try:
                snapshot = self._archive.snapshot(
                    [(client.connection.channel, client.last_id) for client in waiting]
                )
                self._await_follower(snapshot.newest)
                while waiting:
                    self._serve_one(waiting[0], snapshot.channels.popleft(), snapshot)
                    waiting.popleft()
                    give_way()
            except (redis.RedisError, OSError) as error:
                waiting = _still_patient(waiting, error)
                gevent.sleep(RETRY_DELAY)

    def _await_follower(self, position: StreamId) -> None:
        """Wait until the follower has handed out the global stream up to `position`."""
        deadline = time.monotonic() + PATIENCE
        while self._history.position < position:
            self._progress.clear()
            if not self._progress.wait(timeout=max(0.0, deadline - time.monotonic())):
                raise redis.TimeoutError("the global stream is not being followed")

    # --- one client ------------------------------------------------------------------------------

    def _serve_one(
        self, client: ReturningClient, entries: Sequence[Entry], snapshot: Snapshot
    ) -> None:
        """
        :param entries: of the client's channel, from the snapshot.
        """
        if client.in_flight:
            self._look_again(client, entries, snapshot)
        elif self._is_from_the_future(client, entries, snapshot):
            self._start_over(client)
        else:
            self._look(client, entries, snapshot)

    def _is_from_the_future(
        self, client: ReturningClient, entries: Sequence[Entry], snapshot: Snapshot
    ) -> bool:
        newest = max(snapshot.newest, self._history.position)
        return client.last_id != ZERO and replay.is_from_the_future(client.last_id, newest, entries)

    def _start_over(self, client: ReturningClient) -> None:
        """Its place means nothing in the streams as they are now: let it get all that is there."""
        log.warning(
            "%r: last_id %s is newer than anything in Redis (flushed or restored?): "
            "sending all that is there",
            client.connection,
            client.last_id,
        )
        self._metrics.stream_gap()
        self._queue.put(ReturningClient(client.connection, ZERO, since=client.since))

    def _look(self, client: ReturningClient, entries: Sequence[Entry], snapshot: Snapshot) -> None:
        last_id, connection = client.last_id, client.connection
        known = self._archive.knowledge(connection.channel, last_id, entries, snapshot)
        # No switch to another greenlet from here on: `known` is what has been handed out.
        plan = replay.plan(last_id, entries, known, snapshot.now_ms)
        if plan.gap and last_id != ZERO:
            self._note_gap(client, plan)
        sent = self._send(connection, plan.missed)
        if sent is not None:
            self._hub.subscribe(connection, connection.channel)
            self._metrics.caught_up(sent, time.monotonic() - client.since)
            self._look_later(client, plan.in_flight)

    def _look_again(
        self, client: ReturningClient, entries: Sequence[Entry], snapshot: Snapshot
    ) -> None:
        last_id, connection = client.last_id, client.connection
        known = self._archive.knowledge(connection.channel, last_id, entries, snapshot)
        plan = replay.second_look(client.in_flight, last_id, entries, known, snapshot.now_ms)
        if self._send(connection, plan.missed) is not None:
            self._look_later(client, plan.in_flight)

    def _look_later(self, client: ReturningClient, in_flight: Sequence[Entry]) -> None:
        """Entries in flight are looked at again when they must have come."""
        if in_flight:
            again = ReturningClient(client.connection, client.last_id, in_flight)
            self._later(replay.TWIN_GRACE_MS / 1000, self._queue.put, again)

    def _note_gap(self, client: ReturningClient, plan: replay.Plan) -> None:
        self._metrics.stream_gap()
        log.warning(
            "%r: events since last_id %s may be lost (the streams were trimmed, flushed or "
            "restored); sending the %d that are left",
            client.connection,
            client.last_id,
            len(plan.missed),
        )

    def _send(self, connection: Connection, missed: Iterable[Entry]) -> int | None:
        """Send events to this connection only.

        :returns: how many; None when it can't take them all (it is closed then).
        """
        sent = send_in_chunks(connection, missed, self._max_backlog_bytes)
        connection.events_sent += sent or 0
        return sent


# --- sending -------------------------------------------------------------------------------------


def send_in_chunks(
    connection: Connection, entries: Iterable[Entry], max_backlog_bytes: int
) -> int | None:
    """Send entries to one connection.

    One that leaves more than the limit unread is closed. Nothing is lost: the client comes back
    with the last_id of what it has read by then.

    :param max_backlog_bytes: 0 for no limit.
    :returns: how many were sent; None when the connection is not open at the end.
    """
    count = 0
    for events, chunk in _chunks(entries, min(SEND_CHUNK, max_backlog_bytes or SEND_CHUNK)):
        unread = connection.backlog_bytes
        if max_backlog_bytes and unread and unread + len(chunk) > max_backlog_bytes:
            connection.close(CloseCode.TRY_AGAIN_LATER, "reconnect to get the rest")
            return None
        connection.send(chunk)
        if connection.state is not State.OPEN:
            return None
        count += events
    return count if connection.state is State.OPEN else None


def _chunks(entries: Iterable[Entry], chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Frames joined as long as they stay below a size, and how many there are in each chunk."""
    count, buffer = 0, bytearray()
    for frame in _frames(entries):
        if buffer and len(buffer) + len(frame) > chunk_bytes:
            yield count, bytes(buffer)
            count, buffer = 0, bytearray()
        buffer += frame
        count += 1
    if buffer:
        yield count, bytes(buffer)


def _frames(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The frames of those that can be sent; the others are skipped, as on the live path."""
    for entry in entries:
        with contextlib.suppress(MalformedEntry):
            yield entry.frame()


# --- when Redis fails ----------------------------------------------------------------------------


def _still_patient(clients: Iterable[ReturningClient], error: Exception) -> deque[ReturningClient]:
    """Those of the clients that wait on; the others are sent away."""
    now = time.monotonic()
    patient: deque[ReturningClient] = deque()
    for client in clients:
        if client.connection.state is not State.OPEN:
            continue
        if now - client.since < PATIENCE:
            patient.append(client)
            continue
        log.error("%r: catch-up failed: %s; closed with 1012", client.connection, error)
        client.connection.close(CloseCode.SERVICE_RESTART, "missed events can't be read now")
    return patient
