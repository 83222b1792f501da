# SPDX-License-Identifier: Apache-2.0
"""The directory that the master makes for the workers' metrics, and what it must leave alone."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.multiprocess import mark_process_dead

from testbed.servers import ROOT
from wsgi_ws.server.metrics_directory import DIRECTORY_VARIABLE, MetricsDirectory


@pytest.fixture
def directory() -> Iterator[MetricsDirectory]:
    directory = MetricsDirectory()
    yield directory
    directory.remove()


def path_of(directory: MetricsDirectory) -> Path:
    assert directory.path is not None
    return Path(directory.path)


def test_the_directory_is_for_its_owner_only(directory: MetricsDirectory) -> None:
    directory.make(None)
    assert path_of(directory).stat().st_mode & 0o777 == 0o700


def test_an_operators_directory_gets_one_of_our_own_in_it(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    (tmp_path / "counter_1.db").touch()  # Superset's
    directory.make(str(tmp_path))
    assert path_of(directory).parent == tmp_path
    assert list(path_of(directory).glob("*.db")) == []


def test_a_directory_that_is_not_there_is_replaced_with_a_warning(
    directory: MetricsDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory.make(str(tmp_path / "of-another-container"))
    assert path_of(directory).is_dir()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_it_is_removed_at_the_end_and_nothing_else(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    (tmp_path / "counter_1.db").touch()
    directory.make(str(tmp_path))
    (path_of(directory) / "counter_2.db").touch()
    directory.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


def test_what_a_killed_master_has_left_is_removed(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    script = (
        "import os, sys; from wsgi_ws.server.metrics_directory import MetricsDirectory as D; "
        "D().make(sys.argv[1]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    (left / "counter_1.db").touch()
    directory.make(str(tmp_path))
    assert list(tmp_path.iterdir()) == [path_of(directory)]


def test_what_another_master_uses_stays(directory: MetricsDirectory, tmp_path: Path) -> None:
    directory.make(str(tmp_path))
    another = MetricsDirectory()
    another.make(str(tmp_path))
    assert set(tmp_path.iterdir()) == {path_of(directory), path_of(another)}
    another.remove()


def test_a_worker_finds_it_in_its_environment(directory: MetricsDirectory) -> None:
    directory.make(None)
    environ = {DIRECTORY_VARIABLE: "/supersets", "prometheus_multiproc_dir": "/old", "A": "b"}
    directory.enter_worker(environ)
    assert environ == {DIRECTORY_VARIABLE: directory.path, "A": "b"}


def test_without_one_a_worker_does_not_use_anybody_elses(directory: MetricsDirectory) -> None:
    environ = {DIRECTORY_VARIABLE: "/supersets"}
    directory.enter_worker(environ)
    assert environ == {}


def test_of_an_ended_worker_the_gauges_go_and_the_counters_stay(
    directory: MetricsDirectory,
) -> None:
    directory.make(None)
    names = ["counter_7.db", "histogram_7.db", "gauge_livesum_7.db", "gauge_livemax_7.db"]
    for name in [*names, "gauge_livesum_17.db"]:
        (path_of(directory) / name).touch()
    directory.forget_worker(7)
    left = {path.name for path in path_of(directory).glob("*.db")}
    assert left == {"counter_7.db", "histogram_7.db", "gauge_livesum_17.db"}


def test_it_removes_the_files_that_prometheus_client_would_remove(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    directory.make(None)
    script = (
        "import os, prometheus_client as p; p.Counter('c', 'c'); p.Histogram('h', 'h');"
        "[p.Gauge(m, 'g', multiprocess_mode=m) for m in ('livesum', 'livemax', 'sum')];"
        "print(os.getpid())"
    )
    environ = {DIRECTORY_VARIABLE: str(directory.path)}
    output = subprocess.check_output([sys.executable, "-c", script], env=environ, text=True)
    theirs = tmp_path / "theirs"
    shutil.copytree(path_of(directory), theirs)
    mark_process_dead(int(output), str(theirs))  # type: ignore[no-untyped-call]
    directory.forget_worker(int(output))
    left = {path.name for path in path_of(directory).iterdir()}
    assert left == {path.name for path in theirs.iterdir()}
    assert sum(name.startswith("gauge_") for name in left) == 1
