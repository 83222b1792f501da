# SPDX-License-Identifier: Apache-2.0
"""One worker's service: composes stream, fan-out, catch-up, heartbeat and connections; their life.

Everything hangs on one `Service` object made for one worker process; nothing is module-level.
"""

from __future__ import annotations

import itertools
import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

from wsgi_ws.config.keys import Settings
from wsgi_ws.http.acceptor import Acceptor
from wsgi_ws.http.auth import Authenticator
from wsgi_ws.http.dispatch import Dispatcher
from wsgi_ws.http.handshake import Admission, Admitted
from wsgi_ws.http.origin import networks
from wsgi_ws.http.pending_request import Endpoint
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import REFUSALS, Refusal
from wsgi_ws.hub import Registry
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_lines import CloseLine, abbreviated, and_more, printable
from wsgi_ws.observe.metrics import Metrics, StatsdClient
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.watchdog import Watchdog
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.sources.streams import finder
from wsgi_ws.sources.streams.catchup import CatchUp
from wsgi_ws.sources.streams.fanout import Fanout
from wsgi_ws.sources.streams.follower import PAGE, READ_MARGIN, StreamFollower
from wsgi_ws.sources.streams.history import ENTRY_OVERHEAD_BYTES, History
from wsgi_ws.sources.streams.stream_id import ZERO, StreamId
from wsgi_ws.websocket.connection import Connection, Ending, Limits
from wsgi_ws.websocket.frames import CloseCode, Data
from wsgi_ws.websocket.heartbeat import Heartbeat

log = logging.getLogger(__name__)

START_PATIENCE = 3.0  # seconds to wait for Redis before accepting sockets without it
READ_TIMEOUT = 10.0  # seconds for the reads of a catch-up
TYPICAL_EVENT_BYTES = 250
SILENCE_PATIENCE = 60.0  # seconds with sockets, but without any stream, before a hint
SILENCE_INTERVAL = 5.0  # seconds
ALIKE_INTERVAL = 60.0  # seconds between two warnings of one kind


