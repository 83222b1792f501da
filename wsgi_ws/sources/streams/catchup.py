# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: what clients have missed, sent to them before they are live.

One greenlet per worker serves the queue, many clients at once. `archive` reads what is there, and
`replay` decides what of it a client has missed. The last step of each catch-up (look into the
history, send, subscribe) runs without a switch to another greenlet, so that no event can fall
between the past and the live stream.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import gevent
import redis
from gevent.event import Event

from wsgi_ws.event import MalformedEntry
from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.fair_queue import FairQueue
from wsgi_ws.sources.redis_replies import told, will_pass
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.archive import Archive, Part, Snapshot
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Place, Whose
from wsgi_ws.sources.streams.sending import Drains, Sender
from wsgi_ws.sources.streams.waiting import Gaps, Request, second_look
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode

log = logging.getLogger(__name__)

BATCH = 128  # clients per round trip whose place the history knows: these need little more of Redis
SEARCH_BATCH = 16  # and others, each of which may need a search of some 50 ms
PATIENCE = 15.0  # seconds that a client waits before it is sent away
RETRY_DELAY = 0.25  # seconds
MERGE_TIME = 5.0  # seconds for which one that waits takes others in: they share its patience
ALIKE_INTERVAL = 60.0  # seconds between two log lines of one kind

# A browser that has been away for this long, and for whose channel nothing is left, waits for
# nothing any more: no page of Superset waits for a chart longer than some minutes. Milliseconds.
OLD_PLACE_MS = 600_000


class Stale(Exception):
    """The history has begun anew since Redis was read: what was read must be read again."""


