# SPDX-License-Identifier: Apache-2.0
"""The log of a running server: who came and went, a summary each minute, rotation."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from testbed.http_client import ask, upgrade
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]
OBSERVED = Path(__file__).with_name("observed_conf.py")


def lines_with(server: Server, text: str, count: int = 1) -> list[str]:
    """The log's lines with a text, when there are so many."""

    def found() -> list[str]:
        lines = [line for line in server.log_text().splitlines() if text in line]
        return lines if len(lines) >= count else []

    return eventually(found, f"{count} lines with {text!r}")


def objects_with(server: Server, member: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_with(server, f'"{member}"')]


def visit(server: Server, channel: str, redis_server: RedisServer, prefix: str) -> None:
    """A tab that gets two events and goes."""
    headers = {"Cookie": cookie(channel), "X-Request-ID": "r-1", "X-Forwarded-For": "203.0.113.7"}
    with connect(server.url("/ws?last_id=&token=abc"), additional_headers=headers) as client:
        for _ in range(2):
            publish(redis_server.client, prefix, channel)
            client.recv(timeout=DEADLINE)


def test_a_visit_is_two_lines(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(environ={"TRUSTED_PROXIES": "127.0.0.1"})
    channel = new_channel()
    visit(server, channel, redis_server, prefix)
    (opened,) = lines_with(server, "handshake from")
    (closed,) = lines_with(server, "closed by")
    who = f"socket 1 of channel {channel[:8]}"
    assert re.fullmatch(
        r"\S+ INFO \[\d+\] handshake from 203\.0\.113\.7: /ws\?last_id=… 101 "
        rf"{who}, \d+\.\d ms, request r-1",
        opened,
    )
    assert re.fullmatch(
        rf"\S+ INFO \[\d+\] {who} closed by client: 1000, after \d+\.\d s and 2 events", closed
    )
    assert channel not in server.log_text()
    assert "abc" not in server.log_text()


def test_of_a_query_only_the_names_that_pages_use_are_told(start_server: StartServer) -> None:
    server = start_server()
    ask(server, path="/ws?token=abc&tab_id=a-secret", headers=upgrade(Cookie=None))
    lines_with(server, ": /ws?tab_id=… 401 no_cookie, ")
    assert "a-secret" not in server.log_text()


def test_or_two_objects(start_server: StartServer, redis_server: RedisServer, prefix: str) -> None:
    server = start_server(environ={"LOG_FORMAT": "json"})
    channel = new_channel()
    visit(server, channel, redis_server, prefix)
    (closed,) = objects_with(server, "events_sent")
    (opened,) = objects_with(server, "duration_ms")
    assert (
        opened.items()
        >= {
            "level": "info",
            "logger": "wsgi_ws.access",
            "pid": server.pids()[0],
            "address": "127.0.0.1",  # no proxy is trusted
            "path": "/ws?last_id=…",
            "status": 101,
            "channel": channel[:8],
            "socket": 1,
            "request_id": "r-1",
        }.items()
    )
    assert (
        closed.items()
        >= {
            "channel": channel[:8],
            "socket": 1,
            "code": 1000,
            "by": "client",
            "events_sent": 2,
        }.items()
    )
    for line in server.log_text().splitlines():
        assert json.loads(line)["message"]  # gunicorn's, too


def test_a_refusal_is_an_object_with_its_remedy(start_server: StartServer) -> None:
    server = start_server(environ={"LOG_FORMAT": "json"})
    ask(server, headers=upgrade(Cookie="session=1"))
    (refused,) = objects_with(server, "remedy")
    assert (refused["level"], refused["reason"]) == ("warning", "no_cookie")
    assert "cookies: session" in refused["problem"]
    assert "FEATURE_FLAGS" in refused["remedy"]


def test_missed_events_count_as_sent(
    server: Server, redis_server: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    first, _ = publish(redis_server.client, prefix, channel)
    for _ in range(3):
        publish(redis_server.client, prefix, channel)
    headers = {"Cookie": cookie(channel)}
    with connect(server.url(f"/?last_id={first}"), additional_headers=headers) as client:
        for _ in range(3):
            client.recv(timeout=DEADLINE)
    (closed,) = lines_with(server, "closed by")
    assert closed.endswith("and 3 events")


def test_debug_tells_what_happens_to_events(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(environ={"LOG_LEVEL": "debug"})
    channel = new_channel()
    first, _ = publish(redis_server.client, prefix, channel)
    for _ in range(3):
        publish(redis_server.client, prefix, channel)
    headers = {"Cookie": cookie(channel)}
    with connect(server.url(f"/?last_id={first}"), additional_headers=headers) as client:
        for _ in range(3):
            client.recv(timeout=DEADLINE)
        who = f"socket 1 of channel {channel[:8]}"
        assert lines_with(server, "missed events sent: 3")[0].count(who) == 1
        last, _ = publish(redis_server.client, prefix, channel)
        lines_with(server, f"read up to {last}: 1 event, 1 for sockets here, deliveries: 1")
    assert "Current configuration" not in server.log_text()  # gunicorn's


def test_access_lines_can_be_switched_off(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(arguments=["-c", str(OBSERVED)], environ={"ACCESS_LOG": "false"})
    visit(server, new_channel(), redis_server, prefix)
    lines_with(server, "handshakes 1 admitted")
    assert "handshake from" not in server.log_text()
    assert "closed by" not in server.log_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_summary_comes_each_interval(
    start_server: StartServer, redis_server: RedisServer, prefix: str, form: str
) -> None:
    server = start_server(arguments=["-c", str(OBSERVED)], environ={"LOG_FORMAT": form})
    lines_with(server, "0 sockets of 0 channels, lag 0.0 s", count=2)
    visit(server, new_channel(), redis_server, prefix)
    ask(server, headers=upgrade(Cookie=None))
    lines_with(server, "1 refused (no_cookie 1)")
    assert "INFO" in server.log_text() or '"info"' in server.log_text()
    if form == "json":
        summaries = objects_with(server, "events_read")
        assert sum(line["events_delivered"] for line in summaries) == 2
        assert sum(line["refused"].get("no_cookie", 0) for line in summaries) == 1


def test_a_rotated_file_is_left_at_sigusr1(start_server: StartServer, tmp_path: Path) -> None:
    file, rotated = tmp_path / "ws.log", tmp_path / "ws.log.1"
    server = start_server(workers=2, environ={"LOG_TO_FILE": "true", "LOG_FILENAME": str(file)})
    file.rename(rotated)
    os.kill(server.process.pid, signal.SIGUSR1)
    eventually(file.exists, "the file is opened again")

    def held_open() -> list[str]:
        return [
            os.readlink(path)
            for pid in [server.process.pid, *server.pids()]
            for path in Path(f"/proc/{pid}/fd").iterdir()
            if path.is_symlink()
        ]

    eventually(lambda: str(rotated) not in held_open(), "every process has left the old file")
    size = rotated.stat().st_size
    assert ask(server, headers=upgrade(Cookie=None))[0] == 401
    eventually(lambda: "no cookie named" in file.read_text(), "lines go to the new file")
    assert rotated.stat().st_size == size
    assert server.terminate() == 0
    assert "Shutting down" in file.read_text()
