# SPDX-License-Identifier: Apache-2.0
"""Redis servers of a test's own, with and without a Sentinel or TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.sentinel import Sentinel
from testbed.servers import RedisServer
from testbed.tls import Certificates, TlsRedis


@pytest.fixture
def start_redis(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., RedisServer]]:
    """Start redis-servers of the test's own with more arguments; they are stopped after it."""
    started: list[RedisServer] = []

    def start(*arguments: str, **options: Any) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), *arguments, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def start_sentinel(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[Callable[..., Sentinel]]:
    """Start Sentinels, each with a master and its replica; they are stopped after the test."""
    started: list[Sentinel] = []

    def start(*options: str, password: str | None = None) -> Sentinel:
        started.append(Sentinel(start_redis, tmp_path, *options, password=password))
        return started[-1]

    yield start
    for sentinel in started:
        sentinel.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_redis(start_redis: Callable[..., RedisServer], certificates: Certificates) -> TlsRedis:
    return TlsRedis(start_redis, certificates)
