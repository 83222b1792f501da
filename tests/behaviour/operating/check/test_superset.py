# SPDX-License-Identifier: Apache-2.0
"""Real superset_config.py files: each mismatch is named in one sentence, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.check import (
    BACKEND,
    COOKIE,
    PUBLIC_SECRET,
    StartRedis,
    SupersetConfig,
    assert_named,
    backend,
    sentences,
)
from testbed.servers import SECRET, RedisServer
from wsgi_ws.cli.checks.report import as_json
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level

SENTINEL = (
    '{"CACHE_TYPE": "RedisSentinelCache", "CACHE_REDIS_SENTINELS": [("sentinel-1", 26379)], '
    '"CACHE_REDIS_SENTINEL_MASTER": "mymaster"}'
)


WRONG: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the flag as a variable of its own": (
        {"FEATURE_FLAGS": None, "GLOBAL_ASYNC_QUERIES": "True"},
        ("is a variable of its own (superset_config.py line", "FEATURE_FLAGS = {"),
    ),
    "the flag off": (
        {"FEATURE_FLAGS": '{"GLOBAL_ASYNC_QUERIES": False}'},
        ("is off in FEATURE_FLAGS (superset_config.py line 1)", "write True there"),
    ),
    "other flags": (
        {"FEATURE_FLAGS": '{"ALERT_REPORTS": True}'},
        (
            "is off in FEATURE_FLAGS (left out of",
            'add "GLOBAL_ASYNC_QUERIES": True to FEATURE_FLAGS',
        ),
    ),
    "no flags": ({"FEATURE_FLAGS": None}, ("is off in FEATURE_FLAGS (Superset's default)",)),
    "polling": (
        {"GLOBAL_ASYNC_QUERIES_TRANSPORT": None},
        ("TRANSPORT is 'polling' (Superset's default)", '= "ws"'),
    ),
    "another secret": (
        {"GLOBAL_ASYNC_QUERIES_JWT_SECRET": repr("z" * 40)},
        (
            "jwtSecret (from environment variable JWT_SECRET) differs from",
            "line 4",
            "JWT_SECRET",
        ),
    ),
    "a secret that Superset refuses": (
        {"GLOBAL_ASYNC_QUERIES_JWT_SECRET": None},
        ("JWT_SECRET (Superset's default) has 21 characters",),
    ),
    "another cookie": (
        {COOKIE + "NAME": '"ws-token"'},
        ("jwtCookieName is async-token", "but ws-token in Superset", "superset_config.py line 9"),
    ),
    "another prefix": (
        {"GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX": '"bi-"'},
        ("redisStreamPrefix is events-", "but bi- in Superset", "set REDIS_STREAM_PREFIX=bi-"),
    ),
    "results without a cache": (
        {"DATA_CACHE_CONFIG": None},
        ("DATA_CACHE_CONFIG (Superset's default) is no cache that", "no chart is drawn"),
    ),
    "queries without a cache": (
        {"CACHE_CONFIG": '{"CACHE_TYPE": "NullCache"}'},
        ("CACHE_CONFIG (superset_config.py line 8) is no cache that", "no chart is drawn"),
    ),
    "results in one process's memory": (
        {"DATA_CACHE_CONFIG": '{"CACHE_TYPE": "SimpleCache"}'},
        ("DATA_CACHE_CONFIG (superset_config.py line 7) is no cache that", "workers share"),
    ),
    "no Redis cache": (
        {BACKEND: '{"CACHE_TYPE": "SimpleCache"}'},
        ("has CACHE_TYPE 'SimpleCache'",),
    ),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_mismatch_with_superset(
    environ: dict[str, str],
    superset: SupersetConfig,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write(**changed)))
    assert_named(report, Level.RED, *words)


WRAPPED: dict[str, tuple[dict[str, str], str]] = {
    "secret in quotes": (
        {"JWT_SECRET": f'"{SECRET}"'},
        "jwtSecret (from environment variable JWT_SECRET) differs from "
        "GLOBAL_ASYNC_QUERIES_JWT_SECRET, superset_config.py line 4 only in the quotation marks "
        "around it: every browser would be refused for its signature; write it without here",
    ),
    "secret with a line's end": (
        {"JWT_SECRET": f"{SECRET}\n"},
        "only in the white space around it",
    ),
    "cookie name": (
        {"JWT_COOKIE_NAME": "'async-token'"},
        "jwtCookieName (from environment variable JWT_COOKIE_NAME) differs from "
        "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME, Superset's default only in the quotation marks",
    ),
    "host": (
        {"REDIS_HOST": '"localhost"'},
        "redis.host (from environment variable REDIS_HOST) differs from",
    ),
}


@pytest.mark.parametrize(("changed", "sentence"), WRAPPED.values(), ids=WRAPPED.keys())
def test_a_value_that_differs_only_in_what_is_around_it(
    environ: dict[str, str], superset: SupersetConfig, changed: dict[str, str], sentence: str
) -> None:
    report = check_all(environ | changed, CheckOptions(superset=superset.write()))
    assert_named(report, Level.RED, sentence)
    assert SECRET not in sentences(report, *Level)


def test_superset_that_signs_with_the_secret_before_is_a_rotation_under_way(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    environ |= {"JWT_SECRET": PUBLIC_SECRET, "PREVIOUS_JWT_SECRET": SECRET}
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(
        report,
        Level.YELLOW,
        "signs with previousJwtSecret (from environment variable PREVIOUS_JWT_SECRET)",
        "a rotation is under way",
        "change superset_config.py line 4",
    )
    assert "differs from" not in sentences(report, Level.RED)
    assert SECRET not in as_json(report)
    assert PUBLIC_SECRET not in as_json(report)


def test_the_side_with_the_quotation_marks_is_to_be_changed(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    written = superset.write(GLOBAL_ASYNC_QUERIES_JWT_SECRET=repr(f'"{SECRET}"'))
    report = check_all(environ, CheckOptions(superset=written))
    assert_named(report, Level.RED, "write it without in superset_config.py line 4")


DOUBTFUL: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the old setting for Redis": (
        {BACKEND: None, "GLOBAL_ASYNC_QUERIES_REDIS_CONFIG": '{"port": 1, "host": "127.0.0.1"}'},
        ("only GLOBAL_ASYNC_QUERIES_REDIS_CONFIG is set", "from 5.0 on"),
    ),
    "a URL of Redis": (
        {BACKEND: '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://redis:6379/1"}'},
        ('["CACHE_REDIS_URL"] (superset_config.py line 2) has no effect', "CACHE_REDIS_HOST"),
    ),
    "a database with Sentinel": (
        {BACKEND: SENTINEL.replace("}", ', "CACHE_REDIS_DB": 3}')},
        ('["CACHE_REDIS_DB"] is 3 (superset_config.py line 2)', "to database 0"),
    ),
    "both settings for Redis": (
        {"GLOBAL_ASYNC_QUERIES_REDIS_CONFIG": '{"port": 1}'},
        ("has no effect beside GLOBAL_ASYNC_QUERIES_CACHE_BACKEND",),
    ),
    "another name for Redis": (
        {BACKEND: '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "redis.invalid"}'},
        ("redis.invalid:6379 in Superset", "can't be told whether that is the same server"),
    ),
    "Sentinel there only": (
        {BACKEND: SENTINEL},
        ("the Sentinels sentinel-1:26379 in Superset", "redis.sentinels or REDIS_SENTINELS"),
    ),
}


@pytest.mark.parametrize(("changed", "words"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_doubt_about_superset(
    environ: dict[str, str],
    superset: SupersetConfig,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write(**changed)))
    assert_named(report, Level.YELLOW, *words)


REDIS_WRONG: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "db": ({"DB": 1}, ("redis.db is 0", "but 1 in Superset", '"CACHE_REDIS_DB"', "line 2")),
    "db as text": ({"DB": "2"}, ("redis.db is 0", "but 2 in Superset")),
    "password": (
        {"PASSWORD": "secret-of-superset"},
        ("redis.password (from the default) differs", "line 2"),
    ),
    "ssl": ({"SSL": True}, ("redis.ssl is false", "but true in Superset")),
}


@pytest.mark.parametrize(("changed", "words"), REDIS_WRONG.values(), ids=REDIS_WRONG.keys())
def test_a_mismatch_about_redis(
    environ: dict[str, str],
    superset: SupersetConfig,
    changed: dict[str, object],
    words: tuple[str, ...],
) -> None:
    path = superset.write(**{BACKEND: backend(environ, **changed)})
    assert_named(check_all(environ, CheckOptions(superset=path)), Level.RED, *words)


@pytest.mark.parametrize(
    "theirs",
    [{}, {"PASSWORD": "theirs"}, {"USER": "superset", "PASSWORD": "theirs"}],
    ids=["nobody logs in there", "the default user there", "another user there"],
)
def test_a_user_of_redis_of_the_servers_own(
    environ: dict[str, str],
    superset: SupersetConfig,
    redis_server: RedisServer,
    prefix: str,
    theirs: dict[str, object],
) -> None:
    commands = ("+xread", "+xrange", "+xrevrange", "+time", "+subscribe", "+ping")
    rules = ("on", ">word", f"~{prefix}*", "&realtime", *commands)
    redis_server.client.execute_command("ACL", "SETUSER", f"user-{prefix}", *rules)
    environ |= {"REDIS_USERNAME": f"user-{prefix}", "REDIS_PASSWORD": "word"}
    path = superset.write(**{BACKEND: backend(environ, **theirs)})
    assert sentences(check_all(environ, CheckOptions(superset=path))) == ""


def test_a_user_of_redis_of_the_servers_own_where_superset_names_sentinels(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    environ |= {"REDIS_USERNAME": "ours", "REDIS_PASSWORD": "word"}
    path = superset.write(**{BACKEND: SENTINEL})
    report = check_all(environ, CheckOptions(superset=path))
    assert "differs from" not in sentences(report)


def test_another_password_of_the_same_user_of_redis(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    environ |= {"REDIS_USERNAME": "superset", "REDIS_PASSWORD": "ours"}
    path = superset.write(**{BACKEND: backend(environ, USER="superset", PASSWORD="theirs")})
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(report, Level.RED, "redis.password (from environment variable REDIS_PASSWORD)")


def test_another_redis(
    environ: dict[str, str], superset: SupersetConfig, own_redis: StartRedis
) -> None:
    other = own_redis()
    path = superset.write(**{BACKEND: backend(environ, PORT=other.port)})
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(report, Level.RED, f"{other.port} in Superset", f"set REDIS_PORT={other.port}")


def test_one_redis_at_two_addresses(
    environ: dict[str, str],
    superset: SupersetConfig,
    own_redis: StartRedis,
    tmp_path: Path,
) -> None:
    """Asked for its run_id, not judged by its name."""
    path = tmp_path / "r.sock"
    server = own_redis("--unixsocket", str(path))
    superset_config = superset.write(**{BACKEND: backend(environ, PORT=server.port)})
    here = environ | {"REDIS_UNIX_SOCKET_PATH": str(path), "REDIS_PORT": ""}
    report = check_all(here, CheckOptions(superset=superset_config))
    assert_named(report, Level.GREEN, "equal on both sides", "redis.host")


def test_flags_that_a_later_line_drops(environ: dict[str, str], superset: SupersetConfig) -> None:
    path = superset.write()
    with superset.path.open("a") as file:
        file.write('FEATURE_FLAGS = {"ALERT_REPORTS": True}\n')
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(report, Level.RED, "line 1 has GLOBAL_ASYNC_QUERIES, but line 9 assigns")


def test_the_flag_may_come_from_the_environment(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    environ["SUPERSET_FEATURE_GLOBAL_ASYNC_QUERIES"] = "true"
    report = check_all(environ, CheckOptions(superset=superset.write(FEATURE_FLAGS=None)))
    assert_named(report, Level.GREEN, "GLOBAL_ASYNC_QUERIES is on")


def test_settings_named_by_supersets_variable(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    environ["SUPERSET_CONFIG_PATH"] = superset.write(GLOBAL_ASYNC_QUERIES_TRANSPORT='"polling"')
    assert_named(
        check_all(environ, CheckOptions(superset="env")), Level.RED, "TRANSPORT is 'polling'"
    )


def test_settings_as_a_module(
    environ: dict[str, str], superset: SupersetConfig, tmp_path: Path
) -> None:
    superset.write(GLOBAL_ASYNC_QUERIES_TRANSPORT='"polling"')
    environ["PYTHONPATH"] = str(tmp_path)
    report = check_all(environ, CheckOptions(superset="superset_config"))
    assert_named(report, Level.RED, "TRANSPORT is 'polling' (superset_config.py line 5)")


def written_without(superset: SupersetConfig, program: str) -> str:
    """The settings, behind a program that needs what is not installed here."""
    path = superset.write()
    superset.path.write_text(program + superset.path.read_text())
    return path


def test_what_is_not_installed_here_and_decides_nothing_is_no_doubt(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    program = "from not_here.schedules import crontab\nCELERY = crontab(minute=1)\n"
    path = written_without(superset, program)
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(report, Level.GREEN, "was read without not_here, which is not installed here;")
    assert_named(report, Level.GREEN, "equal on both sides", "jwtSecret")


@pytest.mark.parametrize(
    ("program", "who"),
    [
        ("import not_here\nGLOBAL_ASYNC_QUERIES_X = not_here.x\n", "not_here, which is"),
        ("import not_here\nif not_here.production():\n    X = 1\n", "not_here, which is"),
        ("import not_here\nX = 1 if not_here.mode == 'b' else 2\n", "not_here, which is"),
        ("from not_here import *\n", "not_here, which is"),
        ("import not_here, nor_here\nX = not not_here.y\n", "not_here, nor_here, which are"),
    ],
)
def test_what_is_not_installed_here_and_may_decide_is_to_be_looked_at(
    environ: dict[str, str], superset: SupersetConfig, program: str, who: str
) -> None:
    report = check_all(environ, CheckOptions(superset=written_without(superset, program)))
    assert_named(report, Level.YELLOW, f"was read without {who} not installed here", "--python")


BROKEN = {
    "a missing variable": ('import os\nX = os.environ["NOT_SET"]\n', ("line 2", "KeyError")),
    "a syntax error": ("A = 1\nB = (\n", ("SyntaxError",)),
    "an early end": ("raise SystemExit(3)\n", ("SystemExit",)),
    "a sudden end": ("import os\nos._exit(0)\n", ("ended the process",)),
}


@pytest.mark.parametrize(("program", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_settings_that_fail(
    environ: dict[str, str], superset: SupersetConfig, program: str, words: tuple[str, ...]
) -> None:
    superset.path.write_text(program)
    report = check_all(environ, CheckOptions(superset=str(superset.path)))
    assert_named(report, Level.RED, "superset_config.py", *words)


def test_settings_that_are_not_there(environ: dict[str, str]) -> None:
    report = check_all(environ, CheckOptions(superset="/nowhere/superset_config.py"))
    assert_named(report, Level.RED, "/nowhere/superset_config.py is not there")


def test_a_failure_does_not_quote_a_secret(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    superset.path.write_text('raise ValueError("bad password hunter2")\n')
    report = check_all(environ, CheckOptions(superset=str(superset.path)))
    assert_named(report, Level.RED, "line 1 fails with ValueError")
    assert "hunter2" not in sentences(report, *Level)
