# SPDX-License-Identifier: Apache-2.0
"""Entries that are no events, or hardly: a catch-up skips what live clients were not sent either.

A defect in one client's catch-up may cost that client its connection, never the worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.http_client import metrics
from testbed.ports import free_port
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel, publish

StartServer = Callable[..., Server]


def open_tab(server: Server, channel: str, last_id: str) -> ClientConnection:
    headers = {"Cookie": cookie(channel)}
    return connect(server.url(f"/?last_id={last_id}"), additional_headers=headers, max_queue=None)


def as_a_browser_reads(text: str | bytes) -> dict[str, Any]:
    """Whose numbers are floats, of any number of digits."""
    return dict(json.loads(text, parse_int=float))


def with_raw_errors(channel: str, raw: bytes) -> bytes:
    """An event whose member `errors` is this text."""
    return json.dumps(event(channel, errors="HERE")).encode().replace(b'"HERE"', raw)


POISON = {
    "invalid UTF-8": b'"\xff"',
    "a number of 5,000 digits": b"9" * 5000,
    "a fraction of 5,000 digits": b"0." + b"9" * 5000,
    "1,500 levels": b"[" * 1500 + b"]" * 1500,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "a lone surrogate": b'"\\ud800"',
    "no JSON": b"oops",
    "NaN": b"NaN",
}


@pytest.fixture(params=["default history", "no history"])
def server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    return start_server(
        environ={} if request.param == "default history" else {"HISTORY_BYTES": "0"}
    )


@pytest.mark.parametrize("raw", POISON.values(), ids=POISON)
def test_an_entry_that_can_hardly_be_read_ends_no_worker(
    raw: bytes, server: Server, redis_server: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    workers = server.pids()
    last_id, _ = publish(redis_server.client, prefix, channel, job_id="got")
    poison = with_raw_errors(channel, raw)
    for stream in (prefix + channel, prefix + "full"):
        redis_server.client.xadd(stream, {"data": poison})
    publish(redis_server.client, prefix, channel, job_id="missed")
    with open_tab(server, channel, last_id) as client:
        jobs = iter(lambda: as_a_browser_reads(client.recv(timeout=DEADLINE))["job_id"], "missed")
        assert len(list(jobs)) <= 1  # the strange one, where it can be read
    assert server.pids() == workers
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("raw", POISON.values(), ids=POISON)
def test_a_catch_up_sends_what_live_clients_were_sent(
    raw: bytes, server: Server, redis_server: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    last_id, _ = publish(redis_server.client, prefix, channel, job_id="got")
    with open_tab(server, channel, last_id) as live:
        poison = with_raw_errors(channel, raw)
        for stream in (prefix + channel, prefix + "full"):
            redis_server.client.xadd(stream, {"data": poison})
        publish(redis_server.client, prefix, channel, job_id="end")
        sent = texts_until_end(live)
    with open_tab(server, channel, last_id) as returned:
        assert texts_until_end(returned) == sent


def texts_until_end(client: ClientConnection) -> list[str]:
    texts: list[str] = []
    while not texts or '"job_id": "end"' not in texts[-1]:
        texts.append(str(client.recv(timeout=DEADLINE)))
    return texts


def test_5000_malformed_entries_are_one_line(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server()
    pipe = redis_server.client.pipeline(transaction=False)
    for _ in range(5000):
        pipe.xadd(prefix + "full", {"data": b"oops"})
    pipe.execute()
    channel = new_channel()
    publish(redis_server.client, prefix, channel, job_id="end")
    eventually(lambda: "is skipped" in server.log_text(), "the entries are seen")
    with open_tab(server, channel, "1-1") as client:
        client.recv(timeout=DEADLINE)
    assert server.log_text().count("is skipped") == 1


def test_an_entry_that_only_a_catch_up_finds_malformed_is_told_and_counted(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(environ={"METRICS_PORT": str(free_port())})
    channel = new_channel()
    last_id, _ = publish(redis_server.client, prefix, channel, job_id="got")
    poison = with_raw_errors(channel, POISON["invalid UTF-8"])
    for stream in (prefix + channel, prefix + "full"):  # while no tab is here
        redis_server.client.xadd(stream, {"data": poison})
    publish(redis_server.client, prefix, channel, job_id="end")
    with open_tab(server, channel, last_id) as returned:
        texts_until_end(returned)
    assert server.log_text().count("is skipped: data is not UTF-8") == 1
    counted = 'wsgi_ws_events_malformed_total{transport="streams"} 1.0'
    eventually(lambda: counted in metrics(server), "it is counted")
