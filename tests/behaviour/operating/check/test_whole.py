# SPDX-License-Identifier: Apache-2.0
"""The check as a whole: what is green, what one part tells the next, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.check import (
    PUBLIC_SECRET,
    StartServer,
    SupersetConfig,
    assert_named,
    at,
    command,
    sentences,
)
from testbed.servers import SECRET
from wsgi_ws.cli.checks.report import as_json
from wsgi_ws.cli.checks.url import UrlOptions
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_a_right_set_up_is_green(environ: dict[str, str], superset: SupersetConfig) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert sentences(report) == ""
    assert_named(report, Level.GREEN, "equal on both sides", "jwtSecret", "redis.db")
    assert_named(report, Level.GREEN, "-full has 1 entry")
    assert_named(report, Level.GREEN, "may do XREAD, XRANGE, XREVRANGE and TIME")


def test_every_value_is_listed_with_its_source(environ: dict[str, str]) -> None:
    values = {v.key: v for v in check_all(environ, CheckOptions()).configuration}
    assert str(values["port"].source) == "environment variable PORT"
    assert (values["redis.db"].value, values["redis.db"].is_default) == ("0", True)
    assert values["jwtSecret"].value == "(set, not shown)"


def test_no_secret_is_in_any_output(
    environ: dict[str, str], superset: SupersetConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    environ["REDIS_PASSWORD"] = "hunter2-of-here"
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_JWT_SECRET=repr("s3cret-of-superset-" * 3),
        GLOBAL_ASYNC_QUERIES_CACHE_BACKEND=(
            '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_PASSWORD": "hunter2-of-superset"}'
        ),
    )
    output = as_json(check_all(environ, CheckOptions(superset=path)))
    for secret in (SECRET, PUBLIC_SECRET, "hunter2", "s3cret-of-superset"):
        assert secret not in output


def test_the_exit_status_tells_scripts(environ: dict[str, str], tmp_path: Path) -> None:
    fine = command("check", environ=environ, directory=tmp_path)
    assert (fine.returncode, fine.stderr) == (0, "")
    bad = command("check", environ=environ | {"REDIS_PORT": "1"}, directory=tmp_path)
    assert bad.returncode == 1


def test_json_is_for_programs(environ: dict[str, str], tmp_path: Path) -> None:
    done = command("check", "--json", environ=environ, directory=tmp_path)
    document = json.loads(done.stdout)
    assert document["level"] == "green"
    assert {"key", "value", "source"} == set(document["configuration"][0])
    assert {"level", "what", "sentence"} == set(document["findings"][0])


def test_no_colours_without_a_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    assert "\x1b" not in command("check", environ=environ, directory=tmp_path).stdout


def test_a_missing_secret_does_not_hide_the_rest(environ: dict[str, str]) -> None:
    del environ["JWT_SECRET"]
    report = check_all(environ, CheckOptions())
    assert_named(report, Level.RED, "the server does not start", "jwtSecret is not set")
    assert_named(report, Level.GREEN, "answers, version")


def test_all_that_is_wrong_is_named_and_the_rest_looked_at(
    environ: dict[str, str], superset: SupersetConfig, tmp_path: Path
) -> None:
    wrong = {"jwtCookieName": 5, "metricsPort": "x"}
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    path = superset.write(GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX='"bi-"')
    url = UrlOptions(f"ws://127.0.0.1:{environ['PORT']}/")
    report = check_all(environ, CheckOptions(superset=path, url=url))
    assert_named(report, Level.RED, "the server does not start", "jwtCookieName")
    assert_named(report, Level.RED, "the server does not start", "metricsPort")
    assert_named(report, Level.GREEN, "answers, version")
    assert_named(report, Level.RED, "redisStreamPrefix", "bi-")
    assert_named(report, Level.YELLOW, "not looked at, as long as jwtCookieName can't be used")


def test_a_redis_that_nobody_means_is_not_looked_at(
    environ: dict[str, str], superset: SupersetConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"redis": {"sentinels": "x"}}))
    report = check_all(environ, CheckOptions(superset=superset.write()))
    assert_named(report, Level.YELLOW, "not looked at, as long as redis.sentinels can't be used")
    assert {f.what for f in report.findings if f.level is Level.RED} == {"configuration"}
    (shown,) = (v for v in report.configuration if v.key == "redis.sentinels")
    assert (shown.value, str(shown.source)) == ("(wrong, see below)", "config.json")


def test_a_server_that_takes_its_values_from_superset(
    environ: dict[str, str], superset: SupersetConfig, start_server: StartServer
) -> None:
    path = superset.write(GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME='"bi-token"')
    own = {"JWT_SECRET": "", "REDIS_PORT": "", "REDIS_STREAM_PREFIX": ""}
    server = start_server(environ=own | {"WSGI_WS_SUPERSET_CONFIG": path})
    here = {k: v for k, v in environ.items() if k not in own} | {"WSGI_WS_SUPERSET_CONFIG": path}
    report = check_all(here, at(server.url()))
    assert_named(report, Level.GREEN, "has reached ws://")
    assert_named(report, Level.GREEN, "equal on both sides", "jwtCookieName", "redis.port")
    assert [f.sentence for f in report.findings if f.level is Level.RED] == []
