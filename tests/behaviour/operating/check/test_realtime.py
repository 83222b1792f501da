# SPDX-License-Identifier: Apache-2.0
"""A real Redis in which the channel of Superset 7 is forbidden, silent or called otherwise."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from redis.client import PubSub

from testbed.check import StartRedis, SupersetConfig, assert_named, sentences
from testbed.servers import RedisServer, eventually
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level

STREAMS = ("~async-events-*", "+xread", "+xrange", "+xrevrange", "+time")
FORBIDDEN = (
    "user ws may not SUBSCRIBE to tenant-a:realtime: allow it in Redis with ACL SETUSER ws "
    "&tenant-a:realtime +subscribe +ping"
)


@pytest.fixture
def own(environ: dict[str, str], own_redis: StartRedis) -> RedisServer:
    """A Redis that nobody else is subscribed to."""
    server = own_redis()
    del environ["REDIS_STREAM_PREFIX"]
    environ |= {"REDIS_PORT": str(server.port), "REALTIME_CHANNEL_PREFIX": "tenant-a:"}
    return server


def user(environ: dict[str, str], server: RedisServer, *rules: str) -> None:
    """A user of Redis with these permissions alone."""
    server.client.execute_command("ACL", "SETUSER", "ws", "on", ">pw", "resetchannels", *rules)
    environ |= {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}


@pytest.fixture
def listening(environ: dict[str, str]) -> Iterator[None]:
    """Something has the server's port."""
    with socket.create_server(("", int(environ["PORT"]))):
        yield


def subscribe(server: RedisServer, channel: str) -> PubSub:
    subscription: PubSub = server.client.pubsub()
    subscription.subscribe(channel)
    eventually(lambda: _count(server, channel), "it is subscribed")
    return subscription


def _count(server: RedisServer, channel: str) -> int:
    reply: Any = server.client.execute_command("PUBSUB", "NUMSUB", channel)
    return int(reply[1])


# --- permissions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules", [("+subscribe",), ("&tenant-a:*",), ("&*", "+@all", "-subscribe")]
)
def test_a_channel_that_is_forbidden_leaves_the_streams_in_auto(
    environ: dict[str, str], own: RedisServer, rules: tuple[str, ...]
) -> None:
    user(environ, own, *STREAMS, *rules)
    report = check_all(environ, CheckOptions())
    assert_named(report, Level.YELLOW, FORBIDDEN, "until then realtime is switched off here")
    assert_named(report, Level.GREEN, "user ws may do XREAD")
    assert "redis: " not in sentences(report, Level.RED)


@pytest.mark.parametrize("transports", ["both", "realtime"])
def test_a_channel_that_is_forbidden_is_wrong_where_it_is_promised(
    environ: dict[str, str], own: RedisServer, transports: str
) -> None:
    user(environ, own, *STREAMS)
    report = check_all(environ | {"TRANSPORTS": transports}, CheckOptions())
    assert_named(report, Level.RED, FORBIDDEN)


def test_the_permissions_that_are_named_are_enough(
    environ: dict[str, str], own: RedisServer
) -> None:
    user(environ, own, "&tenant-a:realtime", "+subscribe", "+ping")
    report = check_all(environ | {"TRANSPORTS": "realtime"}, CheckOptions())
    assert_named(report, Level.GREEN, "user ws may SUBSCRIBE to tenant-a:realtime")
    assert_named(report, Level.GREEN, "user ws may not ask who is subscribed (+pubsub)")
    assert sentences(report) == ""


def test_a_user_who_may_not_ping_is_to_be_looked_at(
    environ: dict[str, str], own: RedisServer
) -> None:
    user(environ, own, "&tenant-a:realtime", "+subscribe")
    report = check_all(environ | {"TRANSPORTS": "realtime"}, CheckOptions())
    assert_named(report, Level.YELLOW, "user ws may not PING", "ACL SETUSER ws +ping")
    assert_named(report, Level.GREEN, "user ws may SUBSCRIBE to tenant-a:realtime")


def test_a_channel_that_is_forbidden_is_wrong_where_superset_publishes_to_it(
    environ: dict[str, str], own: RedisServer, superset7: SupersetConfig
) -> None:
    user(environ, own, *STREAMS)
    report = check_all(environ, CheckOptions(superset=superset7.write()))
    assert_named(report, Level.RED, FORBIDDEN, "switched off here, and Superset uses it")


