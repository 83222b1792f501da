# SPDX-License-Identifier: Apache-2.0
"""gunicorn's worker for this service: starts it, and stops it when gunicorn says so."""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.http.wsgi import base_environ

from wsgi_ws.config.keys import Settings
from wsgi_ws.server import heap, open_files, worker_tmp

if TYPE_CHECKING:
    from wsgi_ws.http.pending_request import Endpoint
    from wsgi_ws.http.plain import PlainServer
    from wsgi_ws.service import Service

WATCH_INTERVAL = 1.0  # seconds between two signs of life to the master
# New objects until the collector looks for cycles. By default 700: the entries of one batch of
# events, which have none, would be looked through dozens of times.
COLLECTION_THRESHOLD = 20_000
# Seconds between a worker's own end and the moment at which gunicorn would kill it.
STOP_MARGIN = 0.5


def time_to_stop(settings: Settings) -> int:
    """Seconds that a worker may take from SIGTERM to its end, rounded up."""
    return math.ceil(settings.drain + settings.close_timeout + 2 * STOP_MARGIN)


def _wsgi_environ(cfg: Any) -> dict[str, Any]:
    """What a request's WSGI environ has from gunicorn, as in its own gevent worker.

    `base_environ` is not documented.
    """
    environ: dict[str, Any] = base_environ(cfg) | {"wsgi.multithread": True}
    return environ


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the master gives to a worker.

    :ivar metrics_directory: where the values of all workers are; None: they are not added up.
    :ivar metrics_listener: listens for `/metrics` alone; None: nothing does.
    """

    settings: Settings
    metrics_directory: str | None
    metrics_listener: socket.socket | None


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # the package has no types
    """A worker process: its own sockets, its own reading of the whole stream.

    From its base classes it has what gunicorn's gevent worker does around `run`: the patch, the
    signals, loading the application. gevent-websocket's part, a handler that answers 101 before a
    cookie is looked at, is inherited but not used.
    """

    prepared: Prepared  # set by the hook `post_fork`
    _failed = False
    _wake: Event | None = None

    def __init__(self, *arguments: Any) -> None:
        """Called by gunicorn's master, which an error here would end: and with it the service, when
        a disk has become read-only since the start."""
        cfg, log = arguments[-2:]
        problem = worker_tmp.problem_with(cfg.worker_tmp_dir)
        if problem:
            log.warning("%s: %s is used for new workers", problem, worker_tmp.SHARED_MEMORY)
            cfg.set("worker_tmp_dir", worker_tmp.SHARED_MEMORY)
        super().__init__(*arguments)

    def run(self) -> None:
        """Serve until told to stop. Called by gunicorn in the forked process, patched by then.

        gevent's own loop, which this replaces, looks for the end once a second and waits for every
        open connection.
        """
        if not self.alive:  # told to stop while it started
            return
        # Imported here: the master loads this module too, and redis and PyJWT must not come before
        # gevent's patch, which happens in the worker; prometheus-client not before the fork. The
        # master does without Flask.
        from wsgi_ws.http.app import METRICS, METRICS_LISTENER, UNREADINESS
        from wsgi_ws.http.pending_request import Endpoint
        from wsgi_ws.service import Service

        # Or each line asks for its thread, which gevent makes up for each new greenlet (15 µs).
        logging.logThreads = False
        wake = self._wake = Event()
        prepared = self.prepared
        plain = self._plain_server(prepared.settings)
        name = str(self.age)
        service = Service(prepared.settings, name, plain, prepared.metrics_directory)
        self.wsgi.config[UNREADINESS] = service.unreadiness
        self.wsgi.config[METRICS] = service.scrape
        service.start(self._on_failure)
        # What is there now lives as long as the process: no need to look through it ever again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECTION_THRESHOLD)
        gevent.spawn(heap.run)
        for sock in self.sockets:
            endpoint = Endpoint(takes_upgrades=True, environ={}, ceiling=open_files.ceiling())
            self._listen(sock, service, endpoint)
        if prepared.metrics_listener is not None:
            descriptor = os.dup(prepared.metrics_listener.fileno())
            own = socket.socket(fileno=descriptor)
            only_metrics = Endpoint(
                takes_upgrades=False,
                environ={METRICS_LISTENER: True},
                ceiling=open_files.ceiling(open_files.RESERVE // 2),
            )
            self._listen(own, service, only_metrics)
        while self.alive:
            self.notify()
            wake.wait(WATCH_INTERVAL)
        deadline = time.monotonic() + self.cfg.graceful_timeout - STOP_MARGIN
        self._notify_while(service.stop)
        self._await_answers(plain, deadline)
        if self._failed:
            sys.exit(1)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: the graceful stop. It may come at any time, also before `run`."""
        self.alive = False
        if self._wake is not None:
            # Not set here: a signal handler may run in the middle of the loop's work.
            gevent.get_hub().loop.run_callback_threadsafe(self._wake.set)

    def _plain_server(self, settings: Settings) -> PlainServer:
        from wsgi_ws.http.plain import PlainServer  # here, as in `run`

        return PlainServer(
            self.wsgi,
            _wsgi_environ(self.cfg),
            capacity=self.worker_connections,
            timeout=settings.handshake_timeout,
        )

    def _listen(self, sock: Any, service: Service, endpoint: Endpoint) -> None:
        is_shared = self.cfg.workers > 1
        service.listen(sock, endpoint, capacity=self.worker_connections, is_shared=is_shared)

    def _notify_while(self, job: Any) -> None:
        """Run a job that may take longer than the master's patience."""
        greenlet = gevent.spawn(job)
        while not greenlet.ready():
            self.notify()
            greenlet.join(WATCH_INTERVAL)

    def _await_answers(self, plain: PlainServer, deadline: float) -> None:
        """Let plain requests under way finish, as long as gunicorn allows."""
        while len(plain) and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)

    def _on_failure(self, name: str, error: BaseException | None) -> None:
        self._failed = True
        self.alive = False
        if self._wake is not None:
            self._wake.set()
        self.log.error("%s died (%r): this worker ends and is replaced", name, error)
