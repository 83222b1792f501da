# SPDX-License-Identifier: Apache-2.0
"""The file as a level of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.configuration import error_of, load_with
from wsgi_ws.config.keys import LOG_LEVELS
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE, ConfigError


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


@pytest.mark.parametrize(
    ("text", "bracket"),
    [('{"port": 1,}', "}"), ('{"port": 1,\n}', "}"), ('{"trustedProxies": ["::1", ]}', "]")],
)
def test_a_comma_too_many_is_named(text: str, bracket: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"not valid JSON \(a comma before \{bracket}"):
        load_with(tmp_path)


@pytest.mark.parametrize("text", ['{"port" 1}', '{"port": 1', '{"port": 1,', "{'port': 1}", ""])
def test_another_slip_is_no_comma_too_many(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"not valid JSON \((?!a comma)"):
        load_with(tmp_path)


@pytest.mark.parametrize("document", [[], 5, "x", True])
def test_a_file_that_is_no_object_is_refused(document: object, tmp_path: Path) -> None:
    assert "the top level must be an object" in error_of(tmp_path, document)


@pytest.mark.parametrize(
    ("encoding", "line"), [("latin-1", "line 2"), ("utf-16", "line 1"), ("utf-32", "line 1")]
)
def test_a_file_that_is_not_utf8_is_refused_with_the_place(
    tmp_path: Path, encoding: str, line: str
) -> None:
    (tmp_path / "config.json").write_text('{\n"logFilename": "\xe4.log"}', encoding=encoding)
    with pytest.raises(ConfigError, match=rf"config\.json, {line}: .*save it as UTF-8") as error:
        load_with(tmp_path)
    assert "codec" not in str(error.value)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"port": 1}', encoding="utf-8-sig")
    assert load_with(tmp_path).settings.port == 1


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
        ({"redisPort": 1}, ["did you mean redis.port?"]),
        ({"redis.port": 1}, ["did you mean redis.port?"]),
        ({"STATSD_HOST": "x"}, ["did you mean statsd.host?"]),
        ({"reids": {}}, ["did you mean redis?"]),
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


# --- wrong values --------------------------------------------------------------------------------


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
        ({"allowedOrigins": ["a.org"]}, ["allowedOrigins", '"a.org"', "write https://a.org"]),
        ({"allowedOrigins": [""]}, ["allowedOrigins", 'contains ""', "is empty"]),
    ],
)
def test_a_wrong_value_in_the_file_is_refused_with_key_place_and_remedy(
    document: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    message = error_of(tmp_path, document)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"redis": {"unixSocketPath": "\ud800"}}, "redis.unixSocketPath"),
        ({"redis": {"ssl": True, "sslCaCerts": "a\0b"}}, "redis.sslCaCerts"),
        ({"jwtAlgorithms": ["HS256", "\udfff"]}, "jwtAlgorithms"),
        ({"statsd": {"globalTags": {"a\0": "b"}}}, "statsd.globalTags"),
    ],
)
def test_a_text_that_no_path_or_name_can_have_is_refused(
    document: dict[str, Any], key: str, tmp_path: Path
) -> None:
    message = error_of(tmp_path, document)
    assert f"{key} " in message
    assert "contains \\u0000 or half of a surrogate pair" in message


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


def test_a_value_that_kubernetes_injects_is_explained_in_the_file_too(tmp_path: Path) -> None:
    assert "Kubernetes" in error_of(tmp_path, {"redis": {"port": "tcp://10.1.2.3:6379"}})
