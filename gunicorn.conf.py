# SPDX-License-Identifier: Apache-2.0
"""gunicorn's settings and hooks. gunicorn runs this file in its master, at the start and at each
SIGHUP; options on its command line win over it."""

import os

from wsgi_ws.observe.log_formats import logging_config
from wsgi_ws.server import worker_tmp
from wsgi_ws.server.master import master_of_this_process

_master = master_of_this_process()
_settings = _master.configure(os.environ)

bind = _master.bind
graceful_timeout = _master.graceful_timeout
worker_class = "wsgi_ws.server.worker.Worker"
workers = 1
# Only requests and handshakes under way count, sockets don't: they leave the pool after the 101.
worker_connections = 10_000
backlog = 4096  # a storm of reconnecting clients waits here, not in time-outs
control_socket_disable = True  # nothing here needs it, and it would clash beside Superset's own
logconfig_dict = logging_config(_settings)
worker_tmp_dir = worker_tmp.directory()

on_starting = _master.on_starting
when_ready = _master.when_ready
on_reload = _master.on_reload
pre_fork = _master.pre_fork
post_fork = _master.post_fork
child_exit = _master.child_exit
on_exit = _master.on_exit
