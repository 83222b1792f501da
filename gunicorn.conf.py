# SPDX-License-Identifier: Apache-2.0
"""gunicorn's settings, from the service's configuration, which is validated here: in the master,
before any worker exists. Options on gunicorn's command line win over this file."""

import gc
import logging
import os
import socket
import sys
from typing import Any

from wsgi_ws.config.load import ConfigError, load
from wsgi_ws.observe.log_formats import logging_config
from wsgi_ws.server import open_files
from wsgi_ws.server.exposure import DIRECTORY_VARIABLE, Exposure
from wsgi_ws.server.worker import Worker, unsupported

_problems: tuple[str, ...] = ()
try:
    _loaded = Worker.loaded = load(os.environ)
except ConfigError as error:
    if Worker.loaded is None:
        sys.exit("\n".join(f"wsgi_ws does not start: {problem}" for problem in error.problems))
    # A SIGHUP has brought us here again: a slip of the pen must not end a service that runs.
    _problems, _loaded = error.problems, Worker.loaded

_host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
bind = f"{_host}:{_loaded.settings.port}"
worker_class = "wsgi_ws.server.worker.Worker"
workers = 1
# Only requests and handshakes under way count, sockets don't: they leave the pool after the 101.
worker_connections = 10_000
backlog = 4096  # a storm of reconnecting clients waits here, not in time-outs
control_socket_disable = True  # nothing here needs it, and it would clash beside Superset's own
logconfig_dict = logging_config(_loaded.settings)


def on_starting(server: Any) -> None:
    """Refuse what can't work, warn of what may not be meant, where gunicorn's own lines go."""
    log = logging.getLogger("wsgi_ws.config")
    problem = unsupported(server.cfg)
    if problem:
        log.error("the service does not start: %s", problem)
        sys.exit(1)
    open_files.raise_limit(_loaded.settings.max_total_connections)
    # At the arbiter, which stays when a SIGHUP loads this file again.
    server.exposure = Exposure()
    problem = _listen_for_prometheus(server.exposure)
    if problem:
        log.error("the service does not start: %s", problem)
        sys.exit(1)
    for warning in _loaded.warnings:
        log.warning("%s", warning)


def on_reload(server: Any) -> None:
    """After a SIGHUP, before the new workers; `sys.exit` would end the service here."""
    log = logging.getLogger("wsgi_ws.config")
    problems = _problems or filter(None, [_listen_for_prometheus(server.exposure)])
    for problem in problems:
        log.error("not all of the configuration is changed: %s", problem)
    for warning in _loaded.warnings:
        log.warning("%s", warning)


def _listen_for_prometheus(exposure: Exposure) -> str | None:
    """Returns what is wrong, and the remedy; or None."""
    host, port = _loaded.settings.metrics_host, _loaded.settings.metrics_port
    try:
        exposure.listen(host, port, replacing="GUNICORN_PID" in os.environ)
    except (OSError, UnicodeError) as error:
        return (
            f"metricsHost {host} and metricsPort {port} can't be listened at ({error}): "
            "choose another port, or 0 for none"
        )
    return None


def when_ready(server: Any) -> None:
    """From here on the arbiter ends by `on_exit`."""
    server.exposure.make_directory(os.environ.get(DIRECTORY_VARIABLE))


def pre_fork(server: Any, worker: Any) -> None:
    """The garbage collector of a worker leaves alone what the master has made: memory that is not
    written to stays shared."""
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Workers get what the master has prepared."""
    worker.exposure = server.exposure
    server.exposure.enter_worker(os.environ)


def child_exit(server: Any, worker: Any) -> None:
    """Called in the master when a worker has ended, however."""
    server.exposure.forget_worker(worker.pid)


def on_exit(server: Any) -> None:
    """Called in the master at its end."""
    server.exposure.close()
