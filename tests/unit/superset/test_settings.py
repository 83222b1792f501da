# SPDX-License-Identifier: Apache-2.0
"""Superset's settings as they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_ws.superset.names import (
    CACHE_BACKEND,
    COORDINATION,
    PREFIX,
    REDIS_CONFIG,
    SEVEN,
    SIX,
    Generation,
)
from wsgi_ws.superset.settings import (
    SupersetError,
    SupersetSettings,
    Unknown,
    generations,
    read,
    surprises,
    target_of,
)

SECRET = SIX.secret
THEIR_SECRET = "the-secret-of-superset-with-more-than-32-bytes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "superset_config.py"


def settings(path: Path, program: str, **environ: str) -> SupersetSettings:
    path.write_text(program)
    return read(str(path), environ)


# --- reading -------------------------------------------------------------------------------------


def test_values_are_what_the_program_computes(path: Path) -> None:
    program = 'import os\nGLOBAL_ASYNC_QUERIES_JWT_SECRET = os.environ["S"] * 2\n'
    assert settings(path, program, S="ab").get(SECRET) == "abab"


def test_what_is_not_set_has_supersets_default(path: Path) -> None:
    superset = settings(path, "")
    assert superset.get(PREFIX) == "async-events-"
    assert str(superset.where(PREFIX)) == "Superset's default"


def test_output_of_the_program_does_no_harm(path: Path) -> None:
    program = f'import os\nprint("loaded")\nos.write(1, b"more")\n{PREFIX} = "x-"\n'
    assert settings(path, program).get(PREFIX) == "x-"


def test_a_place_is_file_and_line_also_of_a_key(path: Path) -> None:
    superset = settings(path, f'A = 1\n{REDIS_CONFIG} = {{\n  "host": "h",\n  "db": 1,\n}}\n')
    assert str(superset.where(REDIS_CONFIG)) == "superset_config.py line 2"
    assert str(superset.where(REDIS_CONFIG, "db")) == "superset_config.py line 4"


def test_a_key_that_is_not_there_is_left_out(path: Path) -> None:
    found = settings(path, f'A = 1\n{CACHE_BACKEND} = {{"CACHE_TYPE": "RedisCache"}}\n')
    assert str(found.where(CACHE_BACKEND, "CACHE_REDIS_DB")) == (
        "left out of superset_config.py line 2"
    )
    assert str(found.where(CACHE_BACKEND, "CACHE_TYPE")) == "superset_config.py line 2"
    assert str(settings(path, "").where(CACHE_BACKEND, "CACHE_REDIS_DB")) == "Superset's default"


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (f'{PREFIX} = "a"\n{PREFIX} = "b"\n', 2),
        (f'if True:\n    {PREFIX} = "b"\n', 2),
        (f'try:\n    {PREFIX} = "b"\nfinally:\n    pass\n', 2),
        (f'{PREFIX}: str = "b"\n', 1),
    ],
)
def test_the_last_assignment_is_the_place(path: Path, program: str, line: int) -> None:
    superset = settings(path, program)
    assert (superset.get(PREFIX), str(superset.where(PREFIX))) == (
        "b",
        f"superset_config.py line {line}",
    )


def test_a_neighbour_s_line_is_found_too(path: Path) -> None:
    path.with_name("more_settings.py").write_text(f'\n{PREFIX} = "x-"\n')
    superset = settings(path, "from more_settings import *\n")
    assert (superset.get(PREFIX), str(superset.where(PREFIX))) == ("x-", "more_settings.py line 2")


def test_a_package_that_is_missing_is_only_missed_where_it_is_used(path: Path) -> None:
    program = (
        "from not_here.config import host, Base\nclass C(Base):\n    x = host.y['z'](1)\n"
        f'{REDIS_CONFIG} = {{"host": host, "port": 1}}\n'
    )
    superset = settings(path, program)
    assert superset.missing == ["not_here"]
    assert isinstance(superset.item(REDIS_CONFIG, "host"), Unknown)
    assert superset.item(REDIS_CONFIG, "port") == 1


def test_a_text_made_with_something_missing_is_unknown(path: Path) -> None:
    superset = settings(path, f'import not_here\n{SECRET} = f"{{not_here.vault()}}-x"\n')
    assert isinstance(superset.get(SECRET), Unknown)


def test_an_import_that_may_fail_is_left_to_fail(path: Path) -> None:
    program = f'try:\n  import not_here\nexcept ImportError:\n  {PREFIX} = "plan-b-"\n'
    superset = settings(path, program)
    assert (superset.get(PREFIX), superset.missing) == ("plan-b-", [])


def test_of_the_flags_only_the_one_leaves_the_process(path: Path) -> None:
    superset = settings(path, 'FEATURE_FLAGS = {"GLOBAL_ASYNC_QUERIES": True, "X": "private"}\n')
    assert superset.values == {"FEATURE_FLAGS": {"GLOBAL_ASYNC_QUERIES": True}}


def test_no_secret_is_in_a_representation(path: Path) -> None:
    superset = settings(path, f"{SECRET} = {THEIR_SECRET!r}\n")
    assert THEIR_SECRET not in f"{superset!r} {superset.said(SECRET)!r}"


def test_env_means_what_supersets_variable_names() -> None:
    assert target_of("env", {"SUPERSET_CONFIG_PATH": "/x/s.py"}) == "/x/s.py"
    assert target_of("superset_config", {"SUPERSET_CONFIG_PATH": "/x/s.py"}) == "superset_config"
    with pytest.raises(SupersetError, match="SUPERSET_CONFIG_PATH is not set"):
        target_of("env", {})


def test_another_interpreter_that_is_not_there(path: Path) -> None:
    path.write_text("")
    with pytest.raises(SupersetError, match="can't be run"):
        read(str(path), {}, "/nowhere/python")


def test_what_is_unknown_is_no_surprise(path: Path) -> None:
    program = f"import not_here\n{CACHE_BACKEND} = not_here.backend()\n"
    assert list(surprises(settings(path, program))) == []


# --- which Superset it is ------------------------------------------------------------------------

REDIS = "{'CACHE_TYPE': 'RedisCache'}"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("", (SIX,)),
        ("GLOBAL_ASYNC_QUERIES_TRANSPORT = 'ws'\n", (SIX,)),
        ("GLOBAL_ASYNC_QUERIES_POLLING_DELAY = 500\n", (SIX,)),
        ("WEBSOCKET_ENABLE = True\n", (SEVEN,)),
        ("WEBSOCKET_ENABLE = True\nGLOBAL_ASYNC_QUERIES_POLLING_DELAY = 500\n", (SEVEN,)),
        (f"{COORDINATION} = {REDIS}\n", (SEVEN,)),
        (f"{COORDINATION} = None\n", (SIX,)),
        (f"{COORDINATION} = {REDIS}\n{CACHE_BACKEND} = {REDIS}\n", (SIX,)),
        (f"{SEVEN.secret} = 's'\n{SIX.secret} = 's'\n", (SIX, SEVEN)),
    ],
)
def test_the_names_tell_which_superset_the_settings_are_for(
    path: Path, program: str, expected: tuple[Generation, ...]
) -> None:
    assert generations(settings(path, program)) == expected


@pytest.mark.parametrize("setting", [CACHE_BACKEND, COORDINATION])
def test_a_url_of_redis_has_no_effect_in_either(path: Path, setting: str) -> None:
    program = f"{setting} = {{'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_URL': 'redis://r/1'}}\n"
    (sentence,) = surprises(settings(path, program))
    assert f'{setting}["CACHE_REDIS_URL"] (superset_config.py line 1) has no effect' in sentence


def test_a_function_is_a_setting_with_a_line(path: Path) -> None:
    superset = settings(path, "\ndef REALTIME_CHANNEL_PREFIX():\n    return 'a:'\n")
    assert superset.get("REALTIME_CHANNEL_PREFIX") == "a:"
    assert str(superset.where("REALTIME_CHANNEL_PREFIX")) == "superset_config.py line 2"
