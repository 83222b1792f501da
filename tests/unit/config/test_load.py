# SPDX-License-Identifier: Apache-2.0
"""Levels over each other, everything that is wrong at once, and any input at all."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.configuration import SECRET, error_of, load_with
from wsgi_ws.config.keys import RedisSettings, Settings, keys
from wsgi_ws.config.load import ConfigError, load

KEYS = {key.path: key for key in keys()}


# --- precedence ----------------------------------------------------------------------------------


def test_without_file_and_variables_everything_is_at_its_default(tmp_path: Path) -> None:
    assert load_with(tmp_path).settings == Settings(jwt_secret=SECRET)


def test_the_file_wins_over_the_defaults(tmp_path: Path) -> None:
    assert load_with(tmp_path, {"port": 1}).settings.port == 1


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    assert load_with(tmp_path, {"port": 1}, {"PORT": "2"}).settings.port == 2


def test_a_block_of_the_file_is_merged_key_by_key(tmp_path: Path) -> None:
    settings = load_with(tmp_path, {"redis": {"port": 1}}).settings
    assert settings.redis == RedisSettings(port=1)


def test_a_variable_changes_one_key_of_a_block_only(tmp_path: Path) -> None:
    settings = load_with(tmp_path, {"redis": {"port": 1, "db": 2}}, {"REDIS_DB": "3"}).settings
    assert settings.redis == RedisSettings(port=1, db=3)


def test_it_is_told_where_a_value_comes_from(tmp_path: Path) -> None:
    loaded = load_with(tmp_path, {"port": 1, "redis": {"db": 2}}, {"REDIS_HOST": "x"})
    file = str(tmp_path / "config.json")
    assert {path: str(source) for path, source in loaded.sources.items()} == {
        "port": file,
        "redis.db": file,
        "redis.host": "environment variable REDIS_HOST",
        "jwtSecret": "environment variable JWT_SECRET",
    }


# --- everything at once --------------------------------------------------------------------------


def problems_of(directory: Path, document: object, environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_with(directory, document, environ)
    return caught.value


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    document = {"port": "x", "redis": {"db": -1}, "statsd": 5, "jwtAlgorithms": ["none"]}
    error = problems_of(tmp_path, document, {"JWT_SECRET": "short"})
    named = ("port (from", "statsd must be", "redis.db (from", "jwtSecret has", "jwtAlgorithms (")
    assert len(error.problems) == len(named)
    assert [name for name in named if name not in str(error)] == []


def test_what_is_right_is_known_beside_what_is_wrong(tmp_path: Path) -> None:
    rest = problems_of(tmp_path, {"port": "x", "redis": {"db": 3}}, {"REDIS_HOST": "r"}).rest
    assert rest is not None
    assert rest.settings == Settings(jwt_secret=SECRET, redis=RedisSettings(host="r", db=3))
    assert rest.wrong == {"port"}


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"port": "x", "metricsPort": 8080}, {"port"}),  # 8080 is the default of what is wrong
        ({"jwtSecret": 5}, {"jwtSecret"}),  # and not missing
        ({"redis": {"sentinels": "x", "sentinelMaster": "m"}}, {"redis.sentinels"}),
        (
            {"redis": {"ssl": True, "sslCertfile": __file__, "sslKeyfile": "/nowhere"}},
            {"redis.sslKeyfile"},
        ),
    ],
)
def test_what_only_follows_from_a_wrong_value_is_not_told(
    document: dict[str, Any], wrong: set[str], tmp_path: Path
) -> None:
    error = problems_of(tmp_path, document, {"JWT_SECRET": "" if "jwtSecret" in wrong else SECRET})
    assert error.rest is not None
    assert set(error.rest.wrong) == wrong
    assert error.rest.warnings == ()


def test_nothing_is_known_beside_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path)
    assert caught.value.rest is None


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("redis", ["redis.db"]),
        ("redis.db", ["redis.db"]),
        ("redis.host", []),
        ("statsd.host", ["statsd"]),
    ],
)
def test_it_is_told_which_of_some_keys_are_wrong(
    asked: str, found: list[str], tmp_path: Path
) -> None:
    rest = problems_of(tmp_path, {"redis": {"db": -1}, "statsd": 5}, {}).rest
    assert rest is not None
    assert rest.wrong_among(asked) == found


# --- what a value means --------------------------------------------------------------------------


def test_a_proxy_that_is_none_stops_the_start_from_the_environment_too(tmp_path: Path) -> None:
    text = error_of(tmp_path, None, {"TRUSTED_PROXIES": "127.0.0.1, proxy"})
    where = "trustedProxies (from environment variable TRUSTED_PROXIES)"
    assert f'{where} contains "proxy": write addresses or networks' in text


def test_only_the_value_that_wins_must_have_a_meaning(tmp_path: Path) -> None:
    loaded = load_with(tmp_path, {"trustedProxies": ["proxy"]}, {"TRUSTED_PROXIES": "10.0.0.0/8"})
    assert loaded.settings.trusted_proxies == (ip_network("10.0.0.0/8"),)


def test_a_value_is_known_as_it_stands_in_the_file_too(tmp_path: Path) -> None:
    document = {"trustedProxies": ["10.0.0.1"], "drainMs": 1500}
    loaded = load_with(tmp_path, document)
    paths = ("trustedProxies", "drainMs", "closeTimeoutMs")
    assert [loaded.value(path) for path in paths] == [("10.0.0.1",), 1500, 5000]
    assert (loaded.settings.drain, loaded.settings.close_timeout) == (1.5, 5.0)


# --- any file ------------------------------------------------------------------------------------


NAMES = st.sampled_from([part for path in KEYS for part in path.split(".")]) | st.text(max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=40)  # lone surrogates too
    | st.text("x", min_size=32, max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@given(JSON | st.dictionaries(NAMES, JSON))
def test_any_json_document_gives_settings_or_a_config_error(
    directory: Path, document: object
) -> None:
    (directory / "config.json").write_text(json.dumps(document))
    try:
        result: object = load({}, directory).settings
    except ConfigError as error:
        result = error
    assert isinstance(result, Settings | ConfigError)


@given(st.binary())
def test_any_file_gives_settings_or_a_config_error(directory: Path, content: bytes) -> None:
    (directory / "config.json").write_bytes(content)
    try:
        result: object = load({}, directory).settings
    except ConfigError as error:
        result = error
    assert isinstance(result, Settings | ConfigError)


TEXTS = st.text(st.characters(exclude_characters="\0")) | st.integers().map(str)


@given(st.dictionaries(st.sampled_from([k.env for k in KEYS.values() if k.env]), TEXTS))
def test_any_environment_gives_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]
) -> None:
    empty = tmp_path_factory.getbasetemp()
    try:
        result: object = load(environ, empty).settings
    except ConfigError as error:
        result = error
    assert isinstance(result, Settings | ConfigError)
