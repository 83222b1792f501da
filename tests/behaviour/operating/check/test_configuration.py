# SPDX-License-Identifier: Apache-2.0
"""Variables and values that can not be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.check import PUBLIC_SECRET, assert_named, sentences
from testbed.servers import SECRET
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level


def test_supersets_variable_for_the_user_has_no_effect_here(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_USER": "bi", "REDIS_PASSWORD": "hunter2"}, CheckOptions())
    assert_named(report, Level.YELLOW, "REDIS_USER is Superset's variable", "REDIS_USERNAME")


def test_another_secret_in_the_file_than_in_the_environment(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    report = check_all(environ, CheckOptions())
    assert_named(
        report, Level.YELLOW, "jwtSecret in config.json differs from JWT_SECRET", "which wins"
    )


def test_quotation_marks_that_became_part_of_a_value(environ: dict[str, str]) -> None:
    report = check_all(environ | {"JWT_SECRET": f'"{SECRET}"'}, CheckOptions())
    assert_named(report, Level.YELLOW, "jwtSecret (from", "JWT_SECRET) has quotation marks around")


def test_a_secret_in_the_file_without_the_quotation_marks_of_the_environment_s(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": SECRET}))
    report = check_all(environ | {"JWT_SECRET": f"'{SECRET}'"}, CheckOptions())
    assert_named(
        report, Level.YELLOW, "differs, only in the quotation marks around it, from JWT_SECRET"
    )


def test_what_kubernetes_injects_for_a_service_named_redis(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_PORT": "tcp://10.1.2.3:6379"}, CheckOptions())
    assert_named(report, Level.YELLOW, "REDIS_PORT", "Kubernetes injects", "enableServiceLinks")


def test_supersets_variable_for_tls_has_no_effect_here(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_PROTO": "rediss"}, CheckOptions())
    assert_named(report, Level.YELLOW, "REDIS_PROTO=rediss", "set REDIS_SSL=true")


def test_pings_that_come_too_late_for_most_proxies(environ: dict[str, str]) -> None:
    report = check_all(environ | {"PING_SOCKETS_INTERVAL_MS": "90000"}, CheckOptions())
    assert_named(report, Level.YELLOW, "pingSocketsIntervalMs is 90000", "most proxies cut")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_STREAM_PREFX", "REDIS_STREAM_PREFIX"),
        ("JWT_ALGORITHM", "JWT_ALGORITHMS"),
        ("REDIS_SSL_CERT_FILE", "REDIS_SSL_CERTFILE"),
        ("redis_host", "REDIS_HOST"),
        ("WSGI_WS_CONF", "WSGI_WS_CONFIG"),
    ],
)
def test_a_variable_that_is_nearly_one_of_this_server_s(
    environ: dict[str, str], name: str, meant: str
) -> None:
    environ.pop(meant, None)
    report = check_all(environ | {name: "hunter2"}, CheckOptions())
    assert_named(report, Level.YELLOW, f"{name} in the environment has no effect: write {meant}")
    assert "hunter2" not in sentences(report)


def test_a_secret_s_file_that_nobody_reads(environ: dict[str, str]) -> None:
    report = check_all(environ | {"REDIS_PASSWORD_FILE": "/run/secrets/redis"}, CheckOptions())
    assert_named(
        report, Level.YELLOW, "REDIS_PASSWORD_FILE in the environment", "put its content into"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("REDIS_SERVICE_HOST", "REDIS_PORT_6379_TCP", "REDIS_PORT_6379_TCP_PORT", "REDIS_USER"),
        *("REDIS_CELERY_DB", "REDIS_SSL_CERT_REQS", "DB_HOST", "DB_PORT", "PATH", "LOG_CFG"),
        *("SUPERSET_PORT", "SUPERSET_CONFIG_PATH", "SUPERSET_LOG_LEVEL", "JWT_SECRET_FILE"),
    ],
)
def test_variables_of_others_are_no_mistakes(environ: dict[str, str], name: str) -> None:
    """As a Service's in Kubernetes, Superset's, and what an entry point has read into ours."""
    assert sentences(check_all(environ | {name: "1"}, CheckOptions())) == ""
