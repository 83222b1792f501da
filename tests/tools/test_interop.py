# SPDX-License-Identifier: Apache-2.0
"""`make interop` does not pass without having looked at anything. It runs without Superset here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from interop import __main__ as interop
from interop import report
from interop.report import Result
from interop.scenarios import one_page


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is saved of runs in which every scenario passes."""
    saved: list[Any] = []
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the test's own process keeps its own
    monkeypatch.setattr(interop, "Environment", lambda version: SimpleNamespace(install=int))
    monkeypatch.setattr(interop, "_run", lambda *_: [Result("any", True, {})])
    monkeypatch.setattr(report, "save", lambda *arguments: saved.append(arguments))
    return saved


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["-k", "no_such_scenario"], 2),
        (["-k", one_page.__name__, "--save"], 2),  # it would take the place of a whole run
        (["-k", one_page.__name__], 0),
    ],
)
def test_only_what_runs_can_pass_and_only_whole_runs_are_kept(
    kept: list[Any], arguments: list[str], status: int
) -> None:
    assert CliRunner().invoke(interop.main, ["6.1", *arguments]).exit_code == status
    assert kept == []
