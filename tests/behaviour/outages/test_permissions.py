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


# --- a user who may not use one of the transports ------------------------------------------------


def test_a_user_who_may_use_neither_is_told_of_both_and_of_outages(
    start_server: StartServer, start_redis: Callable[..., RedisServer]
) -> None:
    own_redis = start_redis()
    set_user(own_redis, "nobody", "~other", "+ping")
    environ = {"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": PASSWORD, "TRANSPORTS": "auto"}
    server = start_server(redis_port=own_redis.port, environ=environ, wait=False)
    for transport in ("streams", "realtime"):
        await_line(server, f"Redis can't be read for {transport} (")
    assert ready(server)[1].count("ACL SETUSER nobody") == 2
    own_redis.stop()
    for transport in ("streams", "realtime"):
        await_line(server, f"Redis still can't be read for {transport} (Error 111")
    assert "ACL SETUSER" not in ready(server)[1]


def await_line(server: Server, line: str) -> None:
    eventually(lambda: line in server.log_text(), f"the log says: {line}")


def rules_in(server: Server, line: str, user: str) -> str:
    """The words of ACL SETUSER in the first line of the log that begins so."""
    await_line(server, line)
    end = server.log_text().partition(line)[2].partition("\n")[0]
    rules = end.partition(f"ACL SETUSER {user} ")[2]
    return rules.partition(";")[0].partition(",")[0]


@pytest.mark.parametrize(
    ("transports", "line"),
    [
        ("auto", "the transport realtime is switched off"),
        ("both", "Redis can't be read for realtime"),
        ("realtime", "Redis can't be read for realtime"),
    ],
)
def test_a_channel_that_is_forbidden_is_permitted_by_the_command_in_the_log(
    transports: str, line: str, start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    user = f"user-{prefix}"
    set_user(redis_server, user, f"~{prefix}*", ALL)
    environ = {"REDIS_USERNAME": user, "REDIS_PASSWORD": PASSWORD, "TRANSPORTS": transports}
    server = start_server(environ=environ | {"REALTIME_CHANNEL_PREFIX": prefix}, wait=False)
    rules = rules_in(server, line, user)
    assert f"&{prefix}realtime" in rules
    redis_server.client.execute_command("ACL", "SETUSER", user, *rules.split())
    subscribed = f"subscribed to channel {prefix}realtime"
    eventually(lambda: subscribed in server.log_text(), "it is subscribed")


@pytest.mark.parametrize(
    ("transports", "line"),
    [
        ("auto", "the transport streams is switched off"),
        ("streams", "Redis can't be read for streams"),
    ],
)
def test_streams_that_are_forbidden_are_permitted_by_the_command_in_the_log(
    transports: str, line: str, start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    user = f"user-{prefix}"
    channel = f"&{prefix}realtime"
    set_user(redis_server, user, "~other", "+subscribe +ping")
    redis_server.client.execute_command("ACL", "SETUSER", user, channel)
    environ = {"REDIS_USERNAME": user, "REDIS_PASSWORD": PASSWORD, "TRANSPORTS": transports}
    server = start_server(environ=environ | {"REALTIME_CHANNEL_PREFIX": prefix}, wait=False)
    rules = rules_in(server, line, user)
    assert "does not tell its time" not in server.log_text()
    redis_server.client.execute_command("ACL", "SETUSER", user, *rules.split())
    eventually(lambda: f"following stream {prefix}full" in server.log_text(), "it follows")
