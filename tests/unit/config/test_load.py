# SPDX-License-Identifier: Apache-2.0
"""The configuration: names, defaults, precedence, and what is said about a value that is wrong."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.configuration import MARK, SECRET, error_of, load_with
from wsgi_ws.config.keys import LOG_LEVELS, Key, RedisSettings, Settings, keys
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE, ConfigError, load

KEYS = {key.path: key for key in keys()}


def value_at(settings: Settings, path: str) -> Any:
    """A key's value; a duration that `settings` have in seconds is given in milliseconds."""
    value: Any = settings
    for key in path.split("."):
        name = re.sub("([A-Z])", lambda m: "_" + m[1].lower(), key)
        if hasattr(value, name):
            value = getattr(value, name)
        else:
            value = round(getattr(value, name.removesuffix("_ms")) * 1000)
    return value


def document_with(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


# --- what can't be together ----------------------------------------------------------------------


def test_the_port_for_metrics_is_another_one(tmp_path: Path) -> None:
    text = error_of(tmp_path, {"metricsPort": 8080})
    assert "metricsPort (from " in text
    assert "the port of the service itself" in text


# --- names, defaults, variables ------------------------------------------------------------------

# The Node server's, except the bound of what a client may leave unread, which has none there.
SEED: list[tuple[str, Any, str | None, str, Any]] = [
    ("port", 8080, "PORT", "80", 80),
    ("logLevel", "info", "LOG_LEVEL", "debug", "debug"),
    ("logToFile", False, "LOG_TO_FILE", "true", True),
    ("logFilename", "app.log", "LOG_FILENAME", "x.log", "x.log"),
    ("redisStreamPrefix", "async-events-", "REDIS_STREAM_PREFIX", "x-", "x-"),
    ("redisStreamReadCount", 100, "REDIS_STREAM_READ_COUNT", "7", 7),
    ("redisStreamReadBlockMs", 5000, "REDIS_STREAM_READ_BLOCK_MS", "7", 7),
    ("jwtAlgorithms", ("HS256",), "JWT_ALGORITHMS", "HS384, HS512", ("HS384", "HS512")),
    ("jwtSecret", "", "JWT_SECRET", "x" * 32, "x" * 32),
    ("jwtCookieName", "async-token", "JWT_COOKIE_NAME", "x", "x"),
    ("jwtChannelIdKey", "channel", "JWT_CHANNEL_ID_KEY", "x", "x"),
    ("socketResponseTimeoutMs", 60000, "SOCKET_RESPONSE_TIMEOUT_MS", "7", 7),
    ("pingSocketsIntervalMs", 20000, "PING_SOCKETS_INTERVAL_MS", "7", 7),
    ("gcChannelsIntervalMs", 120000, "GC_CHANNELS_INTERVAL_MS", "7", 7),
    ("allowedOrigins", (), "ALLOWED_ORIGINS", "http://a,http://b", ("http://a", "http://b")),
    ("maxTotalConnections", 0, "MAX_TOTAL_CONNECTIONS", "7", 7),
    ("maxConnectionsPerChannel", 0, "MAX_CONNECTIONS_PER_CHANNEL", "7", 7),
    ("maxSocketBufferBytes", 1048576, "MAX_SOCKET_BUFFER_BYTES", "0", 0),
    ("statsd.host", "127.0.0.1", "STATSD_HOST", "x", "x"),
    ("statsd.port", 8125, "STATSD_PORT", "7", 7),
    ("statsd.globalTags", (), "STATSD_GLOBAL_TAGS", "a, b:c,", ("a", "b:c")),
    ("redis.host", "127.0.0.1", "REDIS_HOST", "x", "x"),
    ("redis.port", 6379, "REDIS_PORT", "7", 7),
    ("redis.username", "default", "REDIS_USERNAME", "x", "x"),
    ("redis.password", "", "REDIS_PASSWORD", "x", "x"),
    ("redis.db", 0, "REDIS_DB", "7", 7),
    ("redis.ssl", False, "REDIS_SSL", "TRUE", True),
    ("redis.validateHostname", True, "REDIS_VALIDATE_HOSTNAME", "false", False),
]


@pytest.mark.parametrize(("path", "default"), [row[:2] for row in SEED], ids=str)
def test_a_key_of_the_seed_has_its_default(path: str, default: object) -> None:
    assert KEYS[path].default == default


@pytest.mark.parametrize(
    ("path", "variable", "text", "value"),
    [(path, *rest) for path, _, *rest in SEED],
    ids=[row[0] for row in SEED],
)
def test_a_key_of_the_seed_is_set_by_its_variable(
    path: str, variable: str, text: str, value: object, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, environ={variable: text})
    assert value_at(loaded.settings, path) == value


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_default_may_be_written_into_the_file(key: Key, tmp_path: Path) -> None:
    value = list(key.default) if isinstance(key.default, tuple) else key.default
    loaded = load_with(tmp_path, document_with(key.path, value))
    assert (loaded.settings, loaded.warnings) == (Settings(jwt_secret=SECRET), ())


def test_every_variable_belongs_to_one_key() -> None:
    variables = [key.env for key in KEYS.values() if key.env]
    assert len(variables) == len(set(variables))


def test_the_secret_keys_are_these() -> None:
    assert {key.path for key in KEYS.values() if key.secret} == {
        *("jwtSecret", "redis.url", "redis.password", "redis.sentinelPassword"),
    }


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "on"])
def test_ways_to_say_yes_in_the_environment(text: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"REDIS_SSL": text}).settings.redis.ssl is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", "off"])
def test_ways_to_say_no_in_the_environment(text: str, tmp_path: Path) -> None:
    document = {"redis": {"ssl": True}}
    assert load_with(tmp_path, document, {"REDIS_SSL": text}).settings.redis.ssl is False


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


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
@pytest.mark.parametrize(("variable", "path"), [("PORT", "port"), ("LOG_FILENAME", "logFilename")])
def test_a_blank_variable_counts_as_not_set(
    variable: str, path: str, blank: str, tmp_path: Path
) -> None:
    document = {"port": 1, "logFilename": "x"}
    loaded = load_with(tmp_path, document, {variable: blank})
    assert (value_at(loaded.settings, path), loaded.warnings) == (document[path], ())


