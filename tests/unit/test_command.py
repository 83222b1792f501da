# SPDX-License-Identifier: Apache-2.0
"""How log lines call the command line: as it can be typed where they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_ws.command import NAME, command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with an interpreter alone, on no path."""
    folder = tmp_path / "an environment"
    folder.mkdir()
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


def install(folder: Path) -> None:
    (folder / NAME).touch(mode=0o755)


def test_on_the_path_it_goes_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(place)
    monkeypatch.setenv("PATH", str(place))
    assert command() == "wsgi-ws"


def test_off_the_path_it_goes_by_its_place_as_the_shell_takes_it(place: Path) -> None:
    install(place)
    assert command() == f"'{place / NAME}'"


def test_in_a_checkout_the_package_is_run(place: Path) -> None:
    assert command() == "python -m wsgi_ws"
