# SPDX-License-Identifier: Apache-2.0
"""Variables as a level of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.configuration import SECRET, error_of, load_with
from wsgi_ws.config.keys import Settings


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "on"])
def test_ways_to_say_yes_in_the_environment(text: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"REDIS_SSL": text}).settings.redis.ssl is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", "off"])
def test_ways_to_say_no_in_the_environment(text: str, tmp_path: Path) -> None:
    document = {"redis": {"ssl": True}}
    assert load_with(tmp_path, document, {"REDIS_SSL": text}).settings.redis.ssl is False


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
@pytest.mark.parametrize(("variable", "path"), [("PORT", "port"), ("LOG_FILENAME", "logFilename")])
def test_a_blank_variable_counts_as_not_set(
    variable: str, path: str, blank: str, tmp_path: Path
) -> None:
    document = {"port": 1, "logFilename": "x"}
    loaded = load_with(tmp_path, document, {variable: blank})
    assert (loaded.value(path), loaded.warnings) == (document[path], ())


def test_spaces_around_a_variables_value_do_not_count(tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"REDIS_HOST": " redis\n"}).settings.redis.host == "redis"


def test_a_secret_of_the_environment_is_taken_to_the_byte(tmp_path: Path) -> None:
    # Superset signs with what its environment has, a final newline included.
    assert load_with(tmp_path, environ={"JWT_SECRET": SECRET + "\n"}).settings.jwt_secret == (
        SECRET + "\n"
    )


@pytest.mark.parametrize("variable", ["REDIS_PROTO", "REDIS_USER", "REDIS_CELERY_DB", "HOME"])
def test_variables_meant_for_others_are_not_mentioned(variable: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={variable: "tcp://x"}).warnings == ()


# --- wrong values --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "8080x", "80.5", "1e3", "-1", "0", "65536", "0x10"])
def test_a_bad_number_in_the_environment_warns_and_keeps_the_value_below(
    text: str, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, {"port": 7}, {"PORT": text})
    (warning,) = loaded.warnings
    assert loaded.settings.port == 7
    assert f'PORT="{text}" is ignored' in warning


def test_the_warning_says_whose_value_stays(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, {"port": 7}, {"PORT": "x"}).warnings
    assert f"port stays at the value of {tmp_path / 'config.json'}" in warning


def test_the_warning_says_when_it_is_the_default_that_stays(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={"PORT": "x"}).warnings
    assert "port stays at the value of the default" in warning


@pytest.mark.parametrize(
    ("variable", "text"),
    [("REDIS_SSL", "maybe"), ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "%(message)s")],
)
def test_what_may_be_meant_for_another_program_warns_too(
    variable: str, text: str, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, environ={variable: text})
    assert loaded.settings == Settings(jwt_secret=SECRET)
    assert [variable in warning for warning in loaded.warnings] == [True]


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        (
            "TRANSPORTS",
            "relatime",
            'transports (from environment variable TRANSPORTS) is "relatime": it must be one of '
            "auto, streams, realtime, both",
        ),
        (
            "REDIS_DOWN_POLICY",
            "Refuse",
            "redisDownPolicy (from environment variable REDIS_DOWN_POLICY) is "
            '"Refuse": it must be one of hold, refuse',
        ),
    ],
)
def test_a_word_for_what_is_served_is_never_ignored(
    variable: str, text: str, sentence: str, tmp_path: Path
) -> None:
    assert error_of(tmp_path, None, {variable: text}) == sentence


@pytest.mark.parametrize("variable", ["PORT", "REDIS_PORT", "STATSD_PORT"])
def test_a_value_that_kubernetes_injects_is_explained(variable: str, tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={variable: "tcp://10.1.2.3:6379"}).warnings
    assert "Kubernetes" in warning
    assert f"set {variable} explicitly" in warning
    assert "enableServiceLinks: false" in warning


def test_another_bad_number_is_not_blamed_on_kubernetes(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={"REDIS_PORT": "x"}).warnings
    assert "Kubernetes" not in warning
