# SPDX-License-Identifier: Apache-2.0
"""The words for a value's source."""

from __future__ import annotations

import pytest

from wsgi_ws.config.set_by import NOBODY, Kind, SetBy


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (NOBODY, "the default"),
        (SetBy(Kind.FILE, "/etc/config.json"), "/etc/config.json"),
        (SetBy(Kind.ENVIRONMENT, "REDIS_DB"), "environment variable REDIS_DB"),
        (SetBy(Kind.URL, "redis.url", "config.json"), "redis.url, config.json"),
        (SetBy(Kind.SUPERSET, "PREFIX", "Superset's default"), "PREFIX, Superset's default"),
    ],
    ids=lambda value: value.kind.name if isinstance(value, SetBy) else "",
)
def test_a_source_has_its_words(source: SetBy, words: str) -> None:
    assert str(source) == words
