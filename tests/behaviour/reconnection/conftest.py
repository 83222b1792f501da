# SPDX-License-Identifier: Apache-2.0
"""What the tests of coming back share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import RedisServer
from tests.behaviour.reconnection.tabs import Superset


@pytest.fixture
def superset(redis_server: RedisServer, prefix: str) -> Superset:
    return Superset(redis_server.client, prefix)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that the test may stop or flush; it keeps its data over a restart."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.close()
