# SPDX-License-Identifier: Apache-2.0
"""What the worker takes from gunicorn beyond its documentation."""

from __future__ import annotations

import warnings

from gunicorn.config import Config

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gevent-websocket's own
    from wsgi_ws.server.worker import _wsgi_environ


def test_gunicorn_gives_what_pep_3333_wants_of_a_server() -> None:
    environ = _wsgi_environ(Config())
    assert environ["wsgi.version"] == (1, 0)
    assert (environ["wsgi.multithread"], environ["wsgi.run_once"]) == (True, False)
    assert {"wsgi.errors", "wsgi.multiprocess"} <= environ.keys()
