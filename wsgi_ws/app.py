# SPDX-License-Identifier: Apache-2.0
"""The plain HTTP side: health check, and 404 for everything else that is not an upgrade.

Knows nothing of sockets, Redis or gunicorn: it runs under Flask's test client alone. WebSocket
requests never get here, the handshake takes them out before the WSGI application.
"""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def create_app() -> Flask:
    """The WSGI application, with `GET` and `HEAD /health` as the seed has them."""
    app = Flask(__name__, static_folder=None)

    @app.get("/health", provide_automatic_options=False)
    def health() -> Response:
        return _text("OK")

    @app.errorhandler(HTTPException)
    def not_found(error: HTTPException) -> Response:
        if error.code is not None and error.code >= 500:
            return _text("Internal Server Error", error.code)
        return _text("Not Found", 404)

    return app


def _text(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="text/plain; charset=utf-8")
