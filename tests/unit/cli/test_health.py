# SPDX-License-Identifier: Apache-2.0
"""`wsgi-ws health`: one line and an exit status, whatever is wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from testbed.ports import free_port
from wsgi_ws.cli import health
from wsgi_ws.cli.main import cli


class Unready(BaseHTTPRequestHandler):
    """A server that lives, but has no events."""

    def do_GET(self) -> None:
        is_health = self.path == "/health"
        self.send_response(200 if is_health else 503)
        self.end_headers()
        self.wfile.write(b"OK" if is_health else b"not ready: Redis is\naway")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Unready) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ask(*arguments: str, **environ: str | None) -> Result:
    cleared = {"PORT": None, "WSGI_WS_CONFIG": None, "JWT_SECRET": None}
    return CliRunner().invoke(cli, ["health", *arguments], env=cleared | environ)


def test_a_server_that_lives_is_well(port: int) -> None:
    result = ask(PORT=str(port))
    assert (result.exit_code, result.output) == (0, "OK\n")


def test_the_port_of_the_configuration_file_is_asked(port: int, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"port": port}))
    assert ask().exit_code == 0


def test_why_it_is_not_ready_is_one_line(port: int) -> None:
    result = ask("--ready", PORT=str(port))
    assert result.exit_code == 1
    assert result.output == f"wsgi_ws: port {port}: not ready: Redis is away (HTTP 503)\n"


def test_where_nobody_answers_the_ports_source_is_named() -> None:
    port = free_port()
    result = ask(PORT=str(port))
    assert result.exit_code == 1
    assert f"nothing answers at port {port} (from environment variable PORT)" in result.output
    assert result.output.count("\n") == 1


def test_a_slip_in_the_file_says_nothing_of_a_server_that_runs(port: int, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert ask(PORT=str(port)).exit_code == 0


def test_supersets_settings_are_not_run(port: int, tmp_path: Path) -> None:
    settings = tmp_path / "superset_config.py"
    settings.write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    assert ask(PORT=str(port), WSGI_WS_SUPERSET_CONFIG=str(settings)).exit_code == 0
    assert not (tmp_path / "run").exists()


def test_a_server_that_hangs_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = ask(PORT=str(silent.getsockname()[1]))
    assert result.exit_code == 1