def test_spaces_around_a_variables_value_do_not_count(tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={"REDIS_HOST": " redis\n"}).settings.redis.host == "redis"


def test_a_secret_of_the_environment_is_taken_to_the_byte(tmp_path: Path) -> None:
    # Superset signs with what its environment has, a final newline included.
    assert load_with(tmp_path, environ={"JWT_SECRET": SECRET + "\n"}).settings.jwt_secret == (
        SECRET + "\n"
    )


def test_it_is_told_where_a_value_comes_from(tmp_path: Path) -> None:
    loaded = load_with(tmp_path, {"port": 1, "redis": {"db": 2}}, {"REDIS_HOST": "x"})
    file = str(tmp_path / "config.json")
    assert {path: str(source) for path, source in loaded.sources.items()} == {
        "port": file,
        "redis.db": file,
        "redis.host": "environment variable REDIS_HOST",
        "jwtSecret": "environment variable JWT_SECRET",
    }


@pytest.mark.parametrize("variable", ["REDIS_PROTO", "REDIS_USER", "REDIS_CELERY_DB", "HOME"])
def test_variables_meant_for_others_are_not_mentioned(variable: str, tmp_path: Path) -> None:
    assert load_with(tmp_path, environ={variable: "tcp://x"}).warnings == ()


# --- the file ------------------------------------------------------------------------------------


def test_one_variable_names_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"port": 1}')
    environ = {CONFIG_PATH_VARIABLE: "other.json"}
    assert load_with(tmp_path, {"port": 2}, environ).settings.port == 1


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {CONFIG_PATH_VARIABLE: "other.json"})
    assert "other.json does not exist" in message
    assert CONFIG_PATH_VARIABLE in message


def test_a_file_that_is_no_json_is_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n  "port": 1,\n  oops\n}')
    with pytest.raises(ConfigError, match=r"config\.json, line 3, column 3: not valid JSON"):
        load_with(tmp_path)


