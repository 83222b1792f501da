# SPDX-License-Identifier: Apache-2.0
"""The `redis` block: how a URL meets the keys that it stands for, Sentinel, TLS files, forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from testbed.configuration import MARK, SECRET, error_of, load_with
from wsgi_ws.config.keys import RedisSettings, Settings, redis_key
from wsgi_ws.config.load import ConfigError, Loaded, load


def redis_of(directory: Path, block: dict[str, Any], environ: dict[str, str] | None = None) -> Any:
    """The `redis` block as it was understood, which must go without a warning."""
    loaded = load_with(directory, {"redis": block}, environ)
    assert loaded.warnings == ()
    return loaded.settings.redis


def warned(directory: Path, block: dict[str, Any], environ: dict[str, str] | None = None) -> Loaded:
    loaded = load_with(directory, {"redis": block}, environ)
    assert len(loaded.warnings) == 1, loaded.warnings
    return loaded


# --- variables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("REDIS_UNIX_SOCKET_PATH", "/run/redis.sock", "unix_socket_path", "/run/redis.sock"),
        ("REDIS_SENTINELS", "a:1, b:2", "sentinels", ("a:1", "b:2")),
        ("REDIS_SENTINEL_MASTER", "m", "sentinel_master", "m"),
        ("REDIS_SENTINEL_USERNAME", "u", "sentinel_username", "u"),
        ("REDIS_SENTINEL_PASSWORD", "p", "sentinel_password", "p"),
        ("REDIS_SENTINEL_SSL", "true", "sentinel_ssl", True),
        ("REDIS_SSL_CA_CERTS", "x.pem", "ssl_ca_certs", "x.pem"),
        ("REDIS_SSL_CERTFILE", "x.pem", "ssl_certfile", "x.pem"),
        ("REDIS_SSL_KEYFILE", "x.pem", "ssl_keyfile", "x.pem"),
    ],
)
def test_a_key_is_set_by_its_variable(
    variable: str, text: str, name: str, value: object, tmp_path: Path
) -> None:
    whole = {"REDIS_SENTINELS": "a:1", "REDIS_SENTINEL_MASTER": "m"}
    environ = (whole if "SENTINEL" in variable else {}) | {variable: text}
    assert load_with(tmp_path, environ=environ).value(redis_key(name)) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REDIS_SSL_CERT_REQS", "CERT_NONE"),
        ("REDIS_PROTO", "rediss"),
        ("REDIS_USER", "superset"),
        ("REDIS_CELERY_DB", "0"),
        ("REDIS_SSL_ENABLED", "True"),
        ("REDIS_SENTINEL_SERVICE_HOST", "10.0.0.1"),  # of Kubernetes, as the next one
        ("REDIS_SENTINEL_PORT", "tcp://10.0.0.1:26379"),
    ],
)
def test_a_variable_that_means_others_changes_nothing(
    variable: str, text: str, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, environ={variable: text})
    assert (loaded.settings, loaded.warnings) == (Settings(jwt_secret=SECRET), ())


# --- the URL -------------------------------------------------------------------------------------

URL = "rediss://u:p@h:1/2"
SAID = RedisSettings(host="h", port=1, db=2, ssl=True, username="u", password="p")


def test_a_url_of_the_file_is_spelled_out(tmp_path: Path) -> None:
    assert redis_of(tmp_path, {"url": URL}) == SAID


def test_a_url_of_the_environment_is_spelled_out(tmp_path: Path) -> None:
    assert redis_of(tmp_path, {}, {"REDIS_URL": URL}) == SAID


def test_spaces_around_a_url_do_not_count(tmp_path: Path) -> None:
    assert redis_of(tmp_path, {}, {"REDIS_URL": f" {URL}\n"}) == SAID


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_url_counts_as_not_set(blank: str, tmp_path: Path) -> None:
    block = {"url": blank, "host": "h"}
    assert redis_of(tmp_path, block, {"REDIS_URL": blank}) == RedisSettings(host="h")


def test_a_url_is_not_kept(tmp_path: Path) -> None:
    assert redis_of(tmp_path, {"url": URL}).url == ""


def test_a_value_of_a_url_has_it_as_its_source(tmp_path: Path) -> None:
    sources = load_with(tmp_path, environ={"REDIS_URL": URL}).sources
    assert str(sources["redis.port"]) == "redis.url, environment variable REDIS_URL"


def test_a_password_beside_a_url_without_one_counts(tmp_path: Path) -> None:
    redis = redis_of(tmp_path, {}, {"REDIS_URL": "redis://h", "REDIS_PASSWORD": "p"})
    assert redis == RedisSettings(host="h", password="p")


def test_a_url_without_a_database_means_0(tmp_path: Path) -> None:
    loaded = warned(tmp_path, {}, {"REDIS_URL": "redis://h", "REDIS_DB": "1"})
    assert loaded.settings.redis.db == 0


@pytest.mark.parametrize(
    ("block", "environ"),
    [
        ({"url": URL, "host": "other", "db": 3, "password": "x"}, {}),
        ({}, {"REDIS_URL": URL, "REDIS_HOST": "other", "REDIS_DB": "3", "REDIS_PASSWORD": "x"}),
        ({"host": "other", "db": 3, "password": "x"}, {"REDIS_URL": URL}),
    ],
    ids=["in the file", "in the environment", "over the file"],
)
def test_a_url_wins_over_keys_of_its_level_or_below_with_a_warning(
    block: dict[str, Any], environ: dict[str, str], tmp_path: Path
) -> None:
    loaded = warned(tmp_path, block, environ)
    assert loaded.settings.redis == SAID
    for words in ("redis.url (from", "wins over", "redis.host (from", "redis.db", "redis.password"):
        assert words in loaded.warnings[0]


@pytest.mark.parametrize(
    "block",
    [{"unixSocketPath": "/run/redis.sock"}, {"sentinels": ["s:1"], "sentinelMaster": "m"}],
    ids=["a Unix socket", "Sentinel"],
)
def test_a_url_wins_over_another_form_too(block: dict[str, Any], tmp_path: Path) -> None:
    assert warned(tmp_path, block, {"REDIS_URL": URL}).settings.redis == SAID


def test_a_url_of_the_environment_wins_over_one_of_the_file(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://:q@other"}
    expected = RedisSettings(host="other", password="q")
    assert redis_of(tmp_path, {"url": URL}, environ) == expected


def test_a_url_and_keys_that_say_the_same_need_no_warning(tmp_path: Path) -> None:
    assert redis_of(tmp_path, {"url": URL, "host": "h", "port": 1, "password": "p"}) == SAID


def test_a_variable_wins_over_a_part_of_a_url_of_the_file_with_a_warning(tmp_path: Path) -> None:
    # What happens when Superset's whole environment is passed in.
    loaded = warned(tmp_path, {"url": URL}, {"REDIS_HOST": "other"})
    assert loaded.settings.redis == replace(SAID, host="other")
    assert "redis.host (from environment variable REDIS_HOST)" in loaded.warnings[0]


def test_a_url_of_a_unix_socket(tmp_path: Path) -> None:
    redis = redis_of(tmp_path, {"url": "unix:///run/redis.sock?db=2"})
    assert redis == RedisSettings(unix_socket_path="/run/redis.sock", db=2)


def test_a_url_with_options_of_redis_py_warns(tmp_path: Path) -> None:
    loaded = warned(tmp_path, {"url": "redis://h?protocol=3&socket_timeout=1"})
    assert "without effect here: protocol, socket_timeout" in loaded.warnings[0]


@pytest.mark.parametrize("environ", [{}, {"REDIS_URL": "h:6379"}])
def test_what_is_no_url_stops_the_start_with_key_place_and_remedy(
    environ: dict[str, str], tmp_path: Path
) -> None:
    message = error_of(tmp_path, {} if environ else {"redis": {"url": "h:6379"}}, environ)
    place = "environment variable REDIS_URL" if environ else "config.json"
    assert "redis.url (from" in message
    assert place in message
    assert "must begin with redis://" in message


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{MARK}@h",
        f"redis://:{MARK}@h:port",
        f"redis://:{MARK}/{MARK}@h",
        f"redis://:{MARK}#{MARK}@h",
        f"redis://u:1?{MARK}={MARK}@h",
        f"redis://u:1/{MARK}@h",
        f"redis://h?password={MARK}",
        f"redis://h?db={MARK}",
        f"http://:{MARK}@h",
        MARK,
    ],
)
@pytest.mark.parametrize("variable", [True, False])
def test_no_password_of_a_url_is_in_any_message(url: str, variable: bool, tmp_path: Path) -> None:
    environ = {"REDIS_HOST": "other", "REDIS_PASSWORD": "other"}
    block = {} if variable else {"url": url}
    try:
        loaded = load_with(
            tmp_path, {"redis": block}, environ | {"REDIS_URL": url} if variable else environ
        )
        messages = [*loaded.warnings, *map(str, loaded.sources.values()), repr(loaded.settings)]
    except ConfigError as error:
        messages = [str(error)]
    assert not [message for message in messages if MARK in message]


def test_no_secret_is_in_the_representation_of_the_block() -> None:
    assert MARK not in repr(RedisSettings(url=MARK, password=MARK, sentinel_password=MARK))


# --- Sentinel and Unix socket --------------------------------------------------------------------


def test_sentinels_are_a_list_in_the_file(tmp_path: Path) -> None:
    block = {"sentinels": ["a:1", "b"], "sentinelMaster": "m"}
    redis = redis_of(tmp_path, block)
    assert [(at.host, at.port) for at in redis.sentinels] == [("a", 1), ("b", 26379)]


def test_sentinels_without_a_master_stop_the_start(tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"REDIS_SENTINELS": "a:1"})
    assert "redis.sentinels (from environment variable REDIS_SENTINELS)" in message
    assert "needs redis.sentinelMaster" in message


@pytest.mark.parametrize("text", ["a:b", "redis://a:1", "a:1:2", "", "a:0"])
def test_what_is_no_sentinel_stops_the_start(text: str, tmp_path: Path) -> None:
    message = error_of(tmp_path, {"redis": {"sentinels": ["ok:1", text], "sentinelMaster": "m"}})
    assert f'redis.sentinels (from {tmp_path / "config.json"}) contains "{text}"' in message
    assert "write host:port" in message


def test_sentinels_that_are_none_need_a_master_too(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"redis": {"sentinels": ["a:b"]}})
    assert 'contains "a:b"' in message
    assert "needs redis.sentinelMaster" in message


def test_a_list_of_a_wrong_type_is_told_alone(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"redis": {"sentinels": "a:1"}}, {"REDIS_SENTINELS": "a:1"})
    assert "must be a list of texts" in message
    assert "needs redis.sentinelMaster" not in message


def test_a_master_without_sentinels_warns(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, {"sentinelMaster": "m", "sentinelSsl": True}).warnings
    assert "without effect without sentinels: redis.sentinelMaster (from" in warning
    assert "redis.sentinelSsl" in warning


def test_sentinels_win_over_host_and_socket_with_a_warning(tmp_path: Path) -> None:
    block = {"sentinels": ["a:1"], "sentinelMaster": "m", "unixSocketPath": "/x"}
    (warning,) = warned(tmp_path, block, {"REDIS_HOST": "h"}).warnings
    assert "without effect beside redis.sentinels: redis.host (from environment" in warning
    assert "redis.unixSocketPath" in warning


def test_a_unix_socket_wins_over_host_port_and_tls_with_a_warning(tmp_path: Path) -> None:
    block = {"unixSocketPath": "/x", "ssl": True}
    (warning,) = warned(tmp_path, block, {"REDIS_HOST": "h"}).warnings
    assert "without effect beside redis.unixSocketPath: redis.host (from environment" in warning
    assert "redis.ssl (from" in warning


@pytest.mark.parametrize("block", [{"username": "bob"}, {"url": "redis://bob@r:6379/0"}])
def test_a_user_without_a_password_warns(tmp_path: Path, block: dict[str, Any]) -> None:
    loaded = warned(tmp_path, block)
    (warning,) = loaded.warnings
    assert "redis.username (from" in warning
    assert "is bob, without effect without redis.password" in warning
    assert loaded.settings.redis.user == "default"


@pytest.mark.parametrize(
    "block", [{"username": "bob", "password": "p"}, {"username": ""}, {"username": "default"}]
)
def test_a_user_with_a_password_or_the_usual_one_does_not_warn(
    tmp_path: Path, block: dict[str, Any]
) -> None:
    assert load_with(tmp_path, {"redis": block}).warnings == ()


def test_a_sentinel_s_user_without_a_password_warns(tmp_path: Path) -> None:
    block = {"sentinels": ["a:1"], "sentinelMaster": "m", "sentinelUsername": "bob"}
    (warning,) = warned(tmp_path, block).warnings
    assert "redis.sentinelUsername (from" in warning
    assert "without redis.sentinelPassword" in warning


def test_a_path_that_no_socket_can_have_stops_the_start(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"redis": {"unixSocketPath": "/" + "x" * 107}})
    assert "redis.unixSocketPath" in message
    assert "107 bytes" in message


# --- TLS files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA, a client's certificate and key, each in a file, and things that are neither."""
    directory = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    leaf = ca.issue_cert("client")
    contents = {
        "ca": ca.cert_pem.bytes(),
        "cert": b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        "key": leaf.private_key_pem.bytes(),
        "both": leaf.private_key_and_cert_chain_pem.bytes(),
        "other key": other.issue_cert("client").private_key_pem.bytes(),
        "text": b"no certificate",
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    names = [*contents, "missing"]
    return {name: str(directory / name) for name in names} | {"directory": str(directory)}


@pytest.mark.parametrize(
    "keys",
    [
        {"sslCaCerts": "ca"},
        {"sslCaCerts": "ca", "sslCertfile": "cert", "sslKeyfile": "key"},
        {"sslCertfile": "both"},
    ],
)
def test_files_that_fit_are_accepted(
    keys: dict[str, str], files: dict[str, str], tmp_path: Path
) -> None:
    block = {key: files[name] for key, name in keys.items()}
    assert redis_of(tmp_path, {"ssl": True} | block).ssl


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sslCaCerts": "missing"}, ["redis.sslCaCerts (from", "can't be read (No such file"]),
        ({"sslCaCerts": "directory"}, ["redis.sslCaCerts (from", "can't be read"]),
        ({"sslCaCerts": "text"}, ["redis.sslCaCerts (from", "no certificates in PEM form"]),
        ({"sslCertfile": "missing"}, ["redis.sslCertfile (from", "can't be read"]),
        ({"sslCertfile": "both", "sslKeyfile": "missing"}, ["redis.sslKeyfile", "can't be read"]),
        ({"sslCertfile": "cert"}, ["redis.sslCertfile (from", "redis.sslKeyfile"]),
        ({"sslCertfile": "text", "sslKeyfile": "key"}, ["redis.sslCertfile (from", "PEM form"]),
        (
            {"sslCertfile": "cert", "sslKeyfile": "other key"},
            ["redis.sslCertfile", "can't be used"],
        ),
        ({"sslKeyfile": "key"}, ["redis.sslKeyfile (from", "needs redis.sslCertfile"]),
    ],
)
@pytest.mark.parametrize(
    "tls",
    [{"ssl": True}, {"sentinels": ["a:1"], "sentinelMaster": "m", "sentinelSsl": True}],
    ids=["Redis", "Sentinels only"],
)
def test_a_file_that_does_not_fit_stops_the_start_with_key_and_remedy(
    tls: dict[str, Any],
    keys: dict[str, str],
    words: list[str],
    files: dict[str, str],
    tmp_path: Path,
) -> None:
    block = {key: files[name] for key, name in keys.items()}
    message = error_of(tmp_path, {"redis": tls | block})
    assert [word for word in words if word not in message] == []
    assert str(tmp_path / "config.json") in message


