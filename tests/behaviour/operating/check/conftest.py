# SPDX-License-Identifier: Apache-2.0
"""What a check may need to find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.check import StartNginx, StartRedis, SupersetConfig
from testbed.nginx import Nginx
from testbed.servers import RedisServer


@pytest.fixture
def superset(tmp_path: Path, environ: dict[str, str]) -> SupersetConfig:
    return SupersetConfig.of_six(tmp_path, environ)


@pytest.fixture
def superset7(tmp_path: Path, environ: dict[str, str]) -> SupersetConfig:
    return SupersetConfig.of_seven(tmp_path, environ)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[StartRedis]:
    started: list[RedisServer] = []

    def start(*arguments: str, **options: Any) -> RedisServer:
        started.append(RedisServer(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    started: list[Nginx] = []

    def start(location: str, **options: Any) -> Nginx:
        started.append(Nginx(tmp_path / f"nginx{len(started)}", location, **options))
        return started[-1]

    yield start
    for nginx in started:
        nginx.stop()
