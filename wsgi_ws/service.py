# SPDX-License-Identifier: Apache-2.0
"""One worker's service: composes source, hub, clients and the way in; starts and stops them.

Everything hangs on one `Service` object made for one worker process; nothing is module-level.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

from wsgi_ws.clients import Clients
from wsgi_ws.config.keys import Settings
from wsgi_ws.http.acceptor import Acceptor
from wsgi_ws.http.auth import Authenticator
from wsgi_ws.http.dispatch import Dispatcher
from wsgi_ws.http.handshake import Admission
from wsgi_ws.http.pending_request import Endpoint
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import REFUSALS, Refusal
from wsgi_ws.hub import Hub
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_output import lines_dropped
from wsgi_ws.observe.metrics import Metrics, Stock
from wsgi_ws.observe.prometheus import Prometheus
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.shared_values import WorkerFile
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.observe.watchdog import Watchdog
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.sources.source import Source
from wsgi_ws.sources.streams.source import StreamSource
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

START_PATIENCE = 3.0  # seconds to wait for Redis before accepting sockets without it
ALIKE_INTERVAL = 60.0  # seconds between two warnings of one kind


class Service:
    """The parts of one worker; owner of the dispatcher."""

    def __init__(
        self,
        settings: Settings,
        worker_name: str,
        plain: PlainServer,
        metrics_directory: str | None,
    ) -> None:
        """Nothing runs or connects before `start`.

        :param worker_name: tags this worker's gauge in StatsD, and names its file of metrics.
        :param plain: answers the requests that are not handshakes.
        :param metrics_directory: where the workers' metrics meet; None: they don't.
        """
        self._settings = settings
        self._statsd = StatsdClient(settings.statsd, [f"worker:{worker_name}"])
        prometheus = Prometheus(WorkerFile(metrics_directory, worker_name))
        self.scrape = prometheus.scrape
        self._metrics = Metrics(self._statsd, prometheus, reasons=REFUSALS)
        self._hub = Hub()
        self._source: Source = StreamSource(settings, self._hub, self._metrics)
        self.access_log = AccessLog()
        self.log_limiter = LogLimiter(ALIKE_INTERVAL)
        self._clients = Clients(
            settings,
            self._hub,
            self._source,
            self._metrics,
            access_log=self.access_log,
            log_limiter=self.log_limiter,
        )
        self.admission = self._make_admission()
        self.on_open = self._clients.on_open
        self._dispatcher = Dispatcher(self, plain, settings.max_header_bytes)
        self._acceptors: list[Acceptor] = []
        self._reporter = Reporter(self._metrics, self._take_stock)
        self._watchdog = Watchdog(self._metrics.loop_delay)
        self._draining = False
        self._greenlets: list[Greenlet[..., Any]] = []

    # --- life cycle ------------------------------------------------------------------------------

    def start(self, on_failure: Callable[[str, BaseException | None], None]) -> None:
        """Start the greenlets, and wait a moment for the source so that nothing is missed.

        :param on_failure: hears of a greenlet that died; the worker must then be replaced.
        """
        for job in (
            *self._source.jobs(),
            *self._clients.jobs(),
            self._dispatcher.run,
            self._reporter.run,
            self.access_log.run,
            self._watchdog.run,
            self._statsd.run,
        ):
            greenlet = gevent.spawn(job)
            greenlet.name = job.__qualname__
            greenlet.link_exception(lambda g: on_failure(g.name, g.exception))
            self._greenlets.append(greenlet)
        if not self._source.connected.wait(START_PATIENCE):
            log.warning(
                "Redis at %s is not there yet; sockets are accepted and held",
                describe(self._settings.redis),
            )

    def unreadiness(self) -> str | None:
        """Why events don't reach sockets at once; None when they do."""
        return "draining" if self._draining else self._source.unreadiness()

    def listen(self, sock: Any, endpoint: Endpoint, *, capacity: int, is_shared: bool) -> None:
        """Accept connections on a listening socket.

        :param capacity: requests that may be pending.
        :param is_shared: whether other processes accept on it too.
        """
        acceptor = Acceptor(
            sock,
            endpoint,
            self._dispatcher.put,
            request_timeout=self._settings.handshake_timeout,
            max_head_bytes=self._settings.max_header_bytes,
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
        begin, spread = time.monotonic(), self._settings.drain
        log.info("closing %s", counted(len(self._hub), "socket"))
        self._clients.close_all(begin, spread)
        deadline = time.monotonic() + self._settings.close_timeout + 0.5
        while (len(self._hub) or self._pending()) and time.monotonic() < deadline:
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

    # --- told by the dispatcher ------------------------------------------------------------------

    def on_refused(self, refusal: Refusal) -> None:
        """A handshake was answered with an error."""
        self._metrics.upgrade_rejected(refusal.reason)

    def on_bad_request(self) -> None:
        """A request was no HTTP."""
        self._metrics.bad_request()

    # --- asked by parts --------------------------------------------------------------------------

    def closed_because(self) -> str | None:
        """Why nobody is admitted at present; None when clients are."""
        if self._draining:
            return "this server is stopping"
        if self._settings.redis_down_policy == "refuse" and not self._source.connected.is_set():
            return "Redis can't be read (redisDownPolicy: refuse)"
        return None

    def _take_stock(self) -> Stock:
        backlog, pinged = self._clients.backlog_and_pings()
        source = self._source
        return Stock(
            connections=len(self._hub),
            channels=self._hub.channels,
            backlog_bytes=backlog,
            pings_outstanding=pinged,
            ready=source.connected.is_set() and source.caught_up,
            lag=source.lag(),
            redis_reconnects=source.reconnects,
            log_lines_dropped=lines_dropped(),
        )

    def _make_admission(self) -> Admission:
        settings = self._settings
        return Admission(
            Authenticator(
                settings.jwt_secret,
                settings.jwt_algorithms,
                settings.jwt_cookie_name,
                settings.jwt_channel_id_key,
                settings.previous_jwt_secret,
            ),
            settings.allowed_origins,
            settings.trusted_proxies,
        )