class CatchUp:
    """The queue of one worker's clients that have missed something, and the steps of each."""

    def __init__(
        self,
        archive: Archive,
        history: History,
        *,
        hub: Hub,
        metrics: TransportMetrics,
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
        self._later = later
        self._sender = Sender(max_backlog_bytes, self._skip)
        self._drains = Drains(self._sender)
        self._recent: FairQueue[Request] = FairQueue()
        self._old: FairQueue[Request] = FairQueue()
        self._first: dict[str, Request] = {}  # by channel: those that wait in `_old`
        self._arrived = Event()
        self._progress = Event()
        self._trouble: Exception | None = None  # why Redis can't be read
        self._gaps = Gaps()
        self._limiter = LogLimiter(ALIKE_INTERVAL)

    def __len__(self) -> int:
        """How many wait in the queue."""
        return len(self._recent) + len(self._old)

    def jobs(self) -> Sequence[Callable[[], None]]:
        """What must run in greenlets, until killed."""
        return (self.run, self._drains.run)

    def enqueue(self, connection: Connection, last_id: StreamId) -> None:
        """Let a connection catch up; it is subscribed to live events at the end of it."""
        self._put(Request([connection], Place(last_id), reached=last_id))

    def enqueue_after_gap(self, connections: Sequence[Connection], position: StreamId) -> None:
        """Let a channel's connections that were live go on from before a gap in the live stream.

        Not before the grace is over: until then, what has been trimmed from the global stream can't
        be told from what is in flight, and would come behind newer events.
        """
        place = Place(position, Whose.GOING_ON)
        lately = self._history.of_channel(connections[0].channel, replay.look_back_from(place))
        had = [entry.known_by_identity() for entry in lately if entry.id <= position]
        request = Request([*connections], place, reached=position, had=had, may_be_sent_away=False)
        request.has_waited = True
        self._put_later(request)

    def welcome(self, connection: Connection, since: StreamId) -> None:
        """Give a connection that has never got an event what there is since a place.

        It comes from memory whenever that reaches back, at once and without Redis.
        """
        if self._history.floor <= since:
            missed = self._history.of_channel(connection.channel, since)
            if missed:
                self._give(Request([connection], Place(since, Whose.FIRST)), missed)
            else:  # nearly everybody
                self._hub.subscribe(connection, connection.channel)
            return
        request = Request([connection], Place(since, Whose.FIRST))
        waiting = self._first.get(request.channel)
        if waiting is None or request.came_at - waiting.waits_since > MERGE_TIME:
            self._first[request.channel] = request
            self._put(request)
        else:  # what is read for the one that waits already is good for both
            waiting.connections.append(connection)

    def on_progress(self) -> None:
        """The follower has handed out more of the global stream."""
        self._progress.set()

    def run(self) -> None:
        """Serve the queue until killed."""
        while True:
            self._arrived.wait()
            self.serve(self.next_requests())
            if not len(self):
                self._arrived.clear()

    def next_requests(self) -> Sequence[Request]:
        """Take the next ones from the queue, one of a channel; those that came too long ago are
        sent away."""
        at_once = self._archive.clients_at_once
        requests = self._recent.take(min(BATCH, at_once))
        old = self._old.take(min(SEARCH_BATCH, at_once))
        for request in old:
            if self._first.get(request.channel) is request:
                del self._first[request.channel]
        now = time.monotonic()
        return [request for request in (*requests, *old) if self._is_patient(request, now)]

    def serve(self, requests: Iterable[Request]) -> None:
        """Serve requests; try again while Redis fails and their patience lasts."""
        waiting = deque(request for request in requests if request.is_open)
        while waiting:
            try:
                self._serve_all(waiting)
            except Stale:
                continue
            except (redis.RedisError, OSError) as error:
                self._trouble = error
                waiting = self._still_patient(waiting, error)
                gevent.sleep(RETRY_DELAY)

    def _put(self, request: Request) -> None:
        is_recent = request.place.id > self._history.floor
        (self._recent if is_recent else self._old).put(request.channel, request)
        self._arrived.set()

    def _put_now(self, request: Request) -> None:
        """One that has waited for something else than its turn."""
        request.waits_since = time.monotonic()
        self._put(request)

    def _put_later(self, request: Request) -> None:
        """When no entry that is there now can be in flight any more."""
        self._later(replay.TWIN_GRACE_MS / 1000, self._put_now, request)

    def _serve_all(self, waiting: deque[Request]) -> None:
        """Serve from the left; who is served is taken out.

        :raises Stale: read again for those that are left.
        :raises redis.RedisError: also OSError; likewise.
        """
        snapshot = self._archive.snapshot([(one.channel, one.place) for one in waiting])
        self._await_follower(snapshot.newest)
        self._trouble = None
        while waiting:
            self._serve_one(waiting[0], snapshot)
            waiting.popleft()
            give_way()

    def _await_follower(self, position: StreamId) -> None:
        """Wait until the follower has handed out the global stream up to `position`."""
        deadline = time.monotonic() + PATIENCE
        while self._history.position < position:
            self._progress.clear()
            if not self._progress.wait(timeout=max(0.0, deadline - time.monotonic())):
                raise redis.TimeoutError("the global stream is not being followed")

    # --- one request -----------------------------------------------------------------------------

    def _serve_one(self, request: Request, snapshot: Snapshot) -> None:
        """What is wrong with one channel, or with the code that looks at it, costs this request its
        connections, and nobody else anything."""
        try:
            self._look(request, snapshot)
        except redis.ResponseError as error:
            if will_pass(error):
                raise
            self._fail(request, told(error))
        except (Stale, redis.RedisError, OSError):
            raise
        except Exception as error:
            self._limiter.write(
                *(log.exception, "defect", time.monotonic()),
                *("%r: a defect in its catch-up", request),
            )
            self._fail(request, type(error).__name__)

    def _look(self, request: Request, snapshot: Snapshot) -> None:
        # A second look must know the newest event, behind which it sends what it finds.
        part = self._archive.next_part(
            request.channel, request.place, snapshot, is_whole=request.is_second_look
        )
        if self._is_from_the_future(request, part, snapshot):
            self._start_over(request)
            return
        known = self._archive.knowledge(request.channel, request.place, part, snapshot)
        if self._history.generation != snapshot.generation:
            raise Stale
        known = known.beside(request.had)
        # No switch to another greenlet from here on: `known` is what has been handed out.
        if request.is_second_look:
            plan = replay.second_look(request.in_flight, part.entries, known, snapshot.now_ms)
            self._give_orphans(request, plan, known)
            return
        plan = replay.plan(
            *(request.place, part.entries, known, snapshot.now_ms), part.end, request.reached
        )
        if plan.in_flight and not known.continuous and not request.has_waited:
            # Some may have been trimmed from the global stream: they would come behind newer ones.
            request.has_waited = True
            self._put_later(request)
            return
        if plan.gap:
            self._note_gap(request, plan, part, snapshot)
        self._give(request, plan.missed, plan.in_flight, part.end)

    def _is_from_the_future(self, request: Request, part: Part, snapshot: Snapshot) -> bool:
        newest = max(snapshot.newest, self._history.position)
        return not request.place.is_ours and replay.is_from_the_future(
            request.place.id, newest, part.entries
        )

    def _start_over(self, request: Request) -> None:
        """Its place means nothing in the streams as they are now: let it get all that is there."""
        if self._gaps.is_news(request.channel):
            self._metrics.gap()
            self._limiter.write(
                *(log.warning, "future", time.monotonic()),
                "%r: last_id %s is newer than anything in Redis (flushed or restored?): "
                "sending all that is there",
                *(request, request.place.id),
            )
        request.place, request.reached = Place(ZERO, Whose.GOING_ON), ZERO
        self._put(request)

    def _give(
        self,
        request: Request,
        missed: Sequence[Entry],
        in_flight: Sequence[Entry] = (),
        end: StreamId | None = None,
    ) -> None:
        """Send what was missed, or as much of it as is good now; then a connection is live, or goes
        on from where it is.

        :param end: `missed` is what there is up to here; None: it is all.
        """
        for connection in request.connections:
            done, events = self._sender.send(connection, missed)
            connection.events_sent += events
            reached = missed[done - 1].id if done else request.reached
            is_all = done == len(missed)
            if not is_all or end or not self._sender.may_send(connection):
                place = end if end and is_all else max(reached, request.place.id)
                rest = request.rest(connection, missed[:done], place, events)
                self._drains.add(connection, partial(self._put_now, rest))
            else:
                self._hub.subscribe(connection, connection.channel)
                self._note_caught_up(connection, request, events)
                self._look_later(connection, reached, in_flight)

    def _look_later(
        self, connection: Connection, reached: StreamId, in_flight: Sequence[Entry]
    ) -> None:
        """Entries in flight are looked at again when they must have come."""
        if in_flight:
            self._put_later(second_look(connection, reached, in_flight))

    def _give_orphans(self, request: Request, plan: replay.Plan, known: replay.Knowledge) -> None:
        """What a second look has found. A connection that has to catch up once more, after a gap in
        the live stream, gets it then."""
        connection = request.connections[0]
        if not self._hub.is_subscribed(connection, connection.channel):
            return
        behind = max(request.reached, known.entries[-1].id) if known.entries else request.reached
        orphans, done = replay.with_rising_ids(plan.missed, behind), 0
        while done < len(orphans) and self._sender.may_send(connection):
            taken, events = self._sender.send(connection, orphans[done:])
            connection.events_sent += events
            done += taken
        left = [*plan.missed[done:], *plan.in_flight]
        if done < len(orphans):
            again = second_look(connection, behind, left)
            self._drains.add(connection, partial(self._put_now, again))
        else:
            self._look_later(connection, behind, left)

    # --- what is said ----------------------------------------------------------------------------

    def _note_caught_up(self, connection: Connection, request: Request, events: int) -> None:
        sent, seconds = request.sent + events, time.monotonic() - request.came_at
        if request.place.whose is not Whose.FIRST or sent:
            self._metrics.caught_up(sent, seconds)
        log.debug("%r is live after %.3f s; missed events sent: %d", connection, seconds, sent)

    def _note_gap(
        self, request: Request, plan: replay.Plan, part: Part, snapshot: Snapshot
    ) -> None:
        is_old = request.place.id.ms < snapshot.now_ms - OLD_PLACE_MS
        waits_for_nothing = is_old and not part.entries and not plan.missed
        if waits_for_nothing or not self._gaps.is_news(request.channel):
            return
        self._metrics.gap()
        self._limiter.write(
            *(log.warning, "gap", time.monotonic()),
            "%r: events since last_id %s may be lost (the streams were trimmed, flushed or "
            "restored); sending the %d that are left",
            *(request, request.place.id, len(plan.missed)),
        )

    def _skip(self, connection: Connection, entry: Entry, error: MalformedEntry) -> None:
        """Of an event for nobody here the live path has not seen that it is not UTF-8."""
        self._metrics.malformed()
        self._limiter.write(
            *(log.warning, str(error), time.monotonic()),
            "%r: entry %s of the stream is skipped: %s",
            *(connection, entry.id, error),
        )

    # --- who can't be served ---------------------------------------------------------------------

    def _fail(self, request: Request, why: str) -> None:
        self._limiter.write(
            *(log.error, "failed", time.monotonic()),
            *("%r: its catch-up failed: %s; closed with 1011", request, why),
        )
        request.close(CloseCode.INTERNAL_ERROR, "missed events can't be read")

    def _is_patient(self, request: Request, now: float) -> bool:
        waited = now - request.waits_since
        if waited < PATIENCE or not request.may_be_sent_away or not request.is_open:
            return True
        if self._trouble is not None:
            self._send_away(request, self._trouble)
            return False
        self._limiter.write(
            *(log.warning, "queue", now),
            "%r is closed with 1013: its catch-up has waited for %.0f s, since too many do",
            *(request, waited),
        )
        request.close(CloseCode.TRY_AGAIN_LATER, "too many are catching up")
        return False

    def _still_patient(self, requests: Iterable[Request], error: Exception) -> deque[Request]:
        """Those that wait on while Redis fails; the others are sent away."""
        now = time.monotonic()
        patient: deque[Request] = deque()
        for request in requests:
            if not request.is_open:
                continue
            if now - request.waits_since < PATIENCE:
                patient.append(request)
            else:
                self._send_away(request, error)
        return patient

    def _send_away(self, request: Request, error: Exception) -> None:
        """Redis fails."""
        self._limiter.write(
            *(log.error, "away", time.monotonic()),
            *("%r: catch-up failed: %s; closed with 1012", request, told(error)),
        )
        request.close(CloseCode.SERVICE_RESTART, "missed events can't be read now")
