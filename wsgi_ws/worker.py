# SPDX-License-Identifier: Apache-2.0
"""gunicorn's worker for this service: starts it, and stops it when gunicorn says so.

This, `wsgi.py` and `gunicorn.conf.py` are all that knows gunicorn.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

from wsgi_ws.config import Settings

BOOT_ERROR = 3  # gunicorn's exit code for a worker whose replacement would fail alike


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # the package has no types
    """A worker process: its own sockets, its own reading of the whole stream."""

    settings: Settings | None = None  # set by gunicorn.conf.py after the fork
    _failed = False

    def run(self) -> None:
        """Serve until told to stop. Called by gunicorn in the forked process."""
        if self.settings is None:
            self.log.error("start gunicorn with -c gunicorn.conf.py: it has the settings")
            sys.exit(BOOT_ERROR)
        # Imported here: the master loads this module too, and redis and PyJWT must not come before
        # gevent's patch, which happens in the worker.
        from wsgi_ws.handshake import UpgradeHandler
        from wsgi_ws.service import Service

        service = Service(self.settings, str(self.age))
        self.wsgi_handler = functools.partial(
            UpgradeHandler, service.admission, service.on_open, service.on_refused
        )
        service.start(self._on_failure)
        super().run()  # returns when no request is being served any more
        service.stop()
        if self._failed:
            sys.exit(1)

    def _on_failure(self, name: str, error: BaseException | None) -> None:
        self.log.error("%s died (%r): this worker ends and is replaced", name, error)
        self._failed = True
        self.alive = False

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop accepting, then close the sockets."""
        self.alive = False
