# SPDX-License-Identifier: Apache-2.0
"""Who may read the file with the secrets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.check import PUBLIC_SECRET
from wsgi_ws.cli.checks.configuration import check_configuration
from wsgi_ws.cli.checks.words import Finding, Level

SECRETS = {"jwtSecret": PUBLIC_SECRET, "redis": {"url": "redis://u:hunter2@127.0.0.1/0"}}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def found(
    folder: Path, content: dict[str, Any], mode: int, *, container: bool = False
) -> list[Finding]:
    """What is said about a configuration file of this content and mode."""
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    path.chmod(mode)
    environ = {"WSGI_WS_CONFIG": str(path), "JWT_SECRET": PUBLIC_SECRET}
    _, findings = check_configuration(environ, container=container)
    return [f for f in findings if "every user of this machine may read" in f.sentence]


def test_a_file_with_secrets_that_everybody_may_read_is_to_be_looked_at(folder: Path) -> None:
    (finding,) = found(folder, SECRETS, 0o644)
    assert finding.level is Level.YELLOW
    assert "holds redis.password and jwtSecret, and every user" in finding.sentence
    assert f"chmod o= {folder}/config.json" in finding.sentence
    assert "hunter2" not in finding.sentence


@pytest.mark.parametrize("mode", [0o600, 0o640], ids=oct)
def test_a_file_for_the_servers_user_or_group_is_right(folder: Path, mode: int) -> None:
    assert not found(folder, SECRETS, mode)


def test_a_file_without_secrets_may_be_read_by_everybody(folder: Path) -> None:
    assert not found(folder, {"port": 8080, "jwtSecret": "", "redis": {"host": "redis"}}, 0o644)


def test_a_file_in_a_folder_that_others_may_not_enter_is_right(folder: Path) -> None:
    folder.chmod(0o750)
    assert not found(folder, SECRETS, 0o644)


def test_in_a_container_there_are_no_other_users(folder: Path) -> None:
    assert not found(folder, SECRETS, 0o644, container=True)
