# SPDX-License-Identifier: Apache-2.0
"""What must be so for the service to start: values that make sense together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.configuration import MARK, SECRET, error_of, load_with
from wsgi_ws.config.keys import RedisSettings, Settings
from wsgi_ws.config.load import ConfigError, load


def test_the_port_for_metrics_is_another_one(tmp_path: Path) -> None:
    text = error_of(tmp_path, {"metricsPort": 8080})
    assert "metricsPort (from " in text
    assert "the port of the service itself" in text


# --- what is around a text ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("JWT_SECRET", "jwtSecret"),
        ("JWT_COOKIE_NAME", "jwtCookieName"),
        ("REDIS_STREAM_PREFIX", "redisStreamPrefix"),
        ("REDIS_HOST", "redis.host"),
        ("REDIS_PASSWORD", "redis.password"),
    ],
)
@pytest.mark.parametrize("mark", ['"', "'"])
def test_a_variable_in_quotation_marks_is_warned_of_with_its_source(
    variable: str, path: str, mark: str, tmp_path: Path
) -> None:
    value = f"{mark}{MARK}-and-more-than-32-bytes-in-all{mark}"
    (warning,) = load_with(tmp_path, environ={variable: value}).warnings
    source = f"{path} (from environment variable {variable})"
    assert warning.startswith(f"{source} has quotation marks around it, as a part of the value")
    assert MARK not in warning


@pytest.mark.parametrize("text", [" redis", "redis\n", "\tredis "])
def test_white_space_in_the_file_is_warned_of(text: str, tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, {"redis": {"host": text}}).warnings
    assert warning.startswith(f"redis.host (from {tmp_path / 'config.json'}) has white space")


def test_a_final_newline_of_a_secret_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={"JWT_SECRET": "x" * 32 + "\n"}).warnings
    assert "has white space around it" in warning
    assert "unless the other side has it so too" in warning


@pytest.mark.parametrize("text", ["redis", "it's", '"a" or "b', "'", "x'"])
def test_other_quotation_marks_are_nobodys_business(text: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"REDIS_HOST": text}).warnings == ()


@pytest.mark.parametrize(
    ("variable", "text"), [("PORT", '"8080"'), ("REDIS_SSL", "'true'"), ("LOG_LEVEL", '"info"')]
)
def test_the_warning_of_an_ignored_value_thinks_of_quotation_marks(
    variable: str, text: str, tmp_path: Path
) -> None:
    (warning,) = load_with(tmp_path, environ={variable: text}).warnings
    assert warning.endswith("; write it without the quotation marks")


def test_the_refusal_of_a_url_does_too(tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"REDIS_URL": '"redis://redis:6379/0"'})
    assert message.endswith("; write it without the quotation marks")


def test_the_example_s_secret_in_quotation_marks_warns_too(tmp_path: Path) -> None:
    value = f'"change-me-{"x" * 32}"'
    warnings = "\n".join(load_with(tmp_path, environ={"JWT_SECRET": value}).warnings)
    assert "is the example's: anybody can forge cookies" in warnings


# --- the secret ----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["x" * 32, "é" * 16])
def test_a_secret_of_32_bytes_is_long_enough(secret: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"JWT_SECRET": secret}).settings.jwt_secret == secret


@pytest.mark.parametrize(("secret", "size"), [("x" * 31, 31), ("é" * 15, 30)])
def test_a_shorter_secret_stops_the_start(secret: str, size: int, tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"JWT_SECRET": secret})
    assert f"has {size} bytes (from environment variable JWT_SECRET)" in message
    assert "GLOBAL_ASYNC_QUERIES_JWT_SECRET" in message


def test_a_missing_secret_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jwtSecret is not set and needs at least 32 bytes"):
        load({}, tmp_path)


def test_a_secret_that_can_not_be_encoded_stops_the_start(tmp_path: Path) -> None:
    assert "jwtSecret" in error_of(tmp_path, None, {"JWT_SECRET": "\udcff" * 40})


@pytest.mark.parametrize("start", ["CHANGE-ME", "change-me"])
def test_the_examples_secret_warns(start: str, tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={"JWT_SECRET": start + "x" * 32}).warnings
    assert "jwtSecret (from environment variable JWT_SECRET) is the example's" in warning


@pytest.mark.parametrize(
    "document",
    [
        {"jwtSecret": MARK},
        {"jwtSecret": "CHANGE-ME" + MARK * 8},
        {"jwtSecret": [MARK]},
        {"jwtSecret": {MARK: MARK}},
        {"jwtSecrets": MARK},
        {"previousJwtSecret": MARK},
        {"previousJwtSecret": "CHANGE-ME" + MARK * 8},
        {"previousJwtSecret": MARK * 8, "jwtSecret": MARK * 8},
        {"previousJwtSecret": f'"{MARK * 8}"'},
        {"previousJwtSecret": [MARK]},
        {"redis": {"password": [MARK]}},
        {"redis": {"password": {MARK: MARK}}},
        {"redis": {"pasword": MARK}},
        {"redis": {"password": MARK}, "port": "x"},
        {"redis": f"redis://:{MARK}@redis:6379"},
        {"redis": [MARK]},
    ],
)
def test_no_secret_of_the_file_is_in_any_message(document: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(document))
    try:
        messages = load({}, tmp_path).warnings
    except ConfigError as error:
        messages = (str(error),)
    assert not [message for message in messages if MARK in message]


@pytest.mark.parametrize("value", [MARK, "CHANGE-ME" + MARK * 8, f"tcp://{MARK}"])
@pytest.mark.parametrize(
    "variable",
    [
        *("JWT_SECRET", "PREVIOUS_JWT_SECRET"),
        *("REDIS_PASSWORD", "REDIS_URL", "REDIS_SENTINEL_PASSWORD"),
    ],
)
def test_no_secret_of_the_environment_is_in_any_message(
    variable: str, value: str, tmp_path: Path
) -> None:
    try:
        messages = load({variable: value, "PORT": "x"}, tmp_path).warnings
    except ConfigError as error:
        messages = (str(error),)
    assert not [message for message in messages if MARK in message]


def test_json_that_is_broken_near_the_secret_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"jwtSecret": "{MARK}')
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(jwt_secret=MARK),
        Settings(previous_jwt_secret=MARK),
        Settings(redis=RedisSettings(password=MARK)),
    ],
)
def test_no_secret_is_in_the_representation_of_settings(settings: Settings) -> None:
    assert MARK not in repr(settings)


# --- the secret before -------------------------------------------------------------------------


def test_the_secret_before_may_be_set_beside_the_present_one(tmp_path: Path) -> None:
    loaded = load_with(tmp_path, environ={"PREVIOUS_JWT_SECRET": "x" * 32})
    assert (loaded.settings.previous_jwt_secret, loaded.warnings) == ("x" * 32, ())


@pytest.mark.parametrize(("secret", "size"), [("x" * 31, "31 bytes"), ("x", "1 byte ")])
def test_a_shorter_secret_before_stops_the_start(secret: str, size: str, tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"PREVIOUS_JWT_SECRET": secret})
    assert f"previousJwtSecret has {size}" in message
    assert "(from environment variable PREVIOUS_JWT_SECRET)" in message
    assert "or leave it empty" in message


def test_a_secret_before_that_can_not_be_encoded_stops_the_start(tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"PREVIOUS_JWT_SECRET": "\udcff" * 40})
    assert "previousJwtSecret (from environment" in message
    assert "is not valid UTF-8" in message


def test_the_examples_secret_as_the_one_before_warns(tmp_path: Path) -> None:
    environ = {"PREVIOUS_JWT_SECRET": "change-me" + "x" * 32}
    (warning,) = load_with(tmp_path, environ=environ).warnings
    source = "previousJwtSecret (from environment variable PREVIOUS_JWT_SECRET)"
    assert warning.startswith(f"{source} is the example's: anybody can forge cookies")


def test_a_secret_before_that_is_the_present_one_warns(tmp_path: Path) -> None:
    environ = {"PREVIOUS_JWT_SECRET": SECRET}
    (warning,) = load_with(tmp_path, environ=environ).warnings
    assert "is the same as jwtSecret and does nothing" in warning
    assert SECRET not in warning


def test_the_secret_before_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jwtSecret is not set and needs at least 32 bytes"):
        load({"PREVIOUS_JWT_SECRET": SECRET}, tmp_path)


# --- algorithms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_the_algorithm_none_is_refused(name: str, tmp_path: Path) -> None:
    assert "forged" in error_of(tmp_path, {"jwtAlgorithms": ["HS256", name]})


def test_no_algorithm_at_all_is_refused(tmp_path: Path) -> None:
    assert "jwtAlgorithms" in error_of(tmp_path, {"jwtAlgorithms": []})


def test_an_unknown_algorithm_is_refused_with_those_allowed(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"jwtAlgorithms": ["HS257"]})
    assert "contains HS257: allowed are HS256" in message
