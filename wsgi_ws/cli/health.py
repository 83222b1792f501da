# SPDX-License-Identifier: Apache-2.0
"""Asks a server on this machine by plain HTTP: for `health`, and for `check`.

Not urllib, which would ask the proxy that the environment may name.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from wsgi_ws.config.load import port_of
from wsgi_ws.http.paths import HEALTH, READY

TIMEOUT = 3.0  # seconds
LOOPBACK = "127.0.0.1"


class Unhealthy(Exception):
    """The server doesn't answer, or says no; the text is one line."""


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """Status and text of an answer; 0 and nothing when there is none within `TIMEOUT`."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def ask(environ: Mapping[str, str], *, ready: bool) -> str:
    """What the server at the configured port says.

    :param ready: whether events reach its sockets, instead of whether it lives.
    :raises Unhealthy: when it is not well.
    """
    port, source = port_of(environ)
    status, text = get(LOOPBACK, port, READY if ready else HEALTH)
    if status == 200:
        return text
    if status:
        raise Unhealthy(f"port {port}: {' '.join(text.split()) or 'no reason'} (HTTP {status})")
    raise Unhealthy(
        f"nothing answers at port {port} (from {source}) within {TIMEOUT:.0f} s: start the server, "
        "or set PORT to where it listens"
    )
