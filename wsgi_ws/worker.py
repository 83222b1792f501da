# SPDX-License-Identifier: Apache-2.0
"""gunicorn's worker for this service: starts it, and stops it when gunicorn says so.

This, `wsgi.py` and `gunicorn.conf.py` are all that knows gunicorn.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import gevent
from gevent.event import Event
from gevent.pool import Pool
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.http.wsgi import base_environ

from wsgi_ws.config import Settings

if TYPE_CHECKING:
    from wsgi_ws.service import Service

BOOT_ERROR = 3  # gunicorn's exit code for a worker whose replacement would fail alike
WATCH_INTERVAL = 1.0  # seconds between two signs of life to the master


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # the package has no types
    """A worker process: its own sockets, its own reading of the whole stream."""

    settings: Settings | None = None  # set by gunicorn.conf.py after the fork
    _failed = False

    def run(self) -> None:
        """Serve until told to stop. Called by gunicorn in the forked process, patched by then.

        gevent's own loop, which this replaces, looks for the end once a second and waits for every
        open connection.
        """
        if self.settings is None:
            self._refuse("start gunicorn with -c gunicorn.conf.py: it has the settings")
        if self.cfg.is_ssl:
            self._refuse("certfile and keyfile are not supported: let the proxy in front do TLS")
        # Imported here: the master loads this module too, and redis and PyJWT must not come before
        # gevent's patch, which happens in the worker.
        from wsgi_ws.service import Service

        self._wake = Event()
        service = Service(self.settings, str(self.age))
        service.start(self._on_failure)
        servers = [self._listen(sock, service) for sock in self.sockets]
        while self.alive:
            self.notify()
            self._wake.wait(WATCH_INTERVAL)
        for server in servers:
            server.close()
        service.stop()
        self._await_requests(servers)
        if self._failed:
            sys.exit(1)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: the graceful stop."""
        self.alive = False
        # Not set here: a signal handler may run anywhere, also in the middle of the loop's work.
        gevent.get_hub().loop.run_callback_threadsafe(self._wake.set)

    def _listen(self, sock: Any, service: Service) -> Any:
        """Accept connections on one of gunicorn's listening sockets."""
        from wsgi_ws.handshake import UpgradeHandler

        sock.setblocking(True)
        server = self.server_class(
            sock,
            application=self.wsgi,
            spawn=Pool(self.worker_connections),
            log=self.log,
            handler_class=functools.partial(UpgradeHandler, service),
            environ=base_environ(self.cfg) | {"wsgi.multithread": True},
        )
        server.start()
        return server

    def _await_requests(self, servers: list[Any]) -> None:
        """Let plain requests and handshakes under way finish, as long as gunicorn allows."""
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(len(server.pool) for server in servers) and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)

    def _on_failure(self, name: str, error: BaseException | None) -> None:
        self.log.error("%s died (%r): this worker ends and is replaced", name, error)
        self._failed = True
        self.alive = False
        self._wake.set()

    def _refuse(self, remedy: str) -> NoReturn:
        self.log.error("the service does not start: %s", remedy)
        sys.exit(BOOT_ERROR)
