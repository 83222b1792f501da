# SPDX-License-Identifier: Apache-2.0
"""What the master prepares for Prometheus, and what it must leave alone."""

from __future__ import annotations

import logging
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import free_port
from wsgi_ws.server.exposure import DIRECTORY_VARIABLE, Exposure

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def exposure() -> Iterator[Exposure]:
    exposure = Exposure()
    yield exposure
    exposure.close()


def directory_of(exposure: Exposure) -> Path:
    assert exposure.directory is not None
    return Path(exposure.directory)


# --- the directory -------------------------------------------------------------------------------


def test_the_directory_is_for_its_owner_only(exposure: Exposure) -> None:
    exposure.make_directory(None)
    assert directory_of(exposure).stat().st_mode & 0o777 == 0o700


def test_an_operators_directory_gets_one_of_our_own_in_it(
    exposure: Exposure, tmp_path: Path
) -> None:
    (tmp_path / "counter_1.db").touch()  # Superset's
    exposure.make_directory(str(tmp_path))
    assert directory_of(exposure).parent == tmp_path
    assert list(directory_of(exposure).glob("*.db")) == []


def test_a_directory_that_is_not_there_is_replaced_with_a_warning(
    exposure: Exposure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exposure.make_directory(str(tmp_path / "of-another-container"))
    assert directory_of(exposure).is_dir()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_it_is_removed_at_the_end_and_nothing_else(exposure: Exposure, tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()
    exposure.make_directory(str(tmp_path))
    (directory_of(exposure) / "counter_2.db").touch()
    exposure.close()
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


def test_what_a_killed_master_has_left_is_removed(exposure: Exposure, tmp_path: Path) -> None:
    script = (
        "import os, sys; from wsgi_ws.server.exposure import Exposure; "
        "Exposure().make_directory(sys.argv[1]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    (left / "counter_1.db").touch()
    exposure.make_directory(str(tmp_path))
    assert list(tmp_path.iterdir()) == [directory_of(exposure)]


def test_what_another_master_uses_stays(exposure: Exposure, tmp_path: Path) -> None:
    exposure.make_directory(str(tmp_path))
    another = Exposure()
    another.make_directory(str(tmp_path))
    assert set(tmp_path.iterdir()) == {directory_of(exposure), directory_of(another)}
    another.close()


def test_a_worker_finds_it_in_its_environment(exposure: Exposure) -> None:
    exposure.make_directory(None)
    environ = {DIRECTORY_VARIABLE: "/supersets", "prometheus_multiproc_dir": "/old", "A": "b"}
    exposure.enter_worker(environ)
    assert environ == {DIRECTORY_VARIABLE: exposure.directory, "A": "b"}


def test_without_one_a_worker_does_not_use_anybody_elses(exposure: Exposure) -> None:
    environ = {DIRECTORY_VARIABLE: "/supersets"}
    exposure.enter_worker(environ)
    assert environ == {}


def test_of_an_ended_worker_the_gauges_go_and_the_counters_stay(exposure: Exposure) -> None:
    exposure.make_directory(None)
    names = ["counter_7.db", "histogram_7.db", "gauge_livesum_7.db", "gauge_livemax_7.db"]
    for name in [*names, "gauge_livesum_17.db"]:
        (directory_of(exposure) / name).touch()
    exposure.forget_worker(7)
    left = {path.name for path in directory_of(exposure).glob("*.db")}
    assert left == {"counter_7.db", "histogram_7.db", "gauge_livesum_17.db"}


def test_the_master_does_not_load_the_library() -> None:
    script = (
        "import sys, runpy; runpy.run_path('gunicorn.conf.py'); "
        "print([n for n in ('prometheus_client', 'redis', 'jwt') if n in sys.modules])"
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


# --- the listener --------------------------------------------------------------------------------


def test_it_listens_where_it_is_told(exposure: Exposure) -> None:
    port = free_port()
    exposure.listen("127.0.0.1", port, replacing=False)
    assert exposure.listener is not None
    assert exposure.listener.getsockname() == ("127.0.0.1", port)


def test_a_port_that_is_taken_is_an_error(exposure: Exposure) -> None:
    port = free_port()
    exposure.listen("127.0.0.1", port, replacing=False)
    with pytest.raises(OSError, match="in use"):
        Exposure().listen("127.0.0.1", port, replacing=False)


def test_a_master_that_replaces_another_shares_its_port(exposure: Exposure) -> None:
    port = free_port()
    exposure.listen("127.0.0.1", port, replacing=False)
    successor = Exposure()
    successor.listen("127.0.0.1", port, replacing=True)
    successor.close()


def test_nothing_listens_after_the_end(exposure: Exposure) -> None:
    port = free_port()
    exposure.listen("127.0.0.1", port, replacing=False)
    exposure.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
