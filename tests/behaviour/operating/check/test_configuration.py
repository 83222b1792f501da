# SPDX-License-Identifier: Apache-2.0
"""Variables and values that can not be meant."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.check import PUBLIC_SECRET, assert_named
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
