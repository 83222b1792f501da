# SPDX-License-Identifier: Apache-2.0
"""gunicorn's settings, from the service's configuration, which is validated here: in the master,
once, before any worker exists. Options on gunicorn's command line win over this file."""

import logging
import os
import socket
import sys
from typing import Any

from wsgi_ws.config import ConfigError, load
from wsgi_ws.logs import logging_config

try:
    _loaded = load(os.environ)
except ConfigError as error:
    sys.exit(f"wsgi_ws does not start: {error}")

_host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
bind = f"{_host}:{_loaded.settings.port}"
worker_class = "wsgi_ws.worker.Worker"
workers = 1
# Only requests and handshakes under way count, sockets don't: they leave the pool after the 101.
worker_connections = 10_000
backlog = 4096  # a storm of reconnecting clients waits here, not in time-outs
control_socket_disable = True  # nothing here needs it, and it would clash beside Superset's own
logconfig_dict = logging_config(_loaded.settings)


def on_starting(server: Any) -> None:
    """The configuration's warnings, where gunicorn's own lines go."""
    log = logging.getLogger("wsgi_ws.config")
    for warning in _loaded.warnings:
        log.warning("%s", warning)


def post_fork(server: Any, worker: Any) -> None:
    """Workers get the settings that the master has validated."""
    worker.settings = _loaded.settings
