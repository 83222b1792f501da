# SPDX-License-Identifier: Apache-2.0
"""An HTTP client: one request to a server under test, a handshake among them, and its answer."""

from __future__ import annotations

import contextlib
import http.client
from typing import Any

from testbed.servers import DEADLINE, Server
from testbed.superset import cookie, token
from testbed.wire import KEY


def ask(
    server: Server, method: str = "GET", path: str = "/", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        body = b"" if response.status == 101 else response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, body
    finally:
        connection.close()


def metrics(server: Server) -> str:
    """What Prometheus scrapes at a server's `metrics_port`."""
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        return response.read().decode()


def upgrade(**changes: str | None) -> dict[str, str]:
    """The headers of a good handshake, with some replaced or (None) removed."""
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Cookie": cookie("channel"),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def forged(**claims: Any) -> str:
    """A cookie of `upgrade`'s channel with these claims."""
    return "async-token=" + token("channel", **claims)
