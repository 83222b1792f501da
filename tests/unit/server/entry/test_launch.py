# SPDX-License-Identifier: Apache-2.0
"""The command line of `wsgi-ws serve`: gunicorn's options pass, what would replace ours doesn't."""

from __future__ import annotations

import sys

import pytest

from wsgi_ws.server.entry.launch import APPLICATION, SETTINGS, VARIABLE, Unsuitable, command_line


@pytest.fixture(autouse=True)
def _no_options_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_options_of_gunicorn_go_to_it_untouched() -> None:
    options = ["--workers", "2", "-bhost:8080", "--proxy-protocol"]
    python, _, *rest = command_line(options)
    assert python == sys.executable
    assert rest == ["--config", SETTINGS, APPLICATION, *options]


@pytest.mark.parametrize(
    "arguments", [["-c", "mine.py"], ["-cmine.py"], ["--config=mine.py"], ["--conf", "mine.py"]]
)
def test_a_settings_file_of_somebody_s_own_is_refused(arguments: list[str]) -> None:
    with pytest.raises(Unsuitable, match=r"^mine\.py: .* \(from the command line\)"):
        command_line(["--workers", "2", *arguments])


def test_the_variable_s_settings_file_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "--workers 2 -c mine.py")
    with pytest.raises(Unsuitable, match=rf"^mine\.py: .* \(from {VARIABLE}\)"):
        command_line([])


def test_another_application_is_refused() -> None:
    with pytest.raises(Unsuitable, match=r"^wsgi:app: "):
        command_line(["wsgi:app", "--workers", "2"])


def test_what_gunicorn_would_refuse_is_refused_in_its_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line(["--workers", "two"])
    assert ended.value.code == 2
    assert "gunicorn: error: argument -w/--workers: invalid int value: 'two'" in (
        capsys.readouterr().err
    )
