# SPDX-License-Identifier: Apache-2.0
"""Nowhere to put temporary files, as with a read-only root file system."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.servers import DEADLINE, ROOT, Server, eventually
from wsgi_ws.server.worker_tmp import SHARED_MEMORY

StartServer = Callable[..., Server]

pytestmark = pytest.mark.skipif(
    not os.access(SHARED_MEMORY, os.W_OK), reason=f"{SHARED_MEMORY} can't be written to"
)
# Python loads it by itself, before anything else.
SITECUSTOMIZE = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"


def test_without_a_directory_for_them_it_serves_and_says_what_is_off(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    server = start_server(environ={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert server.is_ready()
    assert "Traceback" not in server.log_text()
    assert "/metrics shows only the worker that answers" in server.log_text()


def test_a_directory_that_can_not_be_used_stops_the_start_with_one_line(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=["--worker-tmp-dir", "/nowhere"], wait=False)
    assert server.process.wait(DEADLINE) == 1
    (line,) = [line for line in server.log_text().splitlines() if "Starting" not in line]
    assert "does not start: gunicorn can't make a file in /nowhere (No such file or" in line
    assert "--worker-tmp-dir /dev/shm" in line


def test_one_that_goes_away_later_ends_nothing(start_server: StartServer, tmp_path: Path) -> None:
    directory = tmp_path / "workers"
    directory.mkdir()
    server = start_server(arguments=["--worker-tmp-dir", str(directory)])
    (worker,) = server.pids()
    directory.rmdir()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: server.pids() not in ([], [worker]), "there is another worker")
    eventually(server.is_ready, "it answers")
    assert "/dev/shm is used for new workers" in server.log_text()
