# SPDX-License-Identifier: Apache-2.0
"""Superset's settings as a level of the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wsgi_ws.config.from_superset import own_values
from wsgi_ws.config.load import ConfigError, Loaded, load
from wsgi_ws.superset.names import (
    CACHE_BACKEND,
    CHANNEL_PREFIX,
    COORDINATION,
    PREFIX,
    REDIS_CONFIG,
    SEVEN,
    SIX,
)
from wsgi_ws.superset.settings import (
    SupersetSettings,
    Unknown,
    read,
)

SECRET = SIX.secret
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


# --- Superset 7 ----------------------------------------------------------------------------------

REALTIME = (
    f"{SEVEN.secret} = {OUR_SECRET!r}\n{CHANNEL_PREFIX} = 'tenant-a:'\n"
    f"{COORDINATION} = {{'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_HOST': 'r', "
    "'CACHE_REDIS_PORT': 7, 'CACHE_REDIS_DB': 3, 'CACHE_REDIS_PASSWORD': 'p'}\n"
)


def test_superset_7_says_secret_prefix_and_redis(path: Path) -> None:
    s = loaded(path, REALTIME).settings
    assert (s.jwt_secret, s.realtime_channel_prefix) == (OUR_SECRET, "tenant-a:")
    assert (s.redis.host, s.redis.port, s.redis.password) == ("r", 7, "p")


def test_the_database_of_messages_does_not_matter(path: Path) -> None:
    assert loaded(path, REALTIME).settings.redis.db == 0
    assert loaded(path, REALTIME, REDIS_DB="5").warnings == ()


def test_a_prefix_that_can_be_called_is_called(path: Path) -> None:
    program = f"{REALTIME}def {CHANNEL_PREFIX}():\n    return 'called:'\n"
    result = loaded(path, program)
    assert result.settings.realtime_channel_prefix == "called:"
    assert str(result.sources["realtimeChannelPrefix"]).endswith("superset_config.py line 4")


def test_a_prefix_that_can_not_be_called_stops_the_start(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"superset_config.py line 4 fails with KeyError: 'T'"):
        loaded(path, f"{REALTIME}{CHANNEL_PREFIX} = lambda: __import__('os').environ['T']\n")


def test_a_prefix_that_something_missing_makes_is_unknown(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"realtimeChannelPrefix can't be taken.*set it here too"):
        loaded(path, f"import not_here\n{REALTIME}{CHANNEL_PREFIX} = not_here.prefix\n")


def test_superset_7_without_a_redis_says_no_address(path: Path) -> None:
    result = loaded(path, f"{SEVEN.secret} = {OUR_SECRET!r}\n", REDIS_SENTINELS="")
    assert not [key for key in result.sources if key.startswith("redis.")]


def test_sentinels_of_superset_7(path: Path) -> None:
    values = own(
        path,
        f"{COORDINATION} = {{'CACHE_TYPE': 'RedisSentinelCache', 'CACHE_REDIS_SENTINELS': "
        "[('a', 26379)], 'CACHE_REDIS_SENTINEL_MASTER': 'm', 'CACHE_REDIS_DB': 3}\n",
    )
    assert (values["redis.sentinels"], values["redis.sentinelMaster"]) == (("a:26379",), "m")
    assert "redis.db" not in values


def test_the_cookie_of_superset_7_in_its_default_is_the_one_of_here(path: Path) -> None:
    program = f"{REALTIME}{SEVEN.cookie_name} = 'superset-ws-token'\n"
    assert loaded(path, program, JWT_COOKIE_NAME="async-token").warnings == ()


def test_another_name_of_superset_7s_cookie_counts_here(path: Path) -> None:
    program = f"{REALTIME}{SEVEN.cookie_name} = 'bi'\n"
    assert loaded(path, program).settings.jwt_cookie_name == "bi"


# --- both generations in one file ----------------------------------------------------------------


def test_both_secrets_admit(path: Path) -> None:
    result = loaded(path, f"{SECRET} = {THEIR_SECRET!r}\n{SEVEN.secret} = {OUR_SECRET!r}\n")
    s = result.settings
    assert (s.jwt_secret, s.previous_jwt_secret) == (OUR_SECRET, THEIR_SECRET)
    assert result.warnings == ()


@pytest.mark.parametrize("here", [THEIR_SECRET, OUR_SECRET])
def test_both_secrets_admit_whichever_of_them_is_set_here(path: Path, here: str) -> None:
    program = f"{SECRET} = {THEIR_SECRET!r}\n{SEVEN.secret} = {OUR_SECRET!r}\n"
    result = loaded(path, program, JWT_SECRET=here)
    s = result.settings
    assert s.jwt_secret == here
    assert {s.jwt_secret, s.previous_jwt_secret} == {THEIR_SECRET, OUR_SECRET}
    assert result.warnings == ()


def test_one_secret_for_both_has_none_before_it(path: Path) -> None:
    program = f"{SECRET} = {THEIR_SECRET!r}\n{SEVEN.secret} = {THEIR_SECRET!r}\n"
    assert loaded(path, program).settings.previous_jwt_secret == ""


def test_a_secret_before_that_is_set_here_wins_over_the_other_generations(path: Path) -> None:
    before = "b" * 40
    program = f"{SECRET} = {THEIR_SECRET!r}\n{SEVEN.secret} = {OUR_SECRET!r}\n"
    result = loaded(path, program, PREVIOUS_JWT_SECRET=before)
    assert result.settings.previous_jwt_secret == before
    (warning,) = result.warnings
    assert warning.startswith("previousJwtSecret (from environment variable PREVIOUS_JWT_SECRET)")


def test_the_old_secret_counts_where_superset_7_has_none_yet(path: Path) -> None:
    program = f"{SECRET} = {THEIR_SECRET!r}\n{CHANNEL_PREFIX} = 'a:'\n"
    s = loaded(path, program).settings
    assert (s.jwt_secret, s.previous_jwt_secret) == (THEIR_SECRET, "")


def test_a_short_secret_beside_superset_7s_is_left_out_with_a_warning(path: Path) -> None:
    result = loaded(path, f"{SECRET} = 'short'\n{SEVEN.secret} = {OUR_SECRET!r}\n")
    assert result.settings.previous_jwt_secret == ""
    (warning,) = result.warnings
    assert f"{SECRET}, superset_config.py line 1 has fewer than 32 bytes" in warning
    assert "short" not in warning


SECRETS = f"{SECRET} = {OUR_SECRET!r}\n{SEVEN.secret} = {OUR_SECRET!r}\n"


@pytest.mark.parametrize(
    ("old", "new", "chosen"),
    [("a", "b", "b"), ("a", "superset-ws-token", "a"), ("async-token", "b", "b")],
)
def test_two_names_of_cookies_that_one_key_can_not_have_warn_of_the_one_that_counts(
    path: Path, old: str, new: str, chosen: str
) -> None:
    program = f"{SECRETS}{SIX.cookie_name} = {old!r}\n{SEVEN.cookie_name} = {new!r}\n"
    result = loaded(path, program)
    assert result.settings.jwt_cookie_name == chosen
    (warning,) = result.warnings
    assert f'"{old}" ({SIX.cookie_name}, superset_config.py line 3)' in warning
    assert f'one name counts for both transports, and that is "{chosen}"' in warning


@pytest.mark.parametrize(("old", "new"), [("async-token", "superset-ws-token"), ("same", "same")])
def test_two_names_of_cookies_that_one_key_can_have(path: Path, old: str, new: str) -> None:
    program = f"{SECRETS}{SIX.cookie_name} = {old!r}\n{SEVEN.cookie_name} = {new!r}\n"
    assert loaded(path, program).warnings == ()


def redis(setting: str, host: str) -> str:
    return f"{setting} = {{'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_HOST': {host!r}}}\n"


def test_two_servers_of_redis_warn_of_the_one_that_is_followed(path: Path) -> None:
    result = loaded(path, SECRETS + redis(CACHE_BACKEND, "one") + redis(COORDINATION, "two"))
    assert result.settings.redis.host == "one"
    (warning,) = result.warnings
    assert f"go to one:6379 ({CACHE_BACKEND}, superset_config.py line 3)" in warning
    assert "no message would arrive" in warning


def test_two_names_of_the_loopback_are_one_server(path: Path) -> None:
    program = SECRETS + redis(CACHE_BACKEND, "localhost") + redis(COORDINATION, "127.0.0.1")
    assert loaded(path, program).warnings == ()


def test_the_redis_of_messages_counts_where_that_of_events_is_not_set(path: Path) -> None:
    result = loaded(path, SECRETS + redis(COORDINATION, "two"))
    assert result.settings.redis.host == "two"
    assert result.warnings == ()


def test_superset_6_1_may_have_a_redis_for_coordination_of_its_own(path: Path) -> None:
    program = PROGRAM + redis(COORDINATION, "two")
    result = loaded(path, program)
    assert (result.settings.redis.host, result.warnings) == ("r", ())
