# SPDX-License-Identifier: Apache-2.0
"""A set-up for the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.ports import free_port
from testbed.servers import ROOT, SECRET, RedisServer
from testbed.superset import new_channel, publish


@pytest.fixture
def environ(
    redis_server: RedisServer, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A set-up that is right, with events in the stream; the working directory is empty."""
    publish(redis_server.client, prefix, new_channel())
    monkeypatch.chdir(tmp_path)
    return {
        "PORT": str(free_port()),
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM_PREFIX": prefix,
        "JWT_SECRET": SECRET,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
    }
