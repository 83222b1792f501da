# SPDX-License-Identifier: Apache-2.0
"""Superset's settings as a level of the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wsgi_ws.config.from_superset import own_values
from wsgi_ws.config.load import ConfigError, Loaded, load
from wsgi_ws.superset.settings import (
    CACHE_BACKEND,
    PREFIX,
    REDIS_CONFIG,
    SECRET,
    SupersetSettings,
    Unknown,
    read,
)

THEIR_SECRET = "the-secret-of-superset-with-more-than-32-bytes"
OUR_SECRET = "the-secret-of-here-which-has-more-than-32-bytes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "superset_config.py"


def settings(path: Path, program: str, **environ: str) -> SupersetSettings:
    path.write_text(program)
    return read(str(path), environ)


# --- as values of our keys -----------------------------------------------------------------------


def own(path: Path, program: str) -> dict[str, Any]:
    return {key: said.value for key, said in own_values(settings(path, program)).items()}


def test_the_old_setting(path: Path) -> None:
    values = own(path, f'{REDIS_CONFIG} = {{"host": "r", "port": "7", "db": "2", "ssl": True}}\n')
    expected = {"redis.host": "r", "redis.port": 7, "redis.db": 2, "redis.ssl": True}
    assert expected.items() <= values.items()


def test_the_new_setting_wins(path: Path) -> None:
    program = (
        f'{REDIS_CONFIG} = {{"host": "old"}}\n'
        f'{CACHE_BACKEND} = {{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "new", '
        '"CACHE_REDIS_USER": "u", "CACHE_REDIS_PASSWORD": "p"}\n'
    )
    values = own(path, program)
    assert values["redis.host"] == "new"
    assert (values["redis.username"], values["redis.password"]) == ("u", "p")


def test_sentinel(path: Path) -> None:
    program = (
        f'{CACHE_BACKEND} = {{"CACHE_TYPE": "RedisSentinelCache", "CACHE_REDIS_DB": 3, '
        '"CACHE_REDIS_SENTINELS": [("a", 26379), ("fe80::1", 1)], '
        '"CACHE_REDIS_SENTINEL_MASTER": "m", "CACHE_REDIS_SENTINEL_PASSWORD": None}\n'
    )
    values = own(path, program)
    assert values["redis.sentinels"] == ("a:26379", "[fe80::1]:1")
    assert (values["redis.sentinelMaster"], values["redis.sentinelPassword"]) == ("m", "")
    assert values["redis.db"] == 0, "Superset writes its events there"
    assert "redis.host" not in values


def test_a_value_of_the_wrong_type_is_unknown(path: Path) -> None:
    values = own(path, f'{REDIS_CONFIG} = {{"port": "tcp://10.0.0.1:6379"}}\n')
    assert isinstance(values["redis.port"], Unknown)


def test_no_secret_is_in_the_representation_of_a_value(path: Path) -> None:
    assert THEIR_SECRET not in repr(own_values(settings(path, f"{SECRET} = {THEIR_SECRET!r}\n")))


# --- one source of truth -------------------------------------------------------------------------

PROGRAM = (
    f'{SECRET} = "{THEIR_SECRET}"\n{PREFIX} = "bi-"\n'
    f'{CACHE_BACKEND} = {{"CACHE_TYPE": "RedisCache", '
    '"CACHE_REDIS_HOST": "r", "CACHE_REDIS_DB": 3}\n'
)


def loaded(path: Path, program: str = PROGRAM, file: Any = None, **environ: str) -> Loaded:
    path.write_text(program)
    if file:
        path.with_name("config.json").write_text(json.dumps(file))
    return load({"WSGI_WS_SUPERSET_CONFIG": str(path)} | environ, path.parent)


def test_supersets_values_lie_over_the_defaults(path: Path) -> None:
    result = loaded(path)
    s = result.settings
    assert (s.redis.host, s.redis.db, s.redis_stream_prefix) == ("r", 3, "bi-")
    assert s.jwt_secret == THEIR_SECRET
    assert result.warnings == ()


def test_the_source_is_supersets_line(path: Path) -> None:
    sources = loaded(path).sources
    assert (
        str(sources["redis.db"]) == f'{CACHE_BACKEND}["CACHE_REDIS_DB"], superset_config.py line 3'
    )
    assert str(sources["jwtCookieName"]).endswith("Superset's default")


def test_file_and_environment_lie_over_supersets_values(path: Path) -> None:
    result = loaded(path, file={"redis": {"db": 5}}, REDIS_STREAM_PREFIX="own-")
    assert (result.settings.redis.db, result.settings.redis_stream_prefix) == (5, "own-")
    assert result.settings.redis.host == "r"


def test_a_differing_value_warns_of_both_places(path: Path) -> None:
    warnings = "\n".join(loaded(path, file={"redis": {"db": 5}}, REDIS_HOST="h").warnings)
    assert "redis.db (from" in warnings
    assert "config.json) is 5, unlike Superset's GLOBAL_ASYNC_QUERIES_CACHE_BACKEND" in warnings
    assert "redis.host (from environment variable REDIS_HOST) is" in warnings
    assert "superset_config.py line 3, and wins" in warnings


def test_a_secret_that_differs_only_in_quotation_marks_is_said_to(path: Path) -> None:
    path.write_text(f"{SECRET} = {'s' * 40!r}\n")
    environ = {"JWT_SECRET": f'"{"s" * 40}"', "WSGI_WS_SUPERSET_CONFIG": str(path)}
    warnings = "\n".join(load(environ, path.parent).warnings)
    assert "superset_config.py line 1 only in the quotation marks around it, and wins" in warnings
    assert "sss" not in warnings


def test_a_differing_secret_is_not_shown(path: Path) -> None:
    result = loaded(path, JWT_SECRET=OUR_SECRET)
    assert result.settings.jwt_secret == OUR_SECRET
    (warning,) = result.warnings
    assert warning.startswith("jwtSecret (from environment variable JWT_SECRET) differs from")
    assert OUR_SECRET not in warning
    assert THEIR_SECRET not in warning


def test_supersets_secret_as_the_one_before_is_a_rotation(path: Path) -> None:
    (warning,) = loaded(path, JWT_SECRET=OUR_SECRET, PREVIOUS_JWT_SECRET=THEIR_SECRET).warnings
    assert warning.endswith("previousJwtSecret, which admits too: a rotation is under way")


def test_the_secret_before_is_never_supersets(path: Path) -> None:
    program = f"{PROGRAM}PREVIOUS_JWT_SECRET = {OUR_SECRET!r}\npreviousJwtSecret = {OUR_SECRET!r}\n"
    result = loaded(path, program)
    assert result.settings.previous_jwt_secret == ""


def test_supersets_secret_is_the_present_one_beside_the_one_before(path: Path) -> None:
    result = loaded(path, PREVIOUS_JWT_SECRET=OUR_SECRET)
    assert result.settings.jwt_secret == THEIR_SECRET
    assert result.settings.previous_jwt_secret == OUR_SECRET
    assert result.warnings == ()


def test_equal_values_do_not_warn(path: Path) -> None:
    assert loaded(path, REDIS_DB="3", JWT_ALGORITHMS="HS256,HS512").warnings == ()


def test_an_address_of_another_kind_is_not_mixed_with_supersets(path: Path) -> None:
    result = loaded(path, REDIS_UNIX_SOCKET_PATH="/run/redis.sock")
    assert result.settings.redis.host == "127.0.0.1"
    assert result.settings.redis.db == 3
    assert "redis.unixSocketPath (from environment" in result.warnings[0]
    assert len(result.warnings) == 1


def test_settings_that_can_not_be_read_stop_the_start(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"supersetConfig \(from environment.*line 1 fails with"):
        loaded(path, "1/0\n")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (f'{REDIS_CONFIG} = {{"host": "r"}}\n', "which Superset reads up to 4.1"),
        (
            f'{CACHE_BACKEND} = {{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://r/1"}}\n',
            "has no effect: of this setting Superset reads CACHE_REDIS_HOST",
        ),
    ],
)
def test_an_address_from_where_nobody_expects_it_warns(
    path: Path, program: str, words: str
) -> None:
    (warning,) = loaded(path, program, JWT_SECRET=OUR_SECRET).warnings[:1]
    assert words in warning
    assert words not in "".join(
        loaded(
            path, program, REDIS_SENTINELS="s:1", REDIS_SENTINEL_MASTER="m", JWT_SECRET=OUR_SECRET
        ).warnings
    )


def test_a_value_that_is_unknown_here_stops_the_start(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jwtSecret can't be taken.*not installed here"):
        loaded(path, f"import not_here\n{SECRET} = not_here.vault()\n")
    assert loaded(path, f"import not_here\n{SECRET} = not_here.x\n", JWT_SECRET=OUR_SECRET)


def test_supersets_default_secret_is_too_short(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jwtSecret has 21 bytes \(from GLOBAL_ASYNC"):
        loaded(path, "")


def test_the_file_may_name_supersets_settings(path: Path) -> None:
    path.write_text(PROGRAM)
    path.with_name("config.json").write_text(json.dumps({"supersetConfig": str(path)}))
    assert load({}, path.parent).settings.redis.host == "r"


@pytest.mark.parametrize(
    ("value", "requirement"),
    [
        ("__import__('ssl').CERT_NONE", "none"),
        ("0", "none"),
        ("'none'", "none"),
        ("__import__('ssl').CERT_REQUIRED", "required"),
        ("None", "required"),
        ("''", "required"),
    ],
)
@pytest.mark.parametrize(
    "setting",
    [
        f"{REDIS_CONFIG} = {{'ssl_cert_reqs': %s}}\n",
        f"{CACHE_BACKEND} = {{'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_SSL_CERT_REQS': %s}}\n",
    ],
)
def test_a_constant_of_ssl_says_how_certificates_are_verified(
    path: Path, setting: str, value: str, requirement: str
) -> None:
    assert own(path, setting % value)["redis.sslCertReqs"] == requirement