def test_it_is_wrong_where_the_service_reads_the_settings_itself(
    environ: dict[str, str], own: RedisServer, superset7: SupersetConfig
) -> None:
    user(environ, own, *STREAMS)
    environ["WSGI_WS_SUPERSET_CONFIG"] = superset7.write()
    report = check_all(environ, CheckOptions())
    assert_named(report, Level.RED, FORBIDDEN, "switched off here, and Superset uses it")


def test_a_channel_that_superset_does_not_know_yet_may_be_forbidden(
    environ: dict[str, str], superset: SupersetConfig, own: RedisServer
) -> None:
    user(environ, own, *STREAMS)
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(report, Level.YELLOW, FORBIDDEN, "until then realtime is switched off here")


def test_streams_that_are_forbidden_are_wrong_where_superset_writes_them(
    environ: dict[str, str], superset: SupersetConfig, own: RedisServer
) -> None:
    user(environ, own, "&tenant-a:realtime", "+subscribe", "+ping")
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(report, Level.RED, "user ws may not do", "XREAD", "and Superset uses it")


def test_streams_that_are_forbidden_leave_the_messages_in_auto(
    environ: dict[str, str], own: RedisServer
) -> None:
    user(environ, own, "&tenant-a:realtime", "+subscribe", "+ping")
    report = check_all(environ, CheckOptions())
    assert_named(
        report, Level.YELLOW, "user ws may not do", "XREAD", "streams is switched off here"
    )
    assert "redis: " not in sentences(report, Level.RED)


def test_what_is_not_to_be_followed_needs_no_permission(
    environ: dict[str, str], own: RedisServer
) -> None:
    user(environ, own, *STREAMS)
    report = check_all(environ | {"TRANSPORTS": "streams"}, CheckOptions())
    assert "SUBSCRIBE" not in sentences(report, *Level)


def test_a_user_who_may_do_neither_is_told_both(environ: dict[str, str], own: RedisServer) -> None:
    user(environ, own)
    report = check_all(environ, CheckOptions())
    assert_named(report, Level.RED, FORBIDDEN)
    assert_named(report, Level.RED, "user ws may not do", "XREAD")


# --- subscribers ---------------------------------------------------------------------------------


def test_the_subscribers_are_counted(environ: dict[str, str], own: RedisServer) -> None:
    with subscribe(own, "tenant-a:realtime"):
        report = check_all(environ, CheckOptions())
    assert_named(report, Level.GREEN, "tenant-a:realtime has 1 subscriber")


def test_a_server_that_is_not_subscribed_loses_everything(
    environ: dict[str, str], own: RedisServer, listening: None
) -> None:
    sentence = (
        f"nobody is subscribed to tenant-a:realtime, although something listens on port "
        f"{environ['PORT']}: whatever Superset 7 publishes is lost"
    )
    assert_named(check_all(environ, CheckOptions()), Level.YELLOW, sentence)
    report = check_all(environ | {"TRANSPORTS": "realtime"}, CheckOptions())
    assert_named(report, Level.RED, sentence)


def test_superset_6_1_needs_no_subscriber(
    environ: dict[str, str], superset: SupersetConfig, own: RedisServer, listening: None
) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(
        report,
        Level.GREEN,
        "nobody is subscribed to tenant-a:realtime, and Superset up to 6.1 publishes nothing",
    )


def test_without_a_server_nobody_is_subscribed(environ: dict[str, str], own: RedisServer) -> None:
    report = check_all(environ, CheckOptions())
    assert_named(report, Level.GREEN, "tenant-a:realtime has no subscriber, as no server runs here")


def test_a_server_with_another_prefix(
    environ: dict[str, str], own: RedisServer, listening: None
) -> None:
    with subscribe(own, "tenant-b:realtime"):
        report = check_all(environ, CheckOptions())
    assert_named(
        report,
        Level.YELLOW,
        "nobody is subscribed to tenant-a:realtime, but somebody is to tenant-b:realtime: if that "
        "is this server, set REALTIME_CHANNEL_PREFIX=tenant-b: here",
    )


def test_without_a_prefix_there_may_be_one_superset_only(
    environ: dict[str, str], own: RedisServer
) -> None:
    with subscribe(own, "realtime"):
        report = check_all(environ | {"REALTIME_CHANNEL_PREFIX": ""}, CheckOptions())
    assert_named(
        report,
        Level.GREEN,
        "realtime has 1 subscriber; without a prefix it must be the only Superset 7 of this Redis",
    )
