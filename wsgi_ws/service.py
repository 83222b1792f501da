# SPDX-License-Identifier: Apache-2.0
"""One worker's service: composes stream, fan-out, catch-up, heartbeat and connections; their life.

Everything hangs on one `Service` object made for one worker process; nothing is module-level.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

from wsgi_ws.auth import Authenticator
from wsgi_ws.catchup import CatchUp
from wsgi_ws.config import Settings
from wsgi_ws.connection import Connection, Ending, Limits
from wsgi_ws.fanout import Fanout
from wsgi_ws.handshake import Admission, Admitted, Refusal
from wsgi_ws.heartbeat import Heartbeat
from wsgi_ws.history import ENTRY_OVERHEAD_BYTES, History
from wsgi_ws.metrics import Metrics, StatsdClient
from wsgi_ws.origin import networks
from wsgi_ws.protocol import CloseCode, Data
from wsgi_ws.redis_client import connect, describe
from wsgi_ws.registry import Registry
from wsgi_ws.stream import PAGE, READ_MARGIN, StreamFollower

log = logging.getLogger(__name__)

REPORT_INTERVAL = 10.0  # seconds between two values of the gauge
START_PATIENCE = 3.0  # seconds to wait for Redis before accepting sockets without it
READ_TIMEOUT = 10.0  # seconds for the reads of a catch-up
TYPICAL_EVENT_BYTES = 250


class Service:
    """Owner of a worker's connections and greenlets."""

    def __init__(self, settings: Settings, worker_name: str) -> None:
        """Nothing runs or connects before `start`.

        :param worker_name: tags this worker's gauge in StatsD.
        """
        self._settings = settings
        self.metrics = Metrics(StatsdClient(settings.statsd, [f"worker:{worker_name}"]))
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
        self.request_timeout = settings.handshake_timeout_ms / 1000
        self.heartbeat = Heartbeat(
            settings.ping_sockets_interval_ms / 1000, settings.socket_response_timeout_ms / 1000
        )
        self.history = History(settings.history_bytes)
        self._expiries: dict[Connection, Any] = {}  # timers, for tokens that have an `exp`
        self._numbers = itertools.count(1)
        self._greenlets: list[Greenlet[..., Any]] = []
        self._catch_up = self._make_catch_up()
        self._follower = self._make_follower()

    # --- life cycle ------------------------------------------------------------------------------

    def start(self, on_failure: Callable[[str, BaseException | None], None]) -> None:
        """Start the greenlets, and wait a moment for the stream so that nothing is missed.

        :param on_failure: hears of a greenlet that died; the worker must then be replaced.
        """
        self.loop = gevent.get_hub().loop
        for job in (
            self._follower.run,
            self._catch_up.run,
            self._beat,
            self._sweep,
            self._report,
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

    def stop(self) -> None:
        """Say goodbye to every client and wait, as long as the close timeout, for the answers."""
        log.info("closing %d sockets", len(self.registry))
        for connection in list(self.registry):
            connection.close(CloseCode.GOING_AWAY, "server is stopping")
        deadline = time.monotonic() + self.limits.close_timeout + 0.5
        while len(self.registry) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        gevent.killall(self._greenlets)
        self.metrics.connections_now(len(self.registry))

    # --- clients ---------------------------------------------------------------------------------

    def on_open(self, descriptor: int, admitted: Admitted, early: bytes) -> None:
        """Take over a client whose handshake is done."""
        identity = admitted.identity
        connection = Connection(self, descriptor, identity.channel, next(self._numbers))
        limit = self._limit_reached(identity.channel)
        if limit:
            self._turn_away(connection, limit)
            return
        self.registry.add(connection)
        self.heartbeat.add(connection)
        self.metrics.client_connected()
        log.debug("%r opened, last_id %s", connection, admitted.last_id)
        if identity.expires_at is not None:
            self._expire_at(connection, identity.expires_at)
        if early:
            connection.receive(early)
        if admitted.last_id is None:
            self.registry.subscribe(connection)
        else:
            self._catch_up.enqueue(connection, admitted.last_id)

    def on_refused(self, refusal: Refusal) -> None:
        """A handshake was answered with an error."""
        self.metrics.upgrade_rejected(refusal.reason)

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
        log.debug("%r ended by %s: %d %s", connection, ending.by, ending.code, ending.reason)

    def _limit_reached(self, channel: str) -> str | None:
        """The key of the limit that leaves no place for one more connection, or None."""
        settings = self._settings
        if 0 < settings.max_total_connections <= len(self.registry):
            return "maxTotalConnections"
        if 0 < settings.max_connections_per_channel <= self.registry.count(channel):
            return "maxConnectionsPerChannel"
        return None

    def _turn_away(self, connection: Connection, limit: str) -> None:
        log.warning("%r is closed with 1013: %s is reached", connection, limit)
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

    def _sweep(self) -> None:
        while True:
            gevent.sleep(self._settings.gc_channels_interval_ms / 1000)
            stale = self.registry.sweep()
            if stale:
                log.error("%d ended sockets were still registered; removed", stale)

    def _report(self) -> None:
        while True:
            self.metrics.connections_now(len(self.registry))
            gevent.sleep(REPORT_INTERVAL)

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
        fanout = Fanout(self.registry, self.history, self.metrics, self._catch_up.on_progress)
        block = settings.redis_stream_read_block_ms
        page_bytes = PAGE * (TYPICAL_EVENT_BYTES + ENTRY_OVERHEAD_BYTES)
        return StreamFollower(
            connect(settings.redis, read_timeout=block / 1000 + READ_MARGIN),
            settings.redis_stream_prefix + "full",
            count=settings.redis_stream_read_count,
            block_ms=block,
            on_start=fanout.start,
            on_entries=fanout.deliver,
            history_pages=-(-settings.history_bytes // page_bytes),
        )
