# SPDX-License-Identifier: Apache-2.0
"""A user of Redis that may follow the stream, but not read what catch-ups need."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from websockets.sync.client import connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]
ALL = "+xread +xrange +xrevrange +time +select"
PASSWORD = "first"


def ready(server: Server) -> tuple[int, str]:
    """Status and text of /ready."""
    try:
        with urllib.request.urlopen(server.http("/ready"), timeout=DEADLINE) as response:
            return int(response.status), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def set_user(server: RedisServer, name: str, keys: str, commands: str) -> None:
    words = ["resetkeys", keys, "resetchannels", "-@all", *commands.split()]
    server.client.execute_command("ACL", "SETUSER", name, "on", f">{PASSWORD}", *words)


@pytest.mark.parametrize(
    ("keys", "commands", "named"),
    [
        ("~{prefix}full", ALL, "XRANGE"),
        ("~{prefix}full", "+@read +select", "XRANGE"),
        ("~{prefix}*", "+xread +xrevrange +time +select", "XRANGE"),
    ],
)
def test_a_missing_permission_is_named_and_the_worker_is_not_ready(
    keys: str,
    commands: str,
    named: str,
    start_server: StartServer,
    redis_server: RedisServer,
    prefix: str,
) -> None:
    user = f"user-{prefix}"
    set_user(redis_server, user, keys.format(prefix=prefix), commands)
    server = start_server(environ={"REDIS_USERNAME": user, "REDIS_PASSWORD": PASSWORD})
    eventually(lambda: ready(server)[0] == 503, "it is not ready")
    said = f"{named} is not permitted by Redis: its user needs +{named.lower()} ~{prefix}*"
    assert said in ready(server)[1]
    assert server.log_text().count(said) == 1
    channel = new_channel()
    with connect(server.url(), additional_headers={"Cookie": cookie(channel)}) as client:
        publish(redis_server.client, prefix, channel, job_id="live")
        assert json.loads(client.recv(timeout=DEADLINE))["job_id"] == "live"
    set_user(redis_server, user, f"~{prefix}*", ALL)
    eventually(lambda: ready(server)[0] == 200, "it is ready once it may")
    assert "are complete now" in server.log_text()
