# SPDX-License-Identifier: Apache-2.0
"""Containers, open files and versions of libraries."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from testbed.configuration import load_with
from wsgi_ws.cli.checks.machine import (
    LIBRARIES,
    check_descriptors,
    check_libraries,
    check_log_file,
    in_container,
    is_older,
)
from wsgi_ws.cli.checks.words import Level
from wsgi_ws.server import open_files

ROOT = Path(__file__).resolve().parents[4]


def test_a_container_is_recognized_by_its_marks(tmp_path: Path) -> None:
    assert not in_container({}, tmp_path)
    assert in_container({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert in_container({}, tmp_path)


@pytest.mark.parametrize(("name", "level"), [("ws.log", Level.GREEN), (".", Level.RED)])
def test_the_log_file_must_be_one_that_can_be_written_to(
    tmp_path: Path, name: str, level: Level
) -> None:
    document = {"logToFile": True, "logFilename": str(tmp_path / name)}
    assert check_log_file(load_with(tmp_path, document)).level is level


@pytest.mark.parametrize(
    ("sockets", "limit", "level"),
    [
        (0, resource.RLIM_INFINITY, Level.GREEN),
        (0, 100_000, Level.GREEN),
        (0, 1024, Level.YELLOW),
        (1000, 1063, Level.RED),
        (1000, 1064, Level.GREEN),
    ],
)
def test_open_files_must_do_for_the_sockets(sockets: int, limit: int, level: Level) -> None:
    assert check_descriptors(sockets, limit).level is level


@pytest.mark.parametrize(("limit", "level"), [(1063, Level.RED), (1064, Level.GREEN)])
def test_the_server_warns_of_the_same_number_of_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, level: Level
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    open_files.raise_limit(1000)
    assert check_descriptors(1000, limit).level is level
    assert bool(caplog.records) is (level is Level.RED)


@pytest.mark.parametrize(
    ("limit", "room"), [(65, "room for 1 socket:"), (66, "room for 2 sockets:"), (9, "room for 0 ")]
)
def test_the_room_for_sockets_is_a_number_with_its_noun(limit: int, room: str) -> None:
    assert room in check_descriptors(0, limit).sentence


def test_the_libraries_are_those_of_the_requirements() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pairs = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in lines]
    assert {m[1]: m[2] for m in pairs if m} == dict(LIBRARIES)


def test_what_is_missing_or_too_old_is_named() -> None:
    found = dict.fromkeys(LIBRARIES, "99.0") | {"flask": None, "redis": "4.5.9"}
    finding = check_libraries(found)
    assert finding.level is Level.RED
    assert "missing: flask" in finding.sentence
    assert "redis 4.5.9 (needs 4.6)" in finding.sentence
    assert finding.sentence.endswith(": pip install 'flask>=2.2.5' 'redis>=4.6'")


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("22", "22.0", False),
        ("10.2", "9.10", False),
        ("9.2", "9.10", True),
        ("8.0.0b2", "7.1", False),
        ("1.2.3.dev4", "1.2", False),
        ("1.2.3.dev4", "1.2.3", True),
        ("built by hand", "1", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, least: str, older: bool) -> None:
    assert is_older(version, least) is older
