# SPDX-License-Identifier: Apache-2.0
"""gunicorn's settings and hooks, for the files that gunicorn is told to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsgi_ws.observe.log_formats import logging_config
from wsgi_ws.server import worker_tmp
from wsgi_ws.server.master import master_of_this_process


def gunicorn_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """What a settings file of gunicorn defines; options on gunicorn's command line win over it.

    gunicorn runs the file in its master, at the start and at each SIGHUP. So the file calls this
    function: names that it imported would be those of the start for ever.

    :param environ: where the configuration is read from.
    :raises SystemExit: at the start, when the configuration is wrong.
    """
    master = master_of_this_process()
    settings = master.configure(environ)
    return {
        "bind": master.bind,
        "graceful_timeout": master.graceful_timeout,
        "worker_class": "wsgi_ws.server.worker.Worker",
        "workers": 1,
        # Only requests and handshakes under way count: sockets leave the pool after the 101.
        "worker_connections": 10_000,
        "backlog": 4096,  # a storm of reconnecting clients waits here, not in time-outs
        # Nothing here needs it, and it would clash beside Superset's own.
        "control_socket_disable": True,
        "logconfig_dict": logging_config(settings),
        "worker_tmp_dir": worker_tmp.directory(),
        "on_starting": master.on_starting,
        "when_ready": master.when_ready,
        "on_reload": master.on_reload,
        "pre_fork": master.pre_fork,
        "post_fork": master.post_fork,
        "child_exit": master.child_exit,
        "on_exit": master.on_exit,
    }
