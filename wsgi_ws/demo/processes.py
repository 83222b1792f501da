# SPDX-License-Identifier: Apache-2.0
"""The processes that the demo starts, and what its buttons do to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import redis

from wsgi_ws.demo import redis_finder
from wsgi_ws.demo.cleaner import STOP_TIMEOUT_S, Cleaner
from wsgi_ws.sources import redis_client

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30.0


# The loopback is not behind the proxy that the environment may name.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demo can't go on, or do what a button asks for; the text is for the user."""


class OwnRedis:
    """A redis-server for this run. It has the same port, password and data after each start."""

    def __init__(self, cleaner: Cleaner) -> None:
        """Start it.

        :param cleaner: ends it if the demo can't.
        :raises redis_finder.RedisNotFound: when that doesn't work.
        """
        self.settings = redis_finder.new_settings()
        self._cleaner = cleaner
        self._directory = tempfile.TemporaryDirectory(prefix="wsgi_ws-demo-")
        cleaner.watch_directory(self._directory.name)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except redis_finder.RedisNotFound:
            self._directory.cleanup()
            raise

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it, unless it runs."""
        with self._lock:
            if self._process is None:
                self._process = redis_finder.start(self.settings, Path(self._directory.name))
                self._cleaner.watch_process(self._process)

    def stop(self) -> None:
        """Stop it, unless it is stopped. It keeps its data, as one in production would."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                client = redis_client.connect(self.settings, read_timeout=STOP_TIMEOUT_S)
                with contextlib.closing(client), contextlib.suppress(redis.RedisError):
                    client.shutdown(save=True)
                end(process)

    def raise_if_ended(self) -> None:
        """:raises DemoError: when it has ended and no button was pressed."""
        with self._lock:
            if self._process is not None:
                _raise_if_ended("Redis", self._process)

    def close(self) -> None:
        """End it for good."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                end(process)
        self._directory.cleanup()


class Gunicorn:
    """The server under demonstration, started as in production."""

    def __init__(self, environment: Mapping[str, str], port: int, cleaner: Cleaner) -> None:
        """Start it.

        :param cleaner: ends it if the demo can't.
        """
        command = [sys.executable, "-m", "wsgi_ws", "serve", "--bind", f"127.0.0.1:{port}"]
        path = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        self._port = port
        # In a session of its own, so that Ctrl-C reaches only us and things stop in order.
        self._process = subprocess.Popen(
            command, env={**environment, "PYTHONPATH": path}, start_new_session=True
        )
        cleaner.watch_process(self._process)

    def wait_for_health(self, stop: threading.Event) -> None:
        """Return when it answers, or when told to stop.

        Another server on the port may answer too. Ours has workers only when the port is its own.

        :raises DemoError: when it ends instead or takes too long.
        """
        url = f"http://127.0.0.1:{self._port}/health"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not stop.wait(0.1):
            if self._process.poll() is not None:
                code = self._process.returncode
                raise DemoError(f"The server ended with exit code {code} while starting.")
            if self.workers():
                with contextlib.suppress(OSError), _DIRECTLY.open(url, timeout=2):
                    return
            if time.monotonic() > deadline:
                raise DemoError(f"The server does not answer {url}.")

    def workers(self) -> list[int]:
        """The process IDs of its workers, the oldest first."""
        return children(self._process.pid)

    def kill_a_worker(self) -> int:
        """End the oldest worker with SIGKILL: it can't say goodbye. Returns its process ID.

        :raises DemoError: when there is none at the moment.
        """
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return pid
        raise DemoError("There is no worker at the moment: the next one is starting.")

    def reload(self) -> None:
        """Let it read its configuration again and replace its workers, with SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def raise_if_ended(self) -> None:
        """:raises DemoError: when it has ended."""
        _raise_if_ended("The server", self._process)

    def close(self) -> None:
        """Stop it."""
        end(self._process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with SIGTERM; one that doesn't obey is killed."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children(parent: int) -> list[int]:
    """The process IDs of a process's children that have not ended, in the order of their start."""
    found = []
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if directory.name.isdecimal():
                # The program's name stands in parentheses and may have spaces and parentheses.
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
                state, its_parent, started = fields[0], int(fields[1]), int(fields[19])
                if its_parent == parent and state != "Z":
                    found.append((started, int(directory.name)))
    return [pid for _, pid in sorted(found)]


def _raise_if_ended(name: str, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise DemoError(f"{name} ended with exit code {process.returncode}.")
