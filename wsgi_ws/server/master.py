# SPDX-License-Identifier: Apache-2.0
"""What gunicorn's master knows and prepares for its workers; its methods are gunicorn's hooks.

Runs in the master, which is not patched for gevent: no import of redis, PyJWT, Flask or
prometheus-client, here or below.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import ConfigError, Loaded, load
from wsgi_ws.server import open_files
from wsgi_ws.server.metrics_directory import DIRECTORY_VARIABLE, MetricsDirectory
from wsgi_ws.server.metrics_listener import MetricsListener
from wsgi_ws.server.worker import Prepared, Worker, unsupported

log = logging.getLogger("wsgi_ws.config")


@functools.cache
def master_of_this_process() -> Master:
    """The one object of the process.

    The service's only state of a module: gunicorn runs its configuration file again at each SIGHUP
    and gives it nothing by which it could find the configuration that is in use.
    """
    return Master()


class Master:
    """The configuration in use, the metrics' directory and their listener."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._problems: tuple[str, ...] = ()  # why the configuration of the last SIGHUP is not used
        self._metrics_directory = MetricsDirectory()
        self._metrics_listener = MetricsListener()

    @property
    def loaded(self) -> Loaded:
        """The configuration in use."""
        assert self._loaded is not None, "configure comes first"
        return self._loaded

    def configure(self, environ: Mapping[str, str]) -> Settings:
        """Load the configuration, at the start and at each SIGHUP.

        A wrong one ends the process at the start, with a line for each problem. At a SIGHUP the one
        before stays in use: a slip of the pen must not end a service that runs.
        """
        try:
            self._loaded, self._problems = load(environ), ()
        except ConfigError as error:
            if self._loaded is None:
                sys.exit("\n".join(f"wsgi_ws does not start: {line}" for line in error.problems))
            self._problems = error.problems
        return self.loaded.settings

    # --- gunicorn's hooks, in the order in which they are called ----------------------------------

    def on_starting(self, server: Any) -> None:
        """Refuse what can't work, warn of what may not be meant. Logging works from here on."""
        self._stop_at(unsupported(server.cfg))
        open_files.raise_limit(self.loaded.settings.max_total_connections)
        self._stop_at(self._listen_for_metrics())
        self._warn()

    def when_ready(self, server: Any) -> None:
        """Make what must be removed again: from here on gunicorn ends the master by `on_exit`."""
        wanted = os.environ.get(DIRECTORY_VARIABLE)
        self._metrics_directory.make(wanted, server.cfg.uid, server.cfg.gid)

    def on_reload(self, server: Any) -> None:
        """After a SIGHUP, before the new workers. To exit here would end the service."""
        for problem in self._problems or filter(None, [self._listen_for_metrics()]):
            log.error("not all of the configuration is changed: %s", problem)
        self._warn()

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Let a worker's garbage collector leave alone what the master has made: memory that is not
        written to stays shared."""
        gc.freeze()

    def post_fork(self, server: Any, worker: Worker) -> None:
        """Give a worker, in its own process, what is prepared for it."""
        # gunicorn sets it after the patch only. Until then the master's handler, which a worker has
        # inherited, would lose the signal, and the worker would be left running.
        signal.signal(signal.SIGTERM, worker.handle_exit)
        self._metrics_directory.enter_worker(os.environ)
        worker.prepared = Prepared(
            self.loaded.settings, self._metrics_directory.path, self._metrics_listener.socket
        )

    def child_exit(self, server: Any, worker: Any) -> None:
        """A worker has ended, however."""
        self._metrics_directory.forget_worker(str(worker.age))

    def on_exit(self, server: Any) -> None:
        """The master ends."""
        self._metrics_listener.close()
        self._metrics_directory.remove()

    # --- their parts -----------------------------------------------------------------------------

    def _stop_at(self, problem: str | None) -> None:
        if problem:
            log.error("the service does not start: %s", problem)
            sys.exit(1)

    def _warn(self) -> None:
        for warning in self.loaded.warnings:
            log.warning("%s", warning)

    def _listen_for_metrics(self) -> str | None:
        """Returns what is wrong, and the remedy; or None."""
        host, port = self.loaded.settings.metrics_host, self.loaded.settings.metrics_port
        try:
            self._metrics_listener.listen(host, port, replacing=_replaces_another(os.environ))
        except (OSError, UnicodeError) as error:
            return (
                f"metricsHost {host} and metricsPort {port} can't be listened at ({error}): "
                "choose another port, or 0 for none"
            )
        return None


def _replaces_another(environ: Mapping[str, str]) -> bool:
    """Whether another master has started this one at a SIGUSR2 and still lives.

    gunicorn's own way of telling itself, which its documentation leaves out.
    """
    return "GUNICORN_PID" in environ
