# SPDX-License-Identifier: Apache-2.0
"""Superset's secret is changed: tokens of the one before admit as long as the server knows it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from testbed.servers import DEADLINE, SECRET, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish, token

StartServer = Callable[..., Server]
NEW_SECRET = "the-secret-that-takes-the-place-of-the-one-of-tests"
BOTH = {"jwtSecret": NEW_SECRET, "previousJwtSecret": SECRET}


@pytest.fixture
def server(start_server: StartServer, prefix: str) -> Server:
    """It has both secrets from its file, so that a SIGHUP can change them."""
    return start_server(config=BOTH, environ={"JWT_SECRET": ""}, prefix=prefix)


def status(server: Server, header: str) -> int:
    """What a handshake with this `Cookie` is answered."""
    try:
        with connect(server.url(), additional_headers={"Cookie": header}):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize("secret", [SECRET, NEW_SECRET], ids=["before", "present"])
def test_a_tab_with_a_token_of_either_secret_gets_its_events(
    server: Server, redis_server: RedisServer, prefix: str, secret: str
) -> None:
    channel = new_channel()
    headers = {"Cookie": cookie(channel, secret)}
    with connect(server.url(), additional_headers=headers) as tab:
        _, event = publish(redis_server.client, prefix, channel)
        assert json.loads(tab.recv(DEADLINE))["job_id"] == event["job_id"]


def test_after_a_sighup_without_it_the_secret_before_is_refused(server: Server) -> None:
    assert status(server, cookie("c", SECRET)) == 101
    config_of(server).write_text(json.dumps({"jwtSecret": NEW_SECRET}))
    reload(server)
    assert status(server, cookie("c", SECRET)) == 401
    assert status(server, cookie("c", NEW_SECRET)) == 101


def test_an_expired_token_of_the_secret_before_is_logged_as_expired(server: Server) -> None:
    assert status(server, f"async-token={token('c', SECRET, exp=1)}") == 401
    eventually(lambda: "the token has expired" in server.log_text(), "the line says so")
    assert "signature" not in server.log_text()


def test_no_secret_is_logged(server: Server) -> None:
    assert status(server, cookie("c", "y" * 40)) == 401
    words = "jwtSecret and previousJwtSecret differ from GLOBAL_ASYNC_QUERIES_JWT_SECRET"
    eventually(lambda: words in server.log_text(), "the line says so")
    assert SECRET not in server.log_text()
    assert NEW_SECRET not in server.log_text()


def config_of(server: Server) -> Path:
    return server.log_path.with_name(f"config-{server.port}.json")


def reload(server: Server) -> None:
    """SIGHUP, and wait until new workers have taken over."""
    before = set(server.pids())

    def are_replaced() -> bool:
        now = set(server.pids())
        return bool(now) and not before & now

    server.process.send_signal(signal.SIGHUP)
    eventually(are_replaced, "there are other workers")
