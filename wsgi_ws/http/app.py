# SPDX-License-Identifier: Apache-2.0
"""The plain HTTP side: health, readiness, and 404 for everything else that is not an upgrade.

Knows nothing of sockets, Redis or gunicorn: it runs under Flask's test client alone. WebSocket
requests never get here, the handshake takes them out before the WSGI application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from wsgi_ws.addresses import is_loopback, is_loopback_address
from wsgi_ws.http import paths

# Key of `app.config`: a function that says why the worker is not ready, or None when it is.
UNREADINESS = "WSGI_WS_UNREADINESS"
# Likewise: a function that returns the metrics, as content type and text; None: there are none.
METRICS = "WSGI_WS_METRICS"
# Key of the WSGI environ, set at the listener that is there for Prometheus.
METRICS_LISTENER = "wsgi_ws.metrics_listener"


def create_app() -> Flask:
    """The WSGI application.

    `/health` says that the process lives, as in the seed; `/ready` that events reach its sockets;
    `/metrics` is for Prometheus, at its own listener or from this machine.
    """
    app = Flask(__name__, static_folder=None)
    app.config[UNREADINESS] = lambda: "no worker is running"
    app.config[METRICS] = None

    @app.get(paths.HEALTH, provide_automatic_options=False)
    def health() -> Response:
        return _text("OK")

    @app.get(paths.READY, provide_automatic_options=False)
    def ready() -> Response:
        reason = app.config[UNREADINESS]()
        return _text(f"not ready: {reason}", 503) if reason else _text("OK")

    @app.get(paths.METRICS, provide_automatic_options=False)
    def metrics() -> Response:
        if app.config[METRICS] is None or not _may_see_metrics(request.environ):
            abort(404)
        content_type, text = app.config[METRICS]()
        return Response(text, content_type=content_type)

    @app.errorhandler(HTTPException)
    def not_found(error: HTTPException) -> Response:
        if error.code is not None and error.code >= 500:
            return _text("Internal Server Error", error.code)
        return _text("Not Found", 404)

    return app


def _may_see_metrics(environ: Mapping[str, Any]) -> bool:
    """Whether it is Prometheus's own listener, or somebody on this machine who is no proxy."""
    if METRICS_LISTENER in environ:
        return True
    forwarded = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")
    return (
        is_loopback_address(environ.get("REMOTE_ADDR", ""))  # empty: a proxy at a Unix socket
        and not any(name.startswith(forwarded) for name in environ)
        # A proxy that sends nothing of the kind usually passes on the name that it was asked for.
        and _names_this_machine(environ.get("HTTP_HOST", "localhost"))
    )


def _names_this_machine(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)


def _text(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="text/plain; charset=utf-8")