@pytest.mark.parametrize("document", [[], 5, "x", True])
def test_a_file_that_is_no_object_is_refused(document: object, tmp_path: Path) -> None:
    assert "the top level must be an object" in error_of(tmp_path, document)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"logFilename": "\xff"}')
    with pytest.raises(ConfigError, match="can't be read"):
        load_with(tmp_path)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()  # what a container's mount of a missing file makes
    with pytest.raises(ConfigError, match="can't be read"):
        load_with(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param('{"port": ' + "9" * 5000 + "}", id="a number of 5000 digits"),
    ],
)
def test_json_beyond_the_parsers_limits_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_with(tmp_path)


def test_the_old_name_of_the_prefix_is_accepted(tmp_path: Path) -> None:
    loaded = load_with(tmp_path, {"streamPrefix": "old-"})
    assert (loaded.settings.redis_stream_prefix, loaded.warnings) == ("old-", ())


@pytest.mark.parametrize("names", [["redisStreamPrefix", "streamPrefix"]] * 2)
def test_the_new_name_wins_over_the_old_with_a_warning(names: list[str], tmp_path: Path) -> None:
    names.reverse()  # whichever comes first
    values = {"redisStreamPrefix": "new-", "streamPrefix": "old-"}
    loaded = load_with(tmp_path, {name: values[name] for name in names})
    (warning,) = loaded.warnings
    assert loaded.settings.redis_stream_prefix == "new-"
    assert "streamPrefix is the old name of redisStreamPrefix" in warning


# --- unknown keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"prot": 1}, ["unknown key prot is ignored", "did you mean port?"]),
        ({"jwtsecret": 1}, ["did you mean jwtSecret?"]),
        ({"redis": {"hots": "x"}}, ["unknown key redis.hots", "did you mean redis.host?"]),
        ({"statsd": {"globaltags": []}}, ["did you mean statsd.globalTags?"]),
    ],
)
def test_an_unknown_key_warns_with_the_closest_known_name(
    document: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    (warning,) = load_with(tmp_path, document).warnings
    assert all(word in warning for word in words)


def test_an_unknown_key_like_no_other_warns_without_a_guess(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, {"zzzzzz": 1}).warnings
    assert warning.endswith("unknown key zzzzzz is ignored")


def test_statsd_options_without_effect_are_named_in_one_warning(tmp_path: Path) -> None:
    document = {"statsd": {"cacheDns": True, "protocol": "tcp", "port": 1}}
    (warning,) = load_with(tmp_path, document).warnings
    assert warning.endswith("options of statsd without effect here: cacheDns, protocol")


# --- wrong values in the file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"port": "8080"}, ["port", "config.json", "write 8080 without quotes"]),
        ({"port": "x"}, ["port", '"x"', "whole number"]),
        ({"port": 80.5}, ["port", "80.5", "whole number"]),
        ({"port": True}, ["port", "true", "whole number"]),
        ({"port": None}, ["port", "null", "whole number"]),
        ({"port": 0}, ["port", "is 0", "between 1 and 65535"]),
        ({"port": 65536}, ["port", "is 65536", "between 1 and 65535"]),
        ({"redis": {"db": -1}}, ["redis.db", "is -1", "at least 0"]),
        ({"redis": {"ssl": "true"}}, ["redis.ssl", '"true"', "true or false"]),
        ({"redis": {"ssl": 1}}, ["redis.ssl", "true or false"]),
        ({"redis": {"host": 5}}, ["redis.host", "5", "text in quotes"]),
        ({"redis": []}, ["redis", "an object"]),
        ({"redis": None}, ["redis", "an object"]),
        ({"logLevel": "loud"}, ["logLevel", "loud", *LOG_LEVELS]),
        ({"allowedOrigins": "http://a"}, ["allowedOrigins", "a list of texts"]),
        ({"allowedOrigins": [5]}, ["allowedOrigins", "a list of texts"]),
        ({"allowedOrigins": {"a": "b"}}, ["allowedOrigins", "a list of texts"]),
        ({"statsd": {"globalTags": "a"}}, ["statsd.globalTags", "texts or an object"]),
        ({"redisStreamPrefix": ""}, ["redisStreamPrefix is empty", "async-events-"]),
        ({"trustedProxies": ["proxy"]}, ["trustedProxies", '"proxy"', "10.0.0.0/8"]),
    ],
)
def test_a_wrong_value_in_the_file_is_refused_with_key_place_and_remedy(
    document: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    message = error_of(tmp_path, document)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("value", [8081.0, 8081])
def test_a_whole_number_may_be_written_with_a_point(value: float, tmp_path: Path) -> None:
    port = load_with(tmp_path, {"port": value}).settings.port
    assert (port, type(port)) == (8081, int)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"port": {number}}}')
    with pytest.raises(ConfigError, match="whole number"):
        load_with(tmp_path)


