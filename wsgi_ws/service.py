# SPDX-License-Identifier: Apache-2.0
"""One worker's service: composes sources, hubs, clients and the way in; starts and stops them.

Everything hangs on one `Service` object made for one worker process; nothing is module-level.
"""

from __future__ import annotations

import itertools
import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
from gevent import Greenlet

from wsgi_ws.clients import Clients, Newcomer
from wsgi_ws.command import command
from wsgi_ws.config.keys import Settings
from wsgi_ws.http.acceptor import Acceptor
from wsgi_ws.http.auth.authenticator import Authenticator
from wsgi_ws.http.dispatch import Dispatcher
from wsgi_ws.http.handshake import Admission, Admitted
from wsgi_ws.http.pending_request import Endpoint
from wsgi_ws.http.plain import PlainServer
from wsgi_ws.http.refusals import REFUSALS, Refusal
from wsgi_ws.hub import Hub
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_output import lines_dropped
from wsgi_ws.observe.metrics import Metrics, Stock, TransportStock
from wsgi_ws.observe.prometheus import Prometheus
from wsgi_ws.observe.reporter import Reporter
from wsgi_ws.observe.shared_values import WorkerFile
from wsgi_ws.observe.statsd import StatsdClient
from wsgi_ws.observe.watchdog import Watchdog
from wsgi_ws.sources.realtime.resync import RATE
from wsgi_ws.sources.realtime.source import RealtimeSource
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.sources.source import Source
from wsgi_ws.sources.streams.source import StreamSource
from wsgi_ws.transport import Transport, offered
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

START_PATIENCE = 3.0  # seconds to wait for Redis before accepting sockets without it
START_STEP = 0.02  # seconds between two looks
ALIKE_INTERVAL = 60.0  # seconds between two warnings of one kind


