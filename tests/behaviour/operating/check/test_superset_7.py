# SPDX-License-Identifier: Apache-2.0
"""Real superset_config.py files of Superset 7, and of an upgrade: each mistake has its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.check import (
    BACKEND,
    COORDINATION,
    PUBLIC_SECRET,
    URL,
    StartRedis,
    SupersetConfig,
    assert_named,
    backend,
    sentences,
)
from testbed.servers import SECRET
from wsgi_ws.cli.checks.report import as_json
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_a_right_set_up_is_green(environ: dict[str, str], superset7: SupersetConfig) -> None:
    report = check_all(environ, CheckOptions(superset=superset7.write()))
    assert sentences(report) == ""
    assert_named(
        report, Level.GREEN, "equal on both sides", "jwtSecret", "realtimeChannelPrefix", "redis"
    )
    assert_named(report, Level.GREEN, "WEBSOCKET_ENABLE is on", "can_read on Realtime")


WRONG: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "no Redis to publish to": (
        {COORDINATION: None},
        (
            "DISTRIBUTED_COORDINATION_CONFIG is not set (Superset's default), so Superset 7 "
            "publishes nothing and logs nothing: browsers connect, and nothing ever arrives",
        ),
    ),
    "None in place of a Redis": (
        {COORDINATION: "None"},
        ("DISTRIBUTED_COORDINATION_CONFIG is not set (superset_config.py line 5)",),
    ),
    "a cache that can't publish": (
        {COORDINATION: '{"CACHE_TYPE": "FileSystemCache"}'},
        (f"{COORDINATION} (superset_config.py line 5) has CACHE_TYPE 'FileSystemCache'",),
    ),
    "another prefix there": (
        {"REALTIME_CHANNEL_PREFIX": '"tenant-a:"'},
        (
            "realtimeChannelPrefix is empty (from the default), but tenant-a: in Superset "
            "(REALTIME_CHANNEL_PREFIX, superset_config.py line 6): messages would be published to "
            "a channel that nobody follows: every page connects, and nothing ever arrives",
            "REALTIME_CHANNEL_PREFIX to tenant-a:",
        ),
    ),
    "switched off": (
        {"WEBSOCKET_ENABLE": None},
        ("WEBSOCKET_ENABLE is False (Superset's default)", "sets no cookie"),
    ),
    "another secret": (
        {"WEBSOCKET_JWT_SECRET": repr("z" * 40)},
        (
            "jwtSecret (from environment variable JWT_SECRET) differs from WEBSOCKET_JWT_SECRET",
            "line 4",
        ),
    ),
    "no secret": (
        {"WEBSOCKET_JWT_SECRET": None},
        ("WEBSOCKET_JWT_SECRET (Superset's default) is a public placeholder",),
    ),
    "the placeholder": (
        {"WEBSOCKET_JWT_SECRET": '"CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET"'},
        ("WEBSOCKET_JWT_SECRET (superset_config.py line 4) is a public placeholder",),
    ),
    "a short secret": (
        {"WEBSOCKET_JWT_SECRET": '"short"'},
        ("WEBSOCKET_JWT_SECRET (superset_config.py line 4) has 5 characters",),
    ),
    "another cookie": (
        {"WEBSOCKET_JWT_COOKIE_NAME": '"ws-token"'},
        ("jwtCookieName is async-token", "but ws-token in Superset (WEBSOCKET_JWT_COOKIE_NAME"),
    ),
    "another password of Redis": (
        {COORDINATION: '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_PASSWORD": "of-superset"}'},
        ("redis.password (from the default) differs",),
    ),
    "a life of no length": (
        {"WEBSOCKET_JWT_EXPIRATION_SECONDS": "0"},
        ("WEBSOCKET_JWT_EXPIRATION_SECONDS is 0 (superset_config.py line", "browser is refused"),
    ),
    "a life that is no number": (
        {"WEBSOCKET_JWT_EXPIRATION_SECONDS": '"900"'},
        ("WEBSOCKET_JWT_EXPIRATION_SECONDS is '900'", "can't sign a token"),
    ),
    "results without a cache": (
        {"DATA_CACHE_CONFIG": None},
        ("DATA_CACHE_CONFIG (Superset's default) is no cache that",),
    ),
    "a Secure cookie over ws": (
        {"WEBSOCKET_JWT_COOKIE_SECURE": "True"},
        ("WEBSOCKET_JWT_COOKIE_SECURE is True", "not to ws://bi.example.org/ws"),
    ),
    "SameSite None without Secure": (
        {"WEBSOCKET_JWT_COOKIE_SAMESITE": '"None"'},
        ('WEBSOCKET_JWT_COOKIE_SAMESITE is "None"', "unless it is Secure"),
    ),
    "a foreign cookie domain": (
        {"WEBSOCKET_JWT_COOKIE_DOMAIN": '"example.com"'},
        ("WEBSOCKET_JWT_COOKIE_DOMAIN is example.com",),
    ),
    "ws on a page of https": (
        {"SESSION_COOKIE_SECURE": "True"},
        ("WEBSOCKET_URL is ws://bi.example.org/ws", "browsers refuse ws:// on a page of https"),
    ),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake(
    environ: dict[str, str],
    superset7: SupersetConfig,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = check_all(environ, CheckOptions(superset=superset7.write(**changed)))
    assert_named(report, Level.RED, *words)


def test_a_token_with_a_short_life(environ: dict[str, str], superset7: SupersetConfig) -> None:
    path = superset7.write(WEBSOCKET_JWT_EXPIRATION_SECONDS="60")
    report = check_all(environ, CheckOptions(superset=path))
    words = ("WEBSOCKET_JWT_EXPIRATION_SECONDS is 60", "each 36 s", "closed with 1008 before")
    assert_named(report, Level.YELLOW, *words)


def test_a_token_with_a_life_of_some_minutes(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    path = superset7.write(WEBSOCKET_JWT_EXPIRATION_SECONDS="300")
    assert sentences(check_all(environ, CheckOptions(superset=path))) == ""


def test_a_prefix_of_here_only(environ: dict[str, str], superset7: SupersetConfig) -> None:
    path = superset7.write(REALTIME_CHANNEL_PREFIX=None)
    report = check_all(environ | {"REALTIME_CHANNEL_PREFIX": "a:"}, CheckOptions(superset=path))
    assert_named(
        report,
        Level.RED,
        "realtimeChannelPrefix is a: (from environment variable REALTIME_CHANNEL_PREFIX), but "
        "empty in Superset",
    )


def test_two_servers_of_redis(
    environ: dict[str, str], superset7: SupersetConfig, own_redis: StartRedis
) -> None:
    other = own_redis()
    path = superset7.write(**{COORDINATION: backend(environ | {"REDIS_PORT": str(other.port)})})
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(
        report,
        Level.RED,
        f"but 127.0.0.1:{other.port} in Superset ({COORDINATION}",
        "messages would be published in a Redis where nobody follows: nothing ever arrives",
    )


def test_two_servers_at_one_host_differ_in_their_port(
    environ: dict[str, str], superset7: SupersetConfig, own_redis: StartRedis
) -> None:
    other = own_redis()
    path = superset7.write(**{COORDINATION: backend(environ | {"REDIS_PORT": str(other.port)})})
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(
        report,
        Level.RED,
        f"Redis is 127.0.0.1:{environ['REDIS_PORT']} here (redis.port from environment variable "
        f"REDIS_PORT), but 127.0.0.1:{other.port} in Superset "
        f'({COORDINATION}["CACHE_REDIS_PORT"], superset_config.py line 5)',
        f"set REDIS_PORT={other.port} here",
    )
    assert "redis.host" not in sentences(report, Level.RED)


def test_another_database_of_messages_is_no_mistake(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    path = superset7.write(**{COORDINATION: backend(environ, DB=7)})
    assert sentences(check_all(environ, CheckOptions(superset=path))) == ""


def test_without_the_flag_only_charts_go_without_messages(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    report = check_all(environ, CheckOptions(superset=superset7.write(FEATURE_FLAGS=None)))
    assert_named(report, Level.YELLOW, "is off in FEATURE_FLAGS", "no chart waits for a message")
    assert sentences(report, Level.RED) == ""


@pytest.mark.parametrize("url", ['"/ws"', '"http://bi.example.org/ws"'])
def test_pages_of_superset_7_make_a_sockets_url_of_more_than_one_form(
    environ: dict[str, str], superset7: SupersetConfig, url: str
) -> None:
    path = superset7.write(WEBSOCKET_URL=url)
    assert sentences(check_all(environ, CheckOptions(superset=path))) == ""


def test_a_path_is_on_the_pages_own_host(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    path = superset7.write(WEBSOCKET_URL='"/ws"', WEBSOCKET_JWT_COOKIE_SECURE="True")
    options = CheckOptions(superset=path, page="https://bi.example.org/superset/welcome/")
    assert sentences(check_all(environ, options)) == ""


def test_a_policy_that_forbids_another_port(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    path = superset7.write(WEBSOCKET_URL='"ws://bi.example.org:8080/"')
    options = CheckOptions(superset=path, page="http://bi.example.org/")
    report = check_all(environ | {"PORT": "8080"}, options)
    assert_named(report, Level.RED, "Content Security Policy", "ws://bi.example.org:8080")


# --- what this server follows --------------------------------------------------------------------


def test_a_server_that_does_not_follow_superset_7(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    report = check_all(
        environ | {"TRANSPORTS": "streams"}, CheckOptions(superset=superset7.write())
    )
    assert_named(
        report,
        Level.RED,
        "transports is streams (from environment variable TRANSPORTS), so nothing of Superset 7 is "
        "followed, whose transport is realtime",
        "set TRANSPORTS=realtime",
    )


def test_a_server_that_does_not_follow_superset_6_1(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    report = check_all(
        environ | {"TRANSPORTS": "realtime"}, CheckOptions(superset=superset.write())
    )
    assert_named(report, Level.RED, "nothing of Superset up to 6.1 is followed")


# --- both generations in one file ----------------------------------------------------------------


@pytest.fixture
def both(tmp_path: Path, superset: SupersetConfig, superset7: SupersetConfig) -> SupersetConfig:
    return SupersetConfig(tmp_path, superset.lines | superset7.lines)


REMAINS = "no effect in Superset 7"


def test_an_upgrade_with_one_secret_and_one_redis(
    environ: dict[str, str], both: SupersetConfig
) -> None:
    report = check_all(environ, CheckOptions(superset=both.write()))
    assert_named(
        report,
        Level.YELLOW,
        "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND (superset_config.py line 2) and 4 other settings like "
        "it have no effect in Superset 7: remove what is old",
    )
    assert [f for f in report.findings if f.level and REMAINS not in f.sentence] == []


def test_settings_that_an_upgrade_has_left_behind(
    environ: dict[str, str], superset7: SupersetConfig
) -> None:
    path = superset7.write(
        WEBSOCKET_URL=None, GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME='"x"', **{URL: '"ws://b.example/"'}
    )
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(
        report,
        Level.YELLOW,
        "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME (superset_config.py line 8) and 1 other setting like "
        "it have no effect in Superset 7: write WEBSOCKET_JWT_COOKIE_NAME, WEBSOCKET_URL too",
    )
    assert "GLOBAL_ASYNC_QUERIES_TRANSPORT" not in sentences(report, *Level)


def test_two_secrets_that_are_both_here(environ: dict[str, str], both: SupersetConfig) -> None:
    path = both.write(WEBSOCKET_JWT_SECRET=repr(PUBLIC_SECRET))
    environ |= {"JWT_SECRET": PUBLIC_SECRET, "PREVIOUS_JWT_SECRET": SECRET}
    report = check_all(environ, CheckOptions(superset=path))
    assert [f for f in report.findings if f.level and REMAINS not in f.sentence] == []


def test_two_secrets_of_which_one_is_here(environ: dict[str, str], both: SupersetConfig) -> None:
    path = both.write(WEBSOCKET_JWT_SECRET=repr(PUBLIC_SECRET))
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(
        report,
        Level.RED,
        "is the secret of only one of Superset's two generations, and differs from "
        "WEBSOCKET_JWT_SECRET, superset_config.py line",
        "PREVIOUS_JWT_SECRET to the same value",
    )
    assert PUBLIC_SECRET not in as_json(report)


@pytest.mark.parametrize(
    "secret", [None, '"CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET"', '"short"'], ids=str
)
def test_a_secret_that_must_be_changed_is_not_to_be_copied(
    environ: dict[str, str], both: SupersetConfig, secret: str | None
) -> None:
    """It would be public, and admit whoever knows it."""
    report = check_all(environ, CheckOptions(superset=both.write(WEBSOCKET_JWT_SECRET=secret)))
    (wrong,) = (f.sentence for f in report.findings if f.level is Level.RED)
    assert wrong.startswith("WEBSOCKET_JWT_SECRET (")
    assert wrong.endswith("set a long random one on both sides")


def test_settings_of_superset_6_1_that_nobody_follows_any_more_are_no_mistake(
    environ: dict[str, str], both: SupersetConfig
) -> None:
    environ |= {"TRANSPORTS": "realtime", "JWT_SECRET": PUBLIC_SECRET}
    path = both.write(WEBSOCKET_JWT_SECRET=repr(PUBLIC_SECRET))
    report = check_all(environ, CheckOptions(superset=path))
    assert_named(report, Level.YELLOW, "nothing of Superset up to 6.1 is followed")
    assert sentences(report, Level.RED) == ""


def test_two_servers_of_redis_of_which_one_is_followed(
    environ: dict[str, str], both: SupersetConfig, own_redis: StartRedis
) -> None:
    other = own_redis()
    path = both.write(**{COORDINATION: backend(environ | {"REDIS_PORT": str(other.port)})})
    report = check_all(environ | {"WSGI_WS_SUPERSET_CONFIG": path}, CheckOptions())
    assert_named(report, Level.YELLOW, "Superset's events go to", BACKEND, COORDINATION)
    assert_named(report, Level.RED, f"but 127.0.0.1:{other.port} in Superset ({COORDINATION}")
