# SPDX-License-Identifier: Apache-2.0
"""`python -m wsgi_ws send`, `tail` and `token`."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.check import command
from testbed.servers import RedisServer, Server
from testbed.superset import new_channel


def test_send_tail_and_token_work_together(
    environ: dict[str, str], server: Server, tmp_path: Path
) -> None:
    channel = new_channel()
    tail = subprocess.Popen(
        [sys.executable, "-m", "wsgi_ws", "tail", channel, "--url", server.url(), "--json"],
        env=environ | {"PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert tail.stdout
        first = ""
        while not first:  # until the socket is open, events are for nobody
            sent = command("send", channel, environ=environ, directory=tmp_path)
            assert sent.returncode == 0, sent.stderr
            os.set_blocking(tail.stdout.fileno(), False)
            first = tail.stdout.readline()
        assert json.loads(first)["channel_id"] == channel
    finally:
        tail.terminate()
        tail.wait(30)
        tail.stdout.close()  # type: ignore[union-attr]
    ids = sent.stdout.split()
    shown = command(
        *("tail", channel, "--since", "0", "--count", "1"), environ=environ, directory=tmp_path
    )
    assert channel[:8] in shown.stdout
    assert "done" in shown.stdout
    assert len(ids) == 1


@pytest.mark.parametrize("since", ["0", "1700000000000", "1700000000000-3"])
def test_tail_from_the_server_begins_where_it_is_told(
    environ: dict[str, str], server: Server, tmp_path: Path, since: str
) -> None:
    channel = new_channel()
    sent = command("send", channel, environ=environ, directory=tmp_path)
    shown = command(
        *("tail", channel, "--since", since, "--url", server.url(), "--count", "1", "--json"),
        environ=environ,
        directory=tmp_path,
    )
    assert json.loads(shown.stdout)["id"] == sent.stdout.strip(), shown.stderr


def test_send_writes_what_superset_writes(
    environ: dict[str, str], redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    done = command("send", "c", "--status", "error", environ=environ, directory=tmp_path)
    entry_id = done.stdout.strip()
    entries: Any = redis_server.client.xrange(prefix + "full", entry_id, entry_id)
    ((found, fields),) = entries
    assert found.decode() == entry_id
    assert list(fields) == [b"data"]
    assert list(json.loads(fields[b"data"])) == [
        *("channel_id", "job_id", "user_id", "status", "errors", "result_url")
    ]
    assert redis_server.client.xlen(prefix + "c") == 1


def test_a_token_opens_a_socket(environ: dict[str, str], server: Server, tmp_path: Path) -> None:
    done = command("token", "c", environ=environ, directory=tmp_path)
    name, _, token = done.stdout.strip().partition("=")
    assert name == "async-token"
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Cookie": f"async-token={token}",
    }
    connection.request("GET", "/", headers=headers)
    assert connection.getresponse().status == 101
    connection.close()


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ({"REDIS_PORT": "1"}, ("tail",)),
        ({"REDIS_PORT": "1"}, ("send", "c")),
        ({"JWT_SECRET": "short"}, ("token",)),
        ({}, ("tail", "--since", "yesterday")),
        ({}, ("tail", "c", "--since", "-", "--url", "ws://127.0.0.1:1/")),
        ({}, ("tail", "c", "--url", "ws://127.0.0.1:1/")),
        ({}, ("tail", "c", "--url", "https://bi.example.org/ws")),
        ({}, ("tail", "c", "--url", "bi.example.org:8080")),
    ],
)
def test_an_error_is_one_line(
    environ: dict[str, str], changed: dict[str, str], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = command(*arguments, environ=environ | changed, directory=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("wsgi_ws: ")
    assert len(done.stderr.splitlines()) == 1
