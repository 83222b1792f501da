# SPDX-License-Identifier: Apache-2.0
"""Superset and this server in one container: supervisord runs both from one superset_config.py.

A small application under gunicorn stands in for Superset. That the wheel runs in Superset's own
environment is tests/behaviour/delivery/test_real_superset.py's business.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from testbed.absent import absent
from testbed.ports import free_port
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, eventually
from testbed.superset import new_channel
from wsgi_ws.config.load import load
from wsgi_ws.server.master import GRACEFUL_TIMEOUT
from wsgi_ws.server.worker import time_to_stop

DIRECTORY = ROOT / "deploy" / "colocated"
CONFIGURATION = DIRECTORY / "supervisord.conf"
SUPERSETS_SCRIPT = "/app/docker/entrypoints/run-server.sh"

# It knows of secret, Redis and prefix what superset_config says, and no more.
STAND_IN = """
import redis
import superset_config as superset
from testbed.superset import cookie, publish

def app(environ, start_response):
    channel = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/publish":
        where = superset.GLOBAL_ASYNC_QUERIES_CACHE_BACKEND
        with redis.Redis(where["CACHE_REDIS_HOST"], where["CACHE_REDIS_PORT"]) as client:
            publish(client, superset.GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX, channel)
    start_response("200 OK", [])
    return [cookie(channel, superset.GLOBAL_ASYNC_QUERIES_JWT_SECRET).encode()]
"""


class Colocated:
    """supervisord with both programs."""

    def __init__(
        self, directory: Path, redis_port: int, prefix: str, more_settings: str = ""
    ) -> None:
        """:param more_settings: lines of superset_config.py."""
        self.port, self._supersets_port = free_port(), free_port()
        self.log_path = directory / "output.log"
        (directory / "superset_config.py").write_text(
            "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND = "
            f"{{'CACHE_TYPE': 'RedisCache', 'CACHE_REDIS_HOST': '127.0.0.1', "
            f"'CACHE_REDIS_PORT': {redis_port}}}\n"
            f"GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX = {prefix!r}\n"
            f"GLOBAL_ASYNC_QUERIES_JWT_SECRET = {SECRET!r}\n" + more_settings
        )
        (directory / "stand_in.py").write_text(STAND_IN)
        # As Superset's script does, the shell stays.
        run_server = program(
            directory / "run-server.sh",
            f"{sys.executable} -m gunicorn --bind 127.0.0.1:{self._supersets_port} stand_in:app",
        )
        program(directory / "wsgi-ws", f'exec {sys.executable} -m wsgi_ws "$@"')
        text = CONFIGURATION.read_text(encoding="utf-8")
        assert text.count(SUPERSETS_SCRIPT) == 1
        changed = directory / "supervisord.conf"
        changed.write_text(text.replace(SUPERSETS_SCRIPT, str(run_server)))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(supervisord(), "--configuration", str(changed)),
                    *("--pidfile", str(directory / "supervisord.pid")),
                ],
                cwd=directory,
                env={
                    "PATH": f"{directory}:{os.environ['PATH']}",
                    "PYTHONPATH": f"{directory}:{ROOT}",
                    "PORT": str(self.port),
                    **environment_of_the_image(),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def superset(self, path: str = "/", channel: str = "") -> str:
        """Ask the stand-in for a channel's cookie; at /publish it also publishes an event."""
        with urllib.request.urlopen(
            self._url(self._supersets_port, f"{path}?{channel}"), timeout=5
        ) as said:
            return str(said.read().decode())

    def both_answer(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            self.superset()
            with urllib.request.urlopen(self._url(self.port, "/ready"), timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def processes(self) -> list[psutil.Process]:
        """All below supervisord."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def master(self) -> psutil.Process | None:
        """This server's gunicorn, while there is one."""
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("wsgi_ws" in argument for argument in child.cmdline()):
                    return child
        return None

    def close(self) -> None:
        if self.process.poll() is None:
            left = [*self.processes(), psutil.Process(self.process.pid)]
            for process in left:
                process.suspend()  # nobody starts anything anew
            for process in left:
                process.kill()
            self.process.wait()

    @staticmethod
    def _url(port: int, path: str) -> str:
        return f"http://127.0.0.1:{port}{path}"


def environment_of_the_image() -> dict[str, str]:
    """What the Dockerfile sets."""
    text = (DIRECTORY / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"^ENV (\w+)=(\S+)$", text, re.MULTILINE))


def supervisord() -> str:
    """The program's path."""
    beside = Path(sys.executable).parent
    found = shutil.which("supervisord", path=f"{beside}:{os.environ['PATH']}")
    return found or absent("no supervisord (requirements-dev.lock has it)")


def program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/bash\n{line}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def colocated(redis_server: RedisServer, prefix: str, tmp_path: Path) -> Iterator[Colocated]:
    both = Colocated(tmp_path, redis_server.port, prefix)
    try:
        eventually(both.both_answer, "both programs answer")
        yield both
    finally:
        both.close()


def test_both_work_from_one_superset_config_and_a_stop_ends_both(colocated: Colocated) -> None:
    channel = new_channel()
    cookie = colocated.superset(channel=channel)
    with connect(
        f"ws://127.0.0.1:{colocated.port}/", additional_headers={"Cookie": cookie}, proxy=None
    ) as tab:
        colocated.superset("/publish", channel)
        assert json.loads(tab.recv(DEADLINE))["channel_id"] == channel
        processes = colocated.processes()
        colocated.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            tab.recv(DEADLINE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert colocated.process.wait(DEADLINE) == 0
    assert [process for process in processes if process.is_running()] == []
    assert "SIGKILL" not in colocated.log_path.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_is_started_again(colocated: Colocated, number: signal.Signals) -> None:
    before = colocated.master()
    assert before
    before.send_signal(number)

    def is_another() -> bool:
        now = colocated.master()
        return now is not None and now.pid != before.pid

    eventually(is_another, "supervisord has started another one")
    eventually(colocated.both_answer, "both programs answer")


def test_supervisord_waits_for_longer_than_gunicorn_does(tmp_path: Path) -> None:
    parsed = configparser.ConfigParser()
    parsed.read(CONFIGURATION)
    defaults = load({"JWT_SECRET": SECRET}, tmp_path).settings
    waits = int(parsed["program:wsgi-ws"]["stopwaitsecs"])
    assert waits > max(GRACEFUL_TIMEOUT, time_to_stop(defaults))


def test_this_server_stops_before_superset_does() -> None:
    """Else browsers come back, and find no Superset to ask."""
    parsed = configparser.ConfigParser()
    parsed.read(CONFIGURATION)
    priority = {
        name: int(parsed[f"program:{name}"]["priority"]) for name in ("superset", "wsgi-ws")
    }
    assert priority["wsgi-ws"] > priority["superset"]


def test_a_wrong_configuration_is_given_up_however_long_it_takes_to_read(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    slow = "import time\ntime.sleep(1.2)\nGLOBAL_ASYNC_QUERIES_JWT_SECRET = 'short'\n"
    both = Colocated(tmp_path, redis_server.port, prefix, slow)
    try:
        eventually(
            lambda: "wsgi-ws entered FATAL state" in both.log_path.read_text(),
            "supervisord gives this server up",
            2 * DEADLINE,
        )
        eventually(both.superset, "Superset runs on")
    finally:
        both.close()