class Service:
    """Owner of a worker's connections and greenlets."""

    def __init__(self, settings: Settings, worker_name: str, plain: PlainServer) -> None:
        """Nothing runs or connects before `start`.

        :param worker_name: tags this worker's gauge in StatsD.
        :param plain: answers the requests that are not handshakes.
        """
        self._settings = settings
        statsd = StatsdClient(settings.statsd, [f"worker:{worker_name}"])
        self.metrics = Metrics(statsd, reasons=REFUSALS)
        self.access_log = AccessLog()
        self.log_limiter = LogLimiter(ALIKE_INTERVAL)
        self.registry = Registry()
        self.limits = Limits(
            max_message_bytes=settings.max_message_bytes,
            max_backlog_bytes=settings.max_socket_buffer_bytes,
            close_timeout=settings.close_timeout_ms / 1000,
            max_frames_per_second=settings.max_frames_per_second,
            max_bytes_per_second=settings.max_bytes_per_second,
        )
        self.admission = Admission(
            Authenticator(
                settings.jwt_secret,
                settings.jwt_algorithms,
                settings.jwt_cookie_name,
                settings.jwt_channel_id_key,
            ),
            settings.allowed_origins,
            networks(settings.trusted_proxies),
        )
        self._dispatcher = Dispatcher(self, plain)
        self._acceptors: list[Acceptor] = []
        self.heartbeat = Heartbeat(
            settings.ping_sockets_interval_ms / 1000, settings.socket_response_timeout_ms / 1000
        )
        self.history = History(settings.history_bytes)
        self.watchdog = Watchdog(self.metrics.loop_delay)
        self._draining = False
        self._expiries: dict[Connection, Any] = {}  # timers, for tokens that have an `exp`
        self._numbers = itertools.count(1)
        self._greenlets: list[Greenlet[..., Any]] = []
        self._catch_up = self._make_catch_up()
        self._follower = self._make_follower()
        self._reporter = Reporter(self.registry, self.history, self.metrics, self._follower)

    # --- life cycle ------------------------------------------------------------------------------

    def start(self, on_failure: Callable[[str, BaseException | None], None]) -> None:
        """Start the greenlets, and wait a moment for the stream so that nothing is missed.

        :param on_failure: hears of a greenlet that died; the worker must then be replaced.
        """
        self.loop = gevent.get_hub().loop
        for job in (
            self._follower.run,
            self._catch_up.run,
            self._dispatcher.run,
            self._beat,
            self._sweep,
            self._reporter.run,
            self.access_log.run,
            self.watchdog.run,
            self._hint_at_silence,
        ):
            greenlet = gevent.spawn(job)
            greenlet.name = job.__qualname__
            greenlet.link_exception(lambda g: on_failure(g.name, g.exception))
            self._greenlets.append(greenlet)
        if not self._follower.connected.wait(START_PATIENCE):
            log.warning(
                "Redis at %s is not there yet; sockets are accepted and held",
                describe(self._settings.redis),
            )

    def unreadiness(self) -> str | None:
        """Why events don't reach sockets at once; None when they do."""
        if self._draining:
            return "draining"
        if not self._follower.connected.is_set():
            return f"Redis at {describe(self._settings.redis)} can't be read"
        if not self._follower.caught_up:
            return "catching up with the stream"
        return None

    def listen(self, sock: Any, endpoint: Endpoint, *, capacity: int, is_shared: bool) -> None:
        """Accept connections on a listening socket.

        :param capacity: requests that may be pending.
        :param is_shared: whether other processes accept on it too.
        """
        acceptor = Acceptor(
            sock,
            endpoint,
            self._dispatcher.put,
            request_timeout=self._settings.handshake_timeout_ms / 1000,
            capacity=capacity,
            is_shared=is_shared,
        )
        acceptor.start()
        self._acceptors.append(acceptor)

    def stop(self) -> None:
        """Stop listening, say goodbye to every client, and wait as long as the close timeout.

        Spread over `drainMs`, so that not all come back at once; until its turn a socket gets its
        events as ever. Whoever begins a request within that time gets its answer, which is 503 to
        a handshake; connections that stay silent are dismissed.
        """
        self._draining = True
        for acceptor in self._acceptors:
            acceptor.close()
        begin, spread = time.monotonic(), self._settings.drain_ms / 1000
        log.info("closing %d sockets", len(self.registry))
        self._close_all(begin, spread)
        deadline = time.monotonic() + self.limits.close_timeout + 0.5
        while (len(self.registry) or self._pending()) and time.monotonic() < deadline:
            if time.monotonic() >= begin + spread:
                for acceptor in self._acceptors:
                    acceptor.dismiss_silent()
            gevent.sleep(0.02)
        gevent.killall(self._greenlets)
        self._reporter.report()
        self.access_log.flush()

    def _pending(self) -> int:
        """Connections whose request has not been read or answered."""
        return sum(map(len, self._acceptors))

    def _close_all(self, begin: float, spread: float) -> None:
        connections = list(self.registry)
        for number, connection in enumerate(connections):
            turn = begin + spread * number / len(connections)
            if turn > time.monotonic():
                gevent.sleep(turn - time.monotonic())
            connection.close(CloseCode.GOING_AWAY, "server is stopping")

    # --- clients ---------------------------------------------------------------------------------

    def on_open(self, sock: RawSocket, admitted: Admitted, early: bytes) -> int:
        """Take over a client that is admitted; returns its number."""
        channel = admitted.identity.channel
        connection = Connection(self, sock, channel, next(self._numbers))
        try:
            connection.send(admitted.answer)
            limit = self._limit_reached(channel)
            if limit:
                self._turn_away(connection, limit)
            else:
                self._welcome(connection, admitted, early)
        except BaseException:
            connection.terminate("it could not be taken over")
            raise
        return connection.number

    def _welcome(self, connection: Connection, admitted: Admitted, early: bytes) -> None:
        identity = admitted.identity
        self.registry.add(connection)
        self.heartbeat.add(connection)
        self.metrics.client_connected()
        if identity.expires_at is not None:
            self._expire_at(connection, identity.expires_at)
        if early:
            connection.receive(early)
        place = place_of(admitted.last_id)
        if place is None:
            self.registry.subscribe(connection)
        else:
            self._catch_up.enqueue(connection, place)

    def on_refused(self, refusal: Refusal) -> None:
        """A handshake was answered with an error."""
        self.metrics.upgrade_rejected(refusal.reason)

    def on_bad_request(self) -> None:
        """A request was no HTTP."""
        self.metrics.bad_request()

    def on_data(self, connection: Connection, message: Data) -> None:
        """Clients have nothing to say in this protocol: what they send is dropped."""

    def on_send_error(self, connection: Connection, error: OSError) -> None:
        """A write failed."""
        self.metrics.client_send_error()
        log.debug("%r: send failed: %s", connection, error)

    def on_slow(self, connection: Connection) -> None:
        """A client reads more slowly than its events come."""
        self.metrics.client_too_slow()
        log.warning(
            "%r is cut: it left more than maxSocketBufferBytes (%d) unread",
            connection,
            self.limits.max_backlog_bytes,
        )

    def on_ended(self, connection: Connection, ending: Ending) -> None:
        """A connection is over."""
        self.registry.remove(connection)
        self.heartbeat.remove(connection)
        expiry = self._expiries.pop(connection, None)
        if expiry is not None:
            expiry.close()
        self.metrics.client_gone(ending.by, ending.code)
        if self.access_log.wanted:
            self._log_close(connection, ending)

    def _log_close(self, connection: Connection, ending: Ending) -> None:
        line = CloseLine(
            socket=connection.number,
            channel=abbreviated(connection.channel),
            code=int(ending.code),
            reason=printable(ending.reason),
            by=ending.by,
            lifetime_s=round(time.monotonic() - connection.opened_at, 3),
            events_sent=connection.events_sent,
        )
        self.access_log.write(line)

    def closed_because(self) -> str | None:
        """Why nobody is admitted at present; None when clients are."""
        if self._draining:
            return "this server is stopping"
        if self._settings.redis_down_policy == "refuse" and not self._follower.connected.is_set():
            return "Redis can't be read (redisDownPolicy: refuse)"
        return None

    def _resynchronize(self, position: StreamId) -> None:
        """Live sockets have every event up to `position`: let them catch up from there."""
        for connection in list(self.registry):
            if connection in self.registry.by_channel.get(connection.channel, ()):
                self.registry.unsubscribe(connection)
                self._catch_up.enqueue(connection, position)

    def _limit_reached(self, channel: str) -> str | None:
        """The key of the limit that leaves no place for one more connection, or None."""
        settings = self._settings
        if 0 < settings.max_total_connections <= len(self.registry):
            return "maxTotalConnections"
        if 0 < settings.max_connections_per_channel <= self.registry.count(channel):
            return "maxConnectionsPerChannel"
        return None

    def _turn_away(self, connection: Connection, limit: str) -> None:
        held_back = self.log_limiter.admit(limit, time.monotonic())
        if held_back is not None:
            more = and_more(held_back)
            log.warning("%r is closed with 1013: %s is reached%s", connection, limit, more)
        self.metrics.connection_rejected(limit)
        connection.close(CloseCode.TRY_AGAIN_LATER, f"{limit} is reached")

    def _expire_at(self, connection: Connection, expires_at: float) -> None:
        """Close when the token expires. `exp` is a time of day, so this counts from now on."""
        timer = self.loop.timer(max(0.0, expires_at - time.time()))
        timer.start(connection.close, CloseCode.POLICY_VIOLATION, "the token has expired")
        self._expiries[connection] = timer

    # --- greenlets -------------------------------------------------------------------------------

    def _beat(self) -> None:
        due = time.monotonic()
        while True:
            due += self.heartbeat.tick_length
            gevent.sleep(max(0.0, due - time.monotonic()))
            self.heartbeat.tick(time.monotonic())

    def _hint_at_silence(self) -> None:
        """Say once that browsers come, but no stream with events for them."""
        silence = 0.0
        while self.history.position == ZERO:
            if silence >= SILENCE_PATIENCE:
                self._hint()
                return
            gevent.sleep(SILENCE_INTERVAL)
            waiting = len(self.registry) and self._follower.connected.is_set()
            silence = silence + SILENCE_INTERVAL if waiting else 0.0

    def _hint(self) -> None:
        redis, prefix = self._settings.redis, self._settings.redis_stream_prefix
        log.warning(
            "%d sockets are open, but there is no stream %sfull at %s%s; "
            "python -m wsgi_ws check --superset superset_config.py compares the settings",
            len(self.registry),
            prefix,
            describe(redis),
            finder.hint(finder.find(redis, prefix), redis, prefix),
        )

    def _sweep(self) -> None:
        while True:
            gevent.sleep(self._settings.gc_channels_interval_ms / 1000)
            stale = self.registry.sweep()
            if stale:
                log.error("%d ended sockets were still registered; removed", stale)

    # --- parts -----------------------------------------------------------------------------------

    def _make_catch_up(self) -> CatchUp:
        return CatchUp(
            connect(self._settings.redis, read_timeout=READ_TIMEOUT),
            self._settings.redis_stream_prefix,
            registry=self.registry,
            history=self.history,
            metrics=self.metrics,
            max_backlog_bytes=self.limits.max_backlog_bytes,
        )

    def _make_follower(self) -> StreamFollower:
        settings = self._settings
        fanout = Fanout(
            self.registry,
            self.history,
            self.metrics,
            on_progress=self._catch_up.on_progress,
            on_gap=self._resynchronize,
        )
        block = settings.redis_stream_read_block_ms
        page_bytes = PAGE * (TYPICAL_EVENT_BYTES + ENTRY_OVERHEAD_BYTES)
        return StreamFollower(
            connect(settings.redis, read_timeout=block / 1000 + READ_MARGIN),
            settings.redis_stream_prefix + "full",
            fanout,
            count=settings.redis_stream_read_count,
            block_ms=block,
            history_pages=-(-settings.history_bytes // page_bytes),
        )


def place_of(last_id: str | None) -> StreamId | None:
    """The place that a client's `last_id` names.

    A malformed one is ignored with a warning, as in the Node server.
    """
    place = None if last_id is None else StreamId.from_client(last_id)
    if place is None and last_id is not None:
        log.warning("last_id %.40r is ignored: it is not like 1700000000000-0", last_id)
    return place
