# SPDX-License-Identifier: Apache-2.0
"""Whether the server that answers is the one that was started."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from wsgi_ws.demo.cleaner import Cleaner
from wsgi_ws.demo.processes import DemoError, Gunicorn


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Of another server, whose health check answers."""
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_another_server_on_the_port_is_not_taken_for_ours(taken_port: int) -> None:
    cleaner = Cleaner()
    environment = os.environ | {"JWT_SECRET": "s" * 32, "REDIS_PORT": "1"}
    server = Gunicorn(environment, taken_port, cleaner)
    try:
        with pytest.raises(DemoError, match="ended with exit code 1 while starting"):
            server.wait_for_health(threading.Event())
    finally:
        server.close()
        cleaner.close()
