# SPDX-License-Identifier: Apache-2.0
"""What is said about a log file that can't be written to, before the first line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from testbed.configuration import load_with
from wsgi_ws.server.log_file import problem_with


def problem(directory: Path, name: Path | str, *, wanted: bool = True) -> str | None:
    return problem_with(load_with(directory, {"logToFile": wanted, "logFilename": str(name)}))


def test_a_good_file_is_no_problem_and_not_made_yet(tmp_path: Path) -> None:
    assert problem(tmp_path, tmp_path / "ws.log") is None
    assert not (tmp_path / "ws.log").exists()


def test_a_file_with_lines_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "ws.log").write_text("a line\n")
    assert problem(tmp_path, tmp_path / "ws.log") is None
    assert (tmp_path / "ws.log").read_text() == "a line\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "Is a directory"), ("no/where.log", "No such file or directory")],
)
def test_a_bad_name_is_told_with_its_source_and_the_remedy(
    tmp_path: Path, name: str, reason: str
) -> None:
    told = problem(tmp_path, tmp_path / name)
    assert told is not None
    assert told.startswith("logFilename ")
    assert reason in told
    assert "config.json" in told
    assert "set logToFile to false" in told


def test_a_file_that_is_not_wanted_is_not_looked_at(tmp_path: Path) -> None:
    assert problem(tmp_path, tmp_path, wanted=False) is None


def test_what_passes_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    loaded = load_with(tmp_path, {"logToFile": True, "logFilename": str(tmp_path / "ws.log")})
    monkeypatch.setattr(os, "open", fail)
    assert problem_with(loaded) is None