def test_a_long_wrong_value_is_shown_in_part(tmp_path: Path) -> None:
    assert len(error_of(tmp_path, {"logToFile": "x" * 10_000})) < 300 + len(str(tmp_path))


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


# --- wrong values in the environment -------------------------------------------------------------


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


@pytest.mark.parametrize(("variable", "text"), [("REDIS_SSL", "maybe"), ("LOG_LEVEL", "loud")])
def test_any_other_bad_value_in_the_environment_warns_too(
    variable: str, text: str, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, environ={variable: text})
    assert loaded.settings == Settings(jwt_secret=SECRET)
    assert [variable in warning for warning in loaded.warnings] == [True]


@pytest.mark.parametrize("variable", ["PORT", "REDIS_PORT", "STATSD_PORT"])
def test_a_value_that_kubernetes_injects_is_explained(variable: str, tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={variable: "tcp://10.1.2.3:6379"}).warnings
    assert "Kubernetes" in warning
    assert f"set {variable} explicitly" in warning
    assert "enableServiceLinks: false" in warning


def test_another_bad_number_is_not_blamed_on_kubernetes(tmp_path: Path) -> None:
    (warning,) = load_with(tmp_path, environ={"REDIS_PORT": "x"}).warnings
    assert "Kubernetes" not in warning


def test_a_value_that_kubernetes_injects_is_explained_in_the_file_too(tmp_path: Path) -> None:
    assert "Kubernetes" in error_of(tmp_path, {"redis": {"port": "tcp://10.1.2.3:6379"}})


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
    with pytest.raises(ConfigError, match="jwtSecret is not set and needs at least 32"):
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
    "variable", ["JWT_SECRET", "REDIS_PASSWORD", "REDIS_URL", "REDIS_SENTINEL_PASSWORD"]
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
    "settings", [Settings(jwt_secret=MARK), Settings(redis=RedisSettings(password=MARK))]
)
def test_no_secret_is_in_the_representation_of_settings(settings: Settings) -> None:
    assert MARK not in repr(settings)


# --- algorithms and tags -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_the_algorithm_none_is_refused(name: str, tmp_path: Path) -> None:
    assert "forged" in error_of(tmp_path, {"jwtAlgorithms": ["HS256", name]})


def test_no_algorithm_at_all_is_refused(tmp_path: Path) -> None:
    assert "jwtAlgorithms" in error_of(tmp_path, {"jwtAlgorithms": []})


def test_an_unknown_algorithm_is_refused_with_those_allowed(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"jwtAlgorithms": ["HS257"]})
    assert "contains HS257: allowed are HS256" in message


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["a", "b:c"], ("a", "b:c")),
        ({"env": "prod", "zone": "eu"}, ("env:prod", "zone:eu")),
        ({"a:b": "c|d,e"}, ("a_b:c_d_e",)),
        ({"n": 5, "at": "a@b"}, ("n:5", "at:a_b")),
        ({"yes": True, "nothing": None}, ("yes:true", "nothing:null")),  # as JavaScript writes them
    ],
)
def test_global_tags_are_a_list_or_an_object(
    tags: object, expected: tuple[str, ...], tmp_path: Path
) -> None:
    settings = load_with(tmp_path, {"statsd": {"globalTags": tags}}).settings
    assert settings.statsd.global_tags == expected


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
