# SPDX-License-Identifier: Apache-2.0
"""`python -m wsgi_ws send`, `tail` and `token`."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.check import command
from testbed.servers import RedisServer, Server, eventually
from testbed.superset import new_channel
from wsgi_ws.superset import realtime


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


# --- Superset 7 ----------------------------------------------------------------------------------


@contextmanager
def tailing(
    *arguments: str, environ: dict[str, str], directory: Path
) -> Iterator[subprocess.Popen[str]]:
    """`tail` while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wsgi_ws", "tail", *arguments],
        env=environ | {"PYTHONUNBUFFERED": "1"},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def is_subscribed(server: RedisServer, channel: str) -> bool:
    answer: Any = server.client.execute_command("PUBSUB", "NUMSUB", channel)
    return bool(answer[1])


@pytest.fixture
def tenant(environ: dict[str, str], prefix: str) -> str:
    """A channel of this test's own."""
    environ["REALTIME_CHANNEL_PREFIX"] = prefix
    return prefix


@pytest.mark.parametrize("arguments", [("--transport", "realtime"), ()])
def test_tail_shows_messages(
    environ: dict[str, str],
    redis_server: RedisServer,
    tenant: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    with tailing(*arguments, "--count", "1", environ=environ, directory=tmp_path) as process:
        eventually(lambda: is_subscribed(redis_server, f"{tenant}realtime"), "tail is subscribed")
        realtime.publish(
            redis_server.client, tenant, "task.status", "tab", {"status": "x"}, ["user:42:3"]
        )
        shown, errors = process.communicate(timeout=60)
    assert shown.split()[1:] == ["task.status", "tab", "93", "bytes", "user:42:3"]
    assert errors == ""


def test_tail_shows_events_and_messages_together(
    environ: dict[str, str], redis_server: RedisServer, tenant: str, tmp_path: Path
) -> None:
    with tailing("--json", "--count", "2", environ=environ, directory=tmp_path) as process:
        eventually(lambda: is_subscribed(redis_server, f"{tenant}realtime"), "tail is subscribed")
        command("send", "c", environ=environ, directory=tmp_path)
        command("send", "--transport", "realtime", environ=environ, directory=tmp_path)
        shown, _ = process.communicate(timeout=60)
    first, second = map(json.loads, shown.splitlines())
    assert first["channel_id"] == "c"
    assert (second["topic"], second["scope"]) == ("entity.changed", "authenticated_global")


def test_tail_shows_a_principals_messages_alone(
    environ: dict[str, str], redis_server: RedisServer, tenant: str, tmp_path: Path
) -> None:
    arguments = ("user:42", "--transport", "realtime", "--count", "1", "--json")
    with tailing(*arguments, environ=environ, directory=tmp_path) as process:
        eventually(lambda: is_subscribed(redis_server, f"{tenant}realtime"), "tail is subscribed")
        for routes in (["user:7"], ["user:42:3"]):
            realtime.publish(redis_server.client, tenant, "t", "tab", {}, routes)
        shown, _ = process.communicate(timeout=60)
    assert json.loads(shown)["routes"] == ["user:42:3"]


@pytest.fixture
def without_channels(
    environ: dict[str, str], redis_server: RedisServer, tenant: str
) -> Iterator[str]:
    """A user of Redis who may read the streams only."""
    name = f"ws-{tenant}"
    redis_server.client.execute_command(
        *("ACL", "SETUSER", name, "on", ">pw", "resetchannels", "~*", "+@all")
    )
    environ |= {"REDIS_USERNAME": name, "REDIS_PASSWORD": "pw"}
    yield name
    redis_server.client.execute_command("ACL", "DELUSER", name)


def test_tail_goes_on_without_what_redis_forbids(
    environ: dict[str, str], without_channels: str, tenant: str, tmp_path: Path
) -> None:
    with tailing("--count", "1", environ=environ, directory=tmp_path) as process:
        assert process.stderr
        line = process.stderr.readline()
        command("send", "c", environ=environ, directory=tmp_path)
        shown, _ = process.communicate(timeout=60)
    assert line == (
        f"wsgi_ws: without realtime: user {without_channels} may not SUBSCRIBE to "
        f"{tenant}realtime: allow it in Redis with ACL SETUSER {without_channels} "
        f"&{tenant}realtime +subscribe +ping\n"
    )
    assert "done" in shown


def test_a_channel_that_is_forbidden_is_one_line(
    environ: dict[str, str], without_channels: str, tenant: str, tmp_path: Path
) -> None:
    done = command("tail", "--transport", "realtime", environ=environ, directory=tmp_path)
    assert done.returncode == 1
    assert f"may not SUBSCRIBE to {tenant}realtime" in done.stderr
    sent = command("send", "--transport", "realtime", environ=environ, directory=tmp_path)
    assert f"ACL SETUSER {without_channels} &{tenant}realtime +publish" in sent.stderr


def test_send_counts_who_is_subscribed(
    environ: dict[str, str], redis_server: RedisServer, tenant: str, tmp_path: Path
) -> None:
    arguments = ("send", "user:42", "--transport", "realtime")
    nobody = command(*arguments, environ=environ, directory=tmp_path)
    assert nobody.stdout.startswith(f"nobody is subscribed to {tenant}realtime: start the server")
    with redis_server.client.pubsub() as subscription:
        subscription.subscribe(f"{tenant}realtime")
        eventually(lambda: is_subscribed(redis_server, f"{tenant}realtime"), "one is subscribed")
        somebody = command(*arguments, environ=environ, directory=tmp_path)
    assert somebody.stdout == f"1 subscriber of {tenant}realtime\n"
