# SPDX-License-Identifier: Apache-2.0
"""What the version of Redis means."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.checks.redis import check_version
from wsgi_ws.cli.checks.words import Level


@pytest.mark.parametrize(
    ("version", "level"),
    [("4.0.14", Level.RED), ("5.0.0", Level.GREEN), ("255.255.255", Level.GREEN), (None, 0)],
)
def test_streams_need_redis_5(version: str | None, level: Level) -> None:
    assert check_version(version, "redis://r").level == level