class Lane(NamedTuple):
    """The parts of one transport: no message of it reaches a socket of another."""

    transport: Transport
    source: Source
    hub: Hub
    clients: Clients

    def jobs(self) -> Iterator[Callable[[], None]]:
        """What must run in greenlets, until killed."""
        yield from self.source.jobs()
        yield from self.clients.jobs()


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
        self.access_log = AccessLog()
        self.log_limiter = LogLimiter(ALIKE_INTERVAL)
        self._numbers = itertools.count(1)
        self._lanes = {
            transport: self._make_lane(transport) for transport in offered(settings.transports)
        }
        for one, other in itertools.permutations(self._lanes.values(), 2):
            one.source.link.other = other.source.link
        self.admission = self._make_admission()
        self._dispatcher = Dispatcher(self, plain, settings.max_header_bytes)
        self._acceptors: list[Acceptor] = []
        self._reporter = Reporter(self._metrics, self._take_stock)
        self._watchdog = Watchdog(self._metrics.loop_delay)
        self._draining = False
        self._greenlets: list[Greenlet[..., Any]] = []

    # --- life cycle ------------------------------------------------------------------------------

    def start(self, on_failure: Callable[[str, BaseException | None], None]) -> None:
        """Start the greenlets, and wait a moment for the sources so that nothing is missed.

        :param on_failure: hears of a greenlet that died; the worker must then be replaced.
        """
        for job in (
            *(job for lane in self._lanes.values() for job in lane.jobs()),
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
        deadline = time.monotonic() + START_PATIENCE
        while self._awaits_redis() and time.monotonic() < deadline:
            gevent.sleep(START_STEP)
        if self._awaits_redis():
            log.warning(
                "Redis at %s is not there yet; sockets are accepted and held; %s check tells what "
                "is wrong with it",
                describe(self._settings.redis),
                command(),
            )

    def unreadiness(self) -> str | None:
        """Why events don't reach sockets at once; None when they do."""
        if self._draining:
            return "draining"
        lanes = [lane for lane in self._lanes.values() if not lane.source.link.is_off]
        return "; ".join(filter(None, (lane.source.unreadiness() for lane in lanes))) or None

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
        end = time.monotonic() + self._settings.drain
        log.info("closing %s", counted(self._sockets(), "socket"))
        gevent.joinall([gevent.spawn(self._close, lane, end) for lane in self._lanes.values()])
        deadline = time.monotonic() + self._settings.close_timeout + 0.5
        while (self._sockets() or self._pending()) and time.monotonic() < deadline:
            if time.monotonic() >= end:
                for acceptor in self._acceptors:
                    acceptor.dismiss_silent()
            gevent.sleep(0.02)
        gevent.killall(self._greenlets)
        self._reporter.report()
        self.access_log.flush()

    def _close(self, lane: Lane, end: float) -> None:
        """Close a lane's sockets by the end of `drainMs`.

        Browsers of the realtime transport try again after one to two seconds and after three to
        five, and then they give their charts up: the sooner a server that restarts is back after
        their close, the better.

        :param end: by `time.monotonic`.
        """
        seconds = self._settings.drain
        if lane.transport is Transport.REALTIME:
            seconds = min(seconds, len(lane.hub) / RATE)
        lane.clients.close_all(end - seconds, seconds)

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

    def check_room(self, admitted: Admitted) -> None:
        """
        :raises Refusal: there is no place for one more.
        """
        self._lanes[admitted.identity.transport].clients.check_room(admitted)

    def take_over(self, sock: RawSocket, admitted: Admitted, early: bytes) -> Newcomer:
        """Take over a client that is admitted."""
        return self._lanes[admitted.identity.transport].clients.take_over(sock, admitted, early)

    # --- asked by parts --------------------------------------------------------------------------

    def why_closed(self, transport: Transport | None) -> Refusal | None:
        """What to tell whoever comes at present; None when clients are admitted.

        :param transport: None: whatever a client wants.
        """
        if self._draining:
            return Refusal("closed", "this server is stopping")
        if transport is not None:
            return self._why_closed(self._lanes[transport])
        refusals: list[Refusal] = []
        for lane in self._lanes.values():
            refusal = self._why_closed(lane)
            if refusal is None:
                return None  # usually the first lane says so
            refusals.append(refusal)
        return refusals[0]

    def _why_closed(self, lane: Lane) -> Refusal | None:
        link = lane.source.link
        if link.is_off:
            problem = (
                f"the transport {lane.transport.value} is switched off, since {link.forbidden}"
            )
            refusal = Refusal("transport_off", problem)
        elif self._settings.redis_down_policy == "refuse" and not link.connected.is_set():
            refusal = Refusal("closed", "Redis can't be read (redisDownPolicy: refuse)")
        elif reason := lane.source.closed_because():
            refusal = Refusal("closed", reason)
        else:
            return None
        refusal.transport = lane.transport
        return refusal

    def _awaits_redis(self) -> bool:
        links = [lane.source.link for lane in self._lanes.values()]
        return any(not (link.connected.is_set() or link.forbidden) for link in links)

    def _sockets(self) -> int:
        return sum(len(lane.hub) for lane in self._lanes.values())

    # --- parts -----------------------------------------------------------------------------------

    def _take_stock(self) -> Stock:
        lanes = self._lanes.values()
        stocks = [lane.clients.backlog_and_pings() for lane in lanes]
        transports = {lane.transport: self._stock_of(lane) for lane in lanes}
        return Stock(
            transports,
            backlog_bytes=sum(backlog for backlog, _ in stocks),
            pings_outstanding=sum(pinged for _, pinged in stocks),
            ready=all(
                transports[lane.transport].ready or lane.source.link.is_off for lane in lanes
            ),
            log_lines_dropped=lines_dropped(),
        )

    def _stock_of(self, lane: Lane) -> TransportStock:
        """What is off is not ready, and not behind either: nobody waits for it."""
        link = lane.source.link
        return TransportStock(
            connections=len(lane.hub),
            channels=lane.hub.channels,
            ready=link.connected.is_set() and lane.source.caught_up,
            lag=0.0 if link.is_off else lane.source.lag(),
            redis_reconnects=link.reconnects,
        )

    def _make_lane(self, transport: Transport) -> Lane:
        hub = Hub()
        make_source = StreamSource if transport is Transport.STREAMS else RealtimeSource
        own_metrics = self._metrics.of(transport)
        source: Source = make_source(self._settings, hub, own_metrics)
        clients = Clients(
            self._settings,
            hub,
            source,
            self._metrics,
            own_metrics,
            access_log=self.access_log,
            log_limiter=self.log_limiter,
            numbers=self._numbers,
            total=self._sockets,
        )
        return Lane(transport, source, hub, clients)

    def _make_admission(self) -> Admission:
        settings = self._settings
        return Admission(
            Authenticator(
                settings.jwt_secret,
                settings.jwt_algorithms,
                settings.jwt_cookie_name,
                settings.jwt_channel_id_key,
                settings.previous_jwt_secret,
                leeway=settings.jwt_leeway,
                grace=settings.jwt_grace,
                offered=tuple(self._lanes),
            ),
            settings.allowed_origins,
            settings.trusted_proxies,
        )
