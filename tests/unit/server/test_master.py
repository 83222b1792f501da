# SPDX-License-Identifier: Apache-2.0
"""What gunicorn's master makes of the configuration, and gives to its workers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.ports import free_port
from testbed.servers import ROOT
from wsgi_ws.server.master import Master, master_of_this_process
from wsgi_ws.server.metrics_directory import DIRECTORY_VARIABLE

RIGHT = {"JWT_SECRET": "x" * 32, "SUPERSET_CONFIG_PATH": ""}


@pytest.fixture(autouse=True)
def _no_configuration_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def master() -> Iterator[Master]:
    master = Master()
    yield master
    master.on_exit(None)


def test_a_wrong_configuration_ends_the_process_with_a_line_for_each_problem(
    master: Master,
) -> None:
    with pytest.raises(SystemExit) as end:
        master.configure({"JWT_SECRET": "short", "ALLOWED_ORIGINS": "", "REDIS_URL": "http://x"})
    lines = str(end.value.code).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("wsgi_ws does not start: ") for line in lines)


def test_a_wrong_configuration_at_a_reload_leaves_the_one_before(master: Master) -> None:
    master.configure(RIGHT | {"PORT": "4711"})
    assert master.configure({"JWT_SECRET": "short", "PORT": "4712"}).port == 4711


def test_a_reload_names_the_problems_and_then_forgets_them(
    master: Master, caplog: pytest.LogCaptureFixture
) -> None:
    for environ in (RIGHT, {"JWT_SECRET": "short"}, RIGHT):
        master.configure(environ)
        master.on_reload(None)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("not all of the configuration is changed: jwtSecret")


def test_a_defect_in_loading_at_a_reload_is_a_line_without_its_text(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defective(_: Any) -> Any:
        raise ValueError("perhaps a password")

    settings = master.configure(RIGHT)
    monkeypatch.setattr("wsgi_ws.server.master.load", defective)
    assert master.configure(RIGHT) is settings
    master.on_reload(None)
    assert "it can't be loaded (ValueError)" in caplog.text
    assert "password" not in caplog.text


def test_a_reload_that_can_not_have_the_metrics_port_says_so_and_goes_on(
    master: Master, caplog: pytest.LogCaptureFixture
) -> None:
    other, port = Master(), str(free_port())
    other.configure(RIGHT | {"METRICS_PORT": port})
    other.on_reload(None)
    master.configure(RIGHT | {"METRICS_PORT": port})
    master.on_reload(None)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"metricsPort {port} can't be listened at" in record.getMessage()
    other.on_exit(None)


@pytest.mark.parametrize(("drain_ms", "seconds"), [("2000", 30), ("60000", 66), ("24001", 31)])
def test_gunicorn_never_waits_for_less_than_its_default_nor_than_a_stop_may_take(
    master: Master, drain_ms: str, seconds: int
) -> None:
    master.configure(RIGHT | {"DRAIN_MS": drain_ms})
    assert master.graceful_timeout == seconds


def test_a_worker_gets_what_is_prepared(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = master.configure(RIGHT | {"METRICS_PORT": str(free_port())})
    master.on_reload(None)
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    server: Any = SimpleNamespace(cfg=SimpleNamespace(uid=os.geteuid(), gid=os.getegid()))
    master.when_ready(server)
    worker: Any = SimpleNamespace(handle_exit=None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv(DIRECTORY_VARIABLE, "undone after the test")
    master.post_fork(None, worker)
    assert worker.prepared.settings is settings
    assert worker.prepared.metrics_listener.getsockname()[1] == settings.metrics_port
    assert worker.prepared.metrics_directory


def test_there_is_one_in_a_process() -> None:
    assert master_of_this_process() is master_of_this_process()


def test_the_master_does_not_load_the_library() -> None:
    script = (
        "import sys, runpy; runpy.run_path('gunicorn.conf.py'); "
        "print([n for n in ('prometheus_client', 'redis', 'jwt', 'flask') if n in sys.modules])"
    )
    environ = {"JWT_SECRET": "x" * 32, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
