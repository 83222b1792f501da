# SPDX-License-Identifier: Apache-2.0
"""The directory that the master makes for the workers' metrics, and what it must leave alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import ROOT
from wsgi_ws.observe.shared_values import Series, Values, WorkerFile
from wsgi_ws.server.metrics_directory import DIRECTORY_VARIABLE, MetricsDirectory


@pytest.fixture
def directory() -> Iterator[MetricsDirectory]:
    directory = MetricsDirectory()
    yield directory
    directory.remove()


def make(directory: MetricsDirectory, wanted: Path | None = None) -> None:
    """Make it for this process's own user."""
    directory.make(str(wanted) if wanted else None, os.geteuid(), os.getegid())


def path_of(directory: MetricsDirectory) -> Path:
    assert directory.path is not None
    return Path(directory.path)


def test_the_directory_is_for_its_owner_only(directory: MetricsDirectory) -> None:
    make(directory)
    assert path_of(directory).stat().st_mode & 0o777 == 0o700


def test_an_operators_directory_gets_one_of_our_own_in_it(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    (tmp_path / "counter_1.db").touch()  # Superset's
    make(directory, tmp_path)
    assert path_of(directory).parent == tmp_path
    assert [path.name for path in path_of(directory).iterdir()] == ["lock"]


def test_a_directory_that_is_not_there_is_replaced_with_a_warning(
    directory: MetricsDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(directory, tmp_path / "of-another-container")
    assert path_of(directory).is_dir()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_it_is_removed_at_the_end_and_nothing_else(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    (tmp_path / "counter_1.db").touch()
    make(directory, tmp_path)
    (path_of(directory) / "counter_2.db").touch()
    directory.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]


def test_what_a_killed_master_has_left_is_removed(
    directory: MetricsDirectory, tmp_path: Path
) -> None:
    script = (
        "import os, sys; from wsgi_ws.server.metrics_directory import MetricsDirectory as D; "
        "D().make(sys.argv[1], os.geteuid(), os.getegid()); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    (left / "counter_1.db").touch()
    make(directory, tmp_path)
    assert list(tmp_path.iterdir()) == [path_of(directory)]


def test_what_another_master_uses_stays(directory: MetricsDirectory, tmp_path: Path) -> None:
    make(directory, tmp_path)
    another = MetricsDirectory()
    make(another, tmp_path)
    assert set(tmp_path.iterdir()) == {path_of(directory), path_of(another)}
    another.remove()


def test_a_worker_does_not_see_the_variable(directory: MetricsDirectory) -> None:
    """prometheus-client would map files, as it does for Superset."""
    environ = {DIRECTORY_VARIABLE: "/supersets", "prometheus_multiproc_dir": "/old", "A": "b"}
    directory.enter_worker(environ)
    assert environ == {"A": "b"}


def test_of_an_ended_worker_the_counters_are_added_to_the_sum(
    directory: MetricsDirectory,
) -> None:
    make(directory)
    WorkerFile(directory.path, "7").write(Values({Series("c", "c_total", ()): 3.0}))
    directory.forget_worker("7")
    assert [path.name for path in path_of(directory).glob("*.json")] == ["sum.json"]


def test_the_workers_user_owns_it(
    directory: MetricsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda *arguments: given.append(arguments))
    directory.make(None, 65534, 65534)
    assert given == [(directory.path, 65534, 65534)]
