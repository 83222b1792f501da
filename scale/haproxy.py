# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy in front of several servers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.server import answers
from testbed.ports import free_port
from testbed.servers import DEADLINE, eventually

# Why each line is as it is: docs/scaling.md, "The proxy".
_CONFIGURATION = """\
global
    maxconn {connections}
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout tunnel 1h
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 503
frontend websocket
    bind 127.0.0.1:{port} backlog {connections}
    default_backend instances
backend instances
    balance leastconn
    option httpchk GET /ready
    http-check expect status 200
    default-server check inter 500ms fall 1 rise 1
"""


def executable() -> str | None:
    """HAProxy's; None where it is not installed."""
    return shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")


class Haproxy:
    """One process with one thread, on a free port."""

    def __init__(
        self, directory: Path, backends: Sequence[int], connections: int, source: str
    ) -> None:
        """
        :param backends: the servers' ports.
        :param connections: that it takes at most; each is two open files.
        :param source: the address from which it connects to the servers.
        """
        self.port = free_port()
        text = _CONFIGURATION.format(connections=connections, port=self.port)
        text += "".join(
            f"    server {port} 127.0.0.1:{port} source {source}\n" for port in backends
        )
        configuration = directory / f"haproxy-{self.port}.cfg"
        configuration.write_text(text)
        with configuration.with_suffix(".log").open("wb") as log:
            self.process = subprocess.Popen(
                [executable() or "haproxy", "-db", "-f", str(configuration)],
                stdout=log,
                stderr=log,
            )
        eventually(lambda: answers(self.port), "HAProxy accepts connections")

    def stop(self) -> None:
        """End it, and every connection through it."""
        self.process.terminate()
        self.process.wait(DEADLINE)
