# SPDX-License-Identifier: Apache-2.0
"""The source for Superset's streams: composes follower, fan-out, history and catch-up.

Topics are channels: each socket subscribes to its own, at once, or at the end of its catch-up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from wsgi_ws.command import command
from wsgi_ws.config.keys import Settings
from wsgi_ws.hub import Hub
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources import finder, silence
from wsgi_ws.sources.link import Link
from wsgi_ws.sources.permissions import Permissions
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.redis_replies import to_follow_streams
from wsgi_ws.sources.redis_wire import Batches
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.archive import Archive
from wsgi_ws.sources.streams.catchup import CatchUp
from wsgi_ws.sources.streams.fanout import Fanout
from wsgi_ws.sources.streams.follower import READ_MARGIN, StreamFollower
from wsgi_ws.sources.streams.history import History
from wsgi_ws.transport import Transport
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection

log = logging.getLogger(__name__)

ALIKE_INTERVAL = 60.0  # seconds between two log lines about a malformed `last_id`
READ_TIMEOUT = 10.0  # seconds for the reads of a catch-up
SILENCE_PATIENCE = 60.0  # seconds with sockets, but without any stream, before a hint
SILENCE_INTERVAL = 5.0  # seconds


class StreamSource:
    """The events of the global stream, for the sockets of one hub. A `Source`."""

    def __init__(self, settings: Settings, hub: Hub, metrics: TransportMetrics) -> None:
        """Nothing runs or connects before the `jobs` do."""
        self._settings = settings
        self._hub = hub
        self._metrics = metrics
        self._history = History(settings.history_bytes)
        self._clock = RedisClock()
        self.link = Link(
            Transport.STREAMS,
            to_follow_streams(settings.redis.user, settings.redis_stream_prefix),
            address=describe(settings.redis),
            is_optional=settings.transports == "auto",
            meanwhile="sockets stay open, retrying until it can",
        )
        self._first_catch_up_ms = int(settings.first_catch_up * 1000)
        self._catch_up = self._make_catch_up()
        self._follower = self._make_follower()
        self._permissions = self._make_permissions()
        self._limiter = LogLimiter(ALIKE_INTERVAL)
        self._caught_up_at = time.monotonic()

    # --- for the worker --------------------------------------------------------------------------

    @property
    def caught_up(self) -> bool:
        """Whether the last read brought all that there was."""
        return self._follower.caught_up

    def lag(self) -> float:
        """Seconds: the age of what was read last, but not longer than since the last time that
        nothing was left to read. The age alone says nothing while nothing is written."""
        now = time.monotonic()
        if self.link.connected.is_set() and self.caught_up:
            self._caught_up_at = now
            return 0.0
        age = max(0.0, time.time() - self._history.position.ms / 1000)
        return min(age, now - self._caught_up_at)

    def unreadiness(self) -> str | None:
        """Why events don't reach sockets at once; None when they do."""
        if not self.link.connected.is_set():
            why = f": {self.link.trouble}" if self.link.trouble else ""
            return f"Redis at {describe(self._settings.redis)} can't be read{why}"
        if not self.caught_up:
            return "catching up with the stream"
        return self._permissions.missing or None

    def closed_because(self) -> str | None:
        """Nobody is turned away: who comes during an outage gets everything after it."""
        return None

    def jobs(self) -> Sequence[Callable[[], None]]:
        """What must run in greenlets."""
        return (
            self._follower.run,
            *self._catch_up.jobs(),
            self._look_at_permissions,
            self._hint_at_silence,
        )

    def join(self, connection: Connection, *, last_id: str | None, tab_id: str | None) -> None:
        """Subscribe a connection to its channel after a catch-up.

        A browser that has never got an event has no `last_id` to name when it comes back, and what
        it waits for may have been written meanwhile: it gets its channel's last minute.
        """
        place = place_of(last_id, self._limiter)
        if place is not None:
            self._catch_up.enqueue(connection, place)
        elif self._first_catch_up_ms:
            since = StreamId(max(0, self._clock.now_ms() - self._first_catch_up_ms), 0)
            self._catch_up.welcome(connection, since)
        else:
            self._hub.subscribe(connection, connection.channel)

    def leave(self, connection: Connection, ending: Ending) -> None:
        """Nothing is kept of it: its client will say where its events ended."""

    # --- live sockets that have missed something -------------------------------------------------

    def _resynchronize(self, position: StreamId) -> None:
        """Live sockets have every event up to `position`: let them catch up from there."""
        for channel, connections in list(self._hub.by_topic.items()):
            live = list(connections)
            for connection in live:
                self._hub.unsubscribe(connection, channel)
            self._catch_up.enqueue_after_gap(live, position)

    def _look_at_permissions(self) -> None:
        """Those that following takes come first, and are told by it."""
        self.link.connected.wait()
        self._permissions.run()

    # --- sockets without a stream ----------------------------------------------------------------

    def _hint_at_silence(self) -> None:
        """Say once that browsers come, but no stream with events for them."""
        if silence.lasts(
            lambda: self._history.position == ZERO,
            *(self._hub, self.link),
            patience=SILENCE_PATIENCE,
            interval=SILENCE_INTERVAL,
        ):
            self._hint()

    def _hint(self) -> None:
        redis, prefix = self._settings.redis, self._settings.redis_stream_prefix
        log.warning(
            "%d sockets are open, but there is no stream %sfull at %s%s; "
            "%s check --superset superset_config.py compares the settings",
            len(self._hub),
            prefix,
            describe(redis),
            finder.hint(finder.find(redis, prefix), redis, prefix),
            command(),
        )

    # --- parts -----------------------------------------------------------------------------------

    def _make_catch_up(self) -> CatchUp:
        settings = self._settings
        archive = Archive(
            Batches(connect(settings.redis, read_timeout=READ_TIMEOUT)),
            settings.redis_stream_prefix,
            self._history,
            self._clock,
        )
        return CatchUp(
            archive,
            self._history,
            hub=self._hub,
            metrics=self._metrics,
            max_backlog_bytes=settings.max_socket_buffer_bytes,
        )

    def _make_follower(self) -> StreamFollower:
        settings = self._settings
        fanout = Fanout(
            self._hub,
            self._history,
            self._metrics,
            on_progress=self._catch_up.on_progress,
            on_gap=self._resynchronize,
        )
        block = settings.redis_stream_read_block_ms
        return StreamFollower(
            connect(settings.redis, read_timeout=block / 1000 + READ_MARGIN),
            settings.redis_stream_prefix + "full",
            fanout,
            self.link,
            count=settings.redis_stream_read_count,
            block_ms=block,
            history_bytes=settings.history_bytes,
            clock=self._clock,
            reach_ms=self._first_catch_up_ms,
        )

    def _make_permissions(self) -> Permissions:
        """What a catch-up reads, of a channel that nobody has."""
        settings = self._settings
        prefix = settings.redis_stream_prefix
        key = f"{prefix}permissions"
        return Permissions(
            connect(settings.redis, read_timeout=READ_TIMEOUT),
            {
                f"+xrange ~{prefix}*": ("XRANGE", key, "-", "+", "COUNT", 1),
                f"+xrevrange ~{prefix}*": ("XREVRANGE", key, "+", "-", "COUNT", 1),
            },
        )


def place_of(last_id: str | None, limiter: LogLimiter) -> StreamId | None:
    """The place in the global stream that a client's `last_id` names.

    A malformed one is ignored with a warning, as in the Node server.
    """
    place = None if last_id is None else StreamId.from_client(last_id)
    if place is None and last_id is not None:
        limiter.write(
            *(log.warning, "last_id", time.monotonic()),
            *("last_id %.40r is ignored: it is not like 1700000000000-0", last_id),
        )
    return place
