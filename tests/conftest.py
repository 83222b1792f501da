# SPDX-License-Identifier: Apache-2.0
"""Fixtures that start real servers: one redis-server per session, a fresh prefix per test."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from testbed.servers import RedisServer, Server

SEEDS = ("SOAK_SEED", "FUZZ_SEED")

# An example's time tells nothing on a machine that others use too. And what is searched is the same
# each time: a change must not fail by a world that it has nothing to do with. To find new ones is
# the business of HYPOTHESIS=search (and MODEL_EXAMPLES).
settings.register_profile("same each time", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS") or "same each time")


def pytest_configure() -> None:
    """Choose the seeds of random tests once, for all processes of a run."""
    for name in SEEDS:
        os.environ.setdefault(name, str(random.SystemRandom().randrange(2**32)))


def pytest_report_header() -> str:
    """How to repeat a run's random choices."""
    return " ".join(f"{name}={os.environ[name]}" for name in SEEDS)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's redis-server; tests keep apart by their prefixes."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def prefix() -> str:
    """A stream prefix of the test's own."""
    return f"events-{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def start_server(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> Iterator[Callable[..., Server]]:
    """Start servers with the options of `Server`; they are stopped after the test."""
    started: list[Server] = []

    def start(**options: Any) -> Server:
        options.setdefault("prefix", prefix)
        server = Server(tmp_path, options.pop("redis_port", redis_server.port), **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server with defaults and one worker."""
    return start_server()
