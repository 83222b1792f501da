# SPDX-License-Identifier: Apache-2.0
"""The plain HTTP side: health, readiness, and 404 for everything else that is not an upgrade.

Knows nothing of sockets, Redis or gunicorn: it runs under Flask's test client alone. WebSocket
requests never get here, the handshake takes them out before the WSGI application.
"""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from wsgi_ws.addresses import is_loopback_address
from wsgi_ws.http import paths
from wsgi_ws.observe.log_limiter import LogLimiter

log = logging.getLogger(__name__)

HINT_INTERVAL = 3600.0  # seconds between two hints at where the metrics are

# Key of `app.config`: a function that says why the worker is not ready, or None when it is.
UNREADINESS = "WSGI_WS_UNREADINESS"
# Likewise: a function that returns the metrics, as content type and text; None: there are none.
METRICS = "WSGI_WS_METRICS"
# Key of the WSGI environ, set at the listener that is there for Prometheus.
METRICS_LISTENER = "wsgi_ws.metrics_listener"


def create_app() -> Flask:
    """The WSGI application.

    `/health` says that the process lives, as in the seed; `/ready` that events reach its sockets;
    `/metrics` is for Prometheus, at its own listener only: at the main port nothing tells a request
    from this machine from one that a proxy on it passes on.
    """
    app = Flask(__name__, static_folder=None)
    app.config[UNREADINESS] = lambda: "no worker is running"
    app.config[METRICS] = None
    limiter = LogLimiter(HINT_INTERVAL)

    def hint_at_listener() -> None:
        """For whoever tries it by hand; scanners of the internet try it too."""
        local = is_loopback_address(request.environ.get("REMOTE_ADDR", ""))
        if local and limiter.admit("metrics", time.monotonic()) is not None:
            log.info("/metrics is not at this port: set metricsPort (METRICS_PORT=9100)")

    @app.get(paths.HEALTH, provide_automatic_options=False)
    def health() -> Response:
        return _text("OK")

    @app.get(paths.READY, provide_automatic_options=False)
    def ready() -> Response:
        reason = app.config[UNREADINESS]()
        return _text(f"not ready: {reason}", 503) if reason else _text("OK")

    @app.get(paths.METRICS, provide_automatic_options=False)
    def metrics() -> Response:
        if METRICS_LISTENER not in request.environ:
            hint_at_listener()
            abort(404)
        if app.config[METRICS] is None:
            abort(404)
        content_type, text = app.config[METRICS]()
        return Response(text, content_type=content_type)

    @app.errorhandler(HTTPException)
    def not_found(error: HTTPException) -> Response:
        if error.code is not None and error.code >= 500:
            return _text("Internal Server Error", error.code)
        return _text("Not Found", 404)

    return app


def _text(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="text/plain; charset=utf-8")
