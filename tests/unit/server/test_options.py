# SPDX-License-Identifier: Apache-2.0
"""Who has given an option of gunicorn's."""

from __future__ import annotations

import pytest
from gunicorn.config import Config

from wsgi_ws.server.options import VARIABLE, given


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    monkeypatch.delenv(VARIABLE, raising=False)
    return Config()


def test_a_default_is_nobodys(cfg: Config) -> None:
    assert given(cfg, "backlog") is None


def test_what_gunicorn_conf_py_says_is_nobodys(cfg: Config) -> None:
    cfg.set("backlog", 4711)
    assert given(cfg, "backlog", 4711) is None


@pytest.mark.parametrize(
    ("argv", "environ", "source"),
    [
        (["--backlog", "1"], "", "the command line"),
        ([], "--backlog=1", VARIABLE),
        (["--backlog", "1"], "--backlog=2", "the command line"),
    ],
)
def test_the_source_that_wins_is_named(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], environ: str, source: str
) -> None:
    monkeypatch.setattr("sys.argv", ["gunicorn", *argv, "wsgi:app"])
    monkeypatch.setenv(VARIABLE, environ)
    cfg = Config()
    assert str(given(cfg, "backlog", 1)) == f"--backlog (from {source})"


def test_a_configuration_file_of_somebody_s_own_is_named(cfg: Config) -> None:
    cfg.set("backlog", 1)
    assert str(given(cfg, "backlog")) == "backlog (from gunicorn's configuration file)"
