# SPDX-License-Identifier: Apache-2.0
"""Who listens on the ports of this machine."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from testbed.check import StartServer, assert_named, sentences
from testbed.ports import free_port
from testbed.servers import ROOT, RedisServer
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_another_program_on_the_port(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environ["PORT"]))):
        report = check_all(environ, CheckOptions())
    assert_named(report, Level.RED, "another program listens on port")


def test_the_node_server_on_the_port(environ: dict[str, str]) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b"OK" if known else b"Not Found")

        def log_message(self, *_: Any) -> None:
            pass

    node = http.server.ThreadingHTTPServer(("127.0.0.1", int(environ["PORT"])), Health)
    thread = threading.Thread(target=node.serve_forever, args=(0.05,))
    thread.start()
    try:
        assert_named(check_all(environ, CheckOptions()), Level.RED, "perhaps the Node server")
    finally:
        node.shutdown()
        thread.join()
        node.server_close()


def test_this_server_on_the_port(environ: dict[str, str], start_server: StartServer) -> None:
    server = start_server()
    report = check_all(environ | {"PORT": str(server.port)}, CheckOptions())
    assert_named(report, Level.GREEN, "this server answers on port", "and is ready")


def test_a_server_that_listens_at_ipv6_only(environ: dict[str, str]) -> None:
    """The server's own socket is for both families where the system has them."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::", int(environ["PORT"])), family=socket.AF_INET6):
        assert_named(
            check_all(environ, CheckOptions()), Level.RED, "another program listens on port"
        )


def test_another_program_on_the_port_for_metrics(
    environ: dict[str, str], redis_server: RedisServer
) -> None:
    report = check_all(environ | {"METRICS_PORT": str(redis_server.port)}, CheckOptions())
    assert_named(report, Level.RED, f"listens on metricsPort {redis_server.port}", "METRICS_PORT")


def test_an_address_for_metrics_that_is_not_here(environ: dict[str, str]) -> None:
    changed = {"METRICS_PORT": str(free_port()), "METRICS_HOST": "192.0.2.1"}
    assert_named(
        check_all(environ | changed, CheckOptions()), Level.RED, "can't be used (EADDRNOTAVAIL)"
    )
    changed["METRICS_HOST"] = "metrics.invalid"
    assert_named(
        check_all(environ | changed, CheckOptions()),
        Level.RED,
        "metrics.invalid can't be looked up",
    )


def test_metrics_that_nobody_collects(environ: dict[str, str]) -> None:
    changed = {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(free_port())}
    assert_named(check_all(environ | changed, CheckOptions()), Level.YELLOW, "metrics are lost")


def test_metrics_that_nobody_has_asked_for(environ: dict[str, str], tmp_path: Path) -> None:
    """A copy of the example has the default address too."""
    example = json.loads((ROOT / "config.example.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({"statsd": example["statsd"]}))
    assert sentences(check_all(environ, CheckOptions())) == ""
