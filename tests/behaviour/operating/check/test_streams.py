# SPDX-License-Identifier: Apache-2.0
"""Streams that are missing, elsewhere or too short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from testbed.check import (
    BACKEND,
    COORDINATION,
    StartRedis,
    SupersetConfig,
    assert_named,
    backend,
    sentences,
)
from testbed.servers import RedisServer
from testbed.superset import new_channel, publish
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_another_database_than_supersets_default(
    environ: dict[str, str], redis_server: RedisServer
) -> None:
    """Superset's Helm chart passes REDIS_DB=1 while Superset writes events to database 0."""
    report = check_all(environ | {"REDIS_DB": "1"}, CheckOptions())
    prefix = environ["REDIS_STREAM_PREFIX"]
    assert_named(
        report,
        Level.RED,
        f"no stream {prefix}full in database 1, but {prefix}full in database 0 has events",
        "set REDIS_DB=0",
        "Helm",
    )


def test_another_prefix(environ: dict[str, str], own_redis: StartRedis, tmp_path: Path) -> None:
    server = own_redis()
    publish(server.client, "bi-events-", new_channel())
    del environ["REDIS_STREAM_PREFIX"]
    (tmp_path / "config.json").write_text('{"redisStreamPrefix": "async-events-"}')
    report = check_all(environ | {"REDIS_PORT": str(server.port)}, CheckOptions())
    assert_named(
        report,
        Level.RED,
        "bi-events-full",
        'write "redisStreamPrefix": "bi-events-" in config.json',
    )


def test_no_stream_at_all(environ: dict[str, str], own_redis: StartRedis) -> None:
    report = check_all(environ | {"REDIS_PORT": str(own_redis().port)}, CheckOptions())
    assert_named(
        report,
        Level.YELLOW,
        "nor in another database",
        "normal before the first query",
        "with Superset 7, which writes none",
        "check --superset superset_config.py tells",
    )


@pytest.mark.parametrize("left_behind", [False, True])
def test_superset_7_needs_no_stream(
    environ: dict[str, str], own_redis: StartRedis, superset7: SupersetConfig, left_behind: bool
) -> None:
    """Nor those that a Superset before it has left in another database."""
    server = own_redis()
    environ["REDIS_PORT"] = str(server.port)
    superset7.lines[COORDINATION] = backend(environ)
    if left_behind:
        with redis.Redis(port=server.port, db=3) as other:
            publish(other, environ["REDIS_STREAM_PREFIX"], new_channel())
    report = check_all(environ, CheckOptions(superset=superset7.write()))
    assert_named(report, Level.GREEN, "there is no stream", "and Superset 7 writes none")
    assert sentences(report) == ""


def test_the_check_is_not_recommended_that_has_just_been_made(
    environ: dict[str, str], own_redis: StartRedis, superset: SupersetConfig
) -> None:
    environ["REDIS_PORT"] = str(own_redis().port)
    superset.lines[BACKEND] = backend(environ)
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(report, Level.YELLOW, "normal before the first query; if", "Superset writes")
    assert "--superset" not in sentences(report)
    assert "Superset 7" not in sentences(report)


def test_a_stream_that_is_alive_elsewhere(environ: dict[str, str], own_redis: StartRedis) -> None:
    """After a move to another database the old stream is still there."""
    server = own_redis()
    old: Any = {"data": '{"channel_id": "c"}'}
    server.client.xadd("async-events-full", old, id="1700000000000-0")
    other = redis.Redis(port=server.port, db=3)
    publish(other, "async-events-", new_channel())
    other.close()
    del environ["REDIS_STREAM_PREFIX"]
    report = check_all(environ | {"REDIS_PORT": str(server.port)}, CheckOptions())
    assert_named(report, Level.YELLOW, "no new events", "database 3 has events", "set redis.db")


def test_a_stream_that_forgets_too_soon(environ: dict[str, str], own_redis: StartRedis) -> None:
    server = own_redis()
    entry: Any = {"data": '{"channel_id": "c"}'}
    for _ in range(20):
        server.client.xadd("async-events-full", entry, maxlen=10, approximate=False)
    info: Any = server.client.xinfo_stream("async-events-full")
    del environ["REDIS_STREAM_PREFIX"]
    report = check_all(environ | {"REDIS_PORT": str(server.port)}, CheckOptions())
    if "entries-added" in info:
        assert_named(report, Level.YELLOW, "reaches back", "STREAM_LIMIT_FIREHOSE")
    else:  # before Redis 7 nobody can tell whether it was trimmed
        assert sentences(report) == ""


def test_the_least_permissions_do_to_find_another_database(
    environ: dict[str, str], own_redis: StartRedis
) -> None:
    """Those of docs/operations.md: neither SCAN nor INFO nor EXISTS."""
    server = own_redis()
    publish(server.client, "async-events-", new_channel())
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "resetkeys", "~async-events-*", "resetchannels"),
        *("-@all", "+xread", "+xrange", "+xrevrange", "+time", "+select"),
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = check_all(environ | changed | {"REDIS_DB": "1"}, CheckOptions())
    assert_named(report, Level.RED, "in database 1, but async-events-full in database 0 has events")