@pytest.mark.parametrize("other", [{}, {"ssl": True, "unixSocketPath": "/x"}])
def test_files_without_tls_are_not_read_but_warn(other: dict[str, Any], tmp_path: Path) -> None:
    warnings = load_with(tmp_path, {"redis": {"sslCaCerts": "/missing"} | other}).warnings
    assert "without effect without redis.ssl: redis.sslCaCerts (from" in warnings[-1]


def test_a_url_brings_its_files(files: dict[str, str], tmp_path: Path) -> None:
    message = error_of(tmp_path, None, {"REDIS_URL": f"rediss://h?ssl_ca_certs={files['missing']}"})
    assert "redis.sslCaCerts (from redis.url, environment variable REDIS_URL)" in message


def test_to_accept_any_certificate_warns(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, {"ssl": True, "sslCertReqs": "none"}).warnings
    assert "redis.sslCertReqs" in warning
    assert "redis.sslCaCerts instead" in warning


def test_a_requirement_that_there_is_not_stops_the_start(tmp_path: Path) -> None:
    message = error_of(tmp_path, {"redis": {"sslCertReqs": "optional"}})
    assert "redis.sslCertReqs" in message
    assert "required, none" in message


def test_the_environment_alone_is_enough_for_everything(
    files: dict[str, str], tmp_path: Path
) -> None:
    environ = {
        "JWT_SECRET": SECRET,
        "REDIS_SENTINELS": "a:1,b:2",
        "REDIS_SENTINEL_MASTER": "m",
        "REDIS_SENTINEL_PASSWORD": "sp",
        "REDIS_SENTINEL_SSL": "true",
        "REDIS_PASSWORD": "p",
        "REDIS_SSL": "true",
        "REDIS_SSL_CA_CERTS": files["ca"],
        "REDIS_SSL_CERTFILE": files["cert"],
        "REDIS_SSL_KEYFILE": files["key"],
    }
    assert load(environ, tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"REDIS_HOST": "redis..svc"}, "redis.host (from environment variable REDIS_HOST)"),
        ({"REDIS_URL": "redis://redis..svc/0"}, "redis.host (from redis.url, environment variable"),
        ({"STATSD_HOST": "redis..svc"}, "statsd.host (from environment variable STATSD_HOST)"),
        ({"METRICS_HOST": "redis..svc"}, "metricsHost (from environment variable METRICS_HOST)"),
        (
            {"REDIS_SENTINELS": "redis..svc:1", "REDIS_SENTINEL_MASTER": "m"},
            "redis.sentinels (from environment variable REDIS_SENTINELS)",
        ),
    ],
)
def test_a_host_that_can_not_be_looked_up_stops_the_start(
    environ: dict[str, str], source: str, tmp_path: Path
) -> None:
    message = error_of(tmp_path, None, environ)
    assert message.startswith(source)
    assert '"redis..svc", which no host can be called' in message
