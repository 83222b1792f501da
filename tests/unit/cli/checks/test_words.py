# SPDX-License-Identifier: Apache-2.0
"""How to change a value."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.checks.words import change
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.set_by import NOBODY, Kind, SetBy

FILE = SetBy(Kind.FILE, "config.json")
UNPLACED = "set redis.db or REDIS_DB to 0"


@pytest.mark.parametrize(
    ("source", "path", "value", "words"),
    [
        (SetBy(Kind.ENVIRONMENT, "REDIS_DB"), "redis.db", 0, "set REDIS_DB=0"),
        (FILE, "redis.db", 0, 'write "db": 0 in "redis" in config.json'),
        (NOBODY, "redis.db", 0, UNPLACED),
        (SetBy(Kind.URL, "redis.url", "config.json"), *("redis.db", 0), UNPLACED),
        (SetBy(Kind.SUPERSET, "CACHE", "line 1"), *("redis.db", 0), UNPLACED),
        (FILE, "jwtCookieName", "x", 'write "jwtCookieName": "x" in config.json'),
        (
            SetBy(Kind.ENVIRONMENT, "JWT_SECRET"),
            "jwtSecret",
            "s",
            "set JWT_SECRET to the same value",
        ),
        (FILE, "jwtSecret", "s", "set jwtSecret to the same value"),
        (NOBODY, "jwtSecret", "s", "set JWT_SECRET to the same value"),
        (SetBy(Kind.FILE, "environment.json"), "port", 1, 'write "port": 1 in environment.json'),
    ],
)
def test_a_value_is_changed_where_it_comes_from(
    source: SetBy, path: str, value: object, words: str
) -> None:
    loaded = Loaded(Settings(), {path: source}, ())
    assert change(path, loaded, value) == words
