# SPDX-License-Identifier: Apache-2.0
"""For tests of `python -m wsgi_ws check`: a superset_config.py, the command, what it has found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.nginx import UPGRADE, Nginx
from testbed.servers import SECRET, RedisServer, Server
from wsgi_ws.cli.checks.report import Report
from wsgi_ws.cli.checks.url import UrlOptions
from wsgi_ws.cli.checks.whole import CheckOptions
from wsgi_ws.cli.checks.words import Level

PUBLIC_SECRET = "another-secret-of-tests-with-more-than-32-bytes"
BACKEND = "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"
URL = "GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL"
COOKIE = "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_"
COORDINATION = "DISTRIBUTED_COORDINATION_CONFIG"
StartServer = Callable[..., Server]
StartRedis = Callable[..., RedisServer]
StartNginx = Callable[..., Nginx]


class SupersetConfig:
    """A superset_config.py that fits the environment, and what a test changes in it."""

    def __init__(self, directory: Path, lines: dict[str, str]) -> None:
        self.path = directory / "superset_config.py"
        self.lines = lines

    @classmethod
    def of_six(cls, directory: Path, environ: dict[str, str]) -> SupersetConfig:
        """Of Superset up to 6.1."""
        lines = {
            "FEATURE_FLAGS": '{"GLOBAL_ASYNC_QUERIES": True}',
            "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND": (
                '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "localhost", '
                f'"CACHE_REDIS_PORT": {environ["REDIS_PORT"]}}}'
            ),
            "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX": repr(environ["REDIS_STREAM_PREFIX"]),
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET": repr(SECRET),
            "GLOBAL_ASYNC_QUERIES_TRANSPORT": '"ws"',
            "GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL": '"ws://bi.example.org/ws"',
            "DATA_CACHE_CONFIG": '{"CACHE_TYPE": "RedisCache"}',
            "CACHE_CONFIG": '{"CACHE_TYPE": "RedisCache"}',
        }
        return cls(directory, lines)

    @classmethod
    def of_seven(cls, directory: Path, environ: dict[str, str]) -> SupersetConfig:
        """Of Superset 7."""
        lines = {
            "FEATURE_FLAGS": '{"GLOBAL_ASYNC_QUERIES": True}',
            "WEBSOCKET_ENABLE": "True",
            "WEBSOCKET_URL": '"ws://bi.example.org/ws"',
            "WEBSOCKET_JWT_SECRET": repr(SECRET),
            COORDINATION: backend(environ),
            "REALTIME_CHANNEL_PREFIX": repr(environ.get("REALTIME_CHANNEL_PREFIX", "")),
            "DATA_CACHE_CONFIG": '{"CACHE_TYPE": "RedisCache"}',
            "CACHE_CONFIG": '{"CACHE_TYPE": "RedisCache"}',
        }
        return cls(directory, lines)

    def write(self, **changed: str | None) -> str:
        """Write the file with these assignments changed, added or (None) left out; its path."""
        lines = self.lines | {k: v for k, v in changed.items() if v is not None}
        lines = {k: v for k, v in lines.items() if changed.get(k, "") is not None}
        self.path.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        return str(self.path)


def backend(environ: dict[str, str], **changed: object) -> str:
    """Superset's setting for its Redis, with these CACHE_REDIS_… changed."""
    settings: dict[str, object] = {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_HOST": "localhost",
        "CACHE_REDIS_PORT": int(environ["REDIS_PORT"]),
    }
    return repr(settings | {f"CACHE_REDIS_{k}": v for k, v in changed.items()})


def at(url: str, **options: Any) -> CheckOptions:
    """The check of this URL."""
    return CheckOptions(url=UrlOptions(url, **options))


def to(server: Server, extra: str = UPGRADE) -> str:
    """nginx's location that leads to a server."""
    return f"proxy_pass http://127.0.0.1:{server.port}; {extra}"


def command(
    *arguments: str, environ: dict[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run `python -m wsgi_ws` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "wsgi_ws", *arguments],
        env=environ,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sentences(report: Report, *levels: Level) -> str:
    """The findings as lines."""
    wanted = levels or (Level.YELLOW, Level.RED)
    return "\n".join(f"{f.what}: {f.sentence}" for f in report.findings if f.level in wanted)


def assert_named(report: Report, level: Level, *words: str) -> None:
    """One finding of this level has all these words, in this order."""
    for finding in report.findings:
        rest: str | None = finding.sentence if finding.level is level else None
        for word in words:
            rest = rest.partition(word)[2] if rest is not None and word in rest else None
        if rest is not None:
            return
    pytest.fail(f"no {level.name} finding with {words} in:\n{sentences(report, *Level)}")
