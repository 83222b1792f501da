# SPDX-License-Identifier: Apache-2.0
"""Log lines: their level, their form, and where they go."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wsgi_ws.config import LOG_LEVELS, Settings
from wsgi_ws.logs import logging_config

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} WARNING \[\d+\] a line\n")

SCRIPT = """
import logging.config
from wsgi_ws.config import Settings
from wsgi_ws.logs import logging_config

settings = Settings(log_level="warn", log_to_file={to_file}, log_filename={filename!r})
logging.config.dictConfig(logging_config(settings))
logging.getLogger({logger!r}).warning("a line")
logging.getLogger({logger!r}).info("not a line")
"""


def logged(tmp_path: Path, logger: str, *, to_file: bool) -> tuple[str, str]:
    """What a process of its own writes to the console and to the file."""
    file = tmp_path / "ws.log"
    script = SCRIPT.format(logger=logger, to_file=to_file, filename=str(file))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stderr, file.read_text() if file.exists() else ""


@pytest.mark.parametrize("logger", ["wsgi_ws.service", "gunicorn.error", "somebody.else"])
def test_a_line_has_time_level_process_and_text(tmp_path: Path, logger: str) -> None:
    console, _ = logged(tmp_path, logger, to_file=False)
    assert LINE.fullmatch(console)


@pytest.mark.parametrize("logger", ["wsgi_ws.service", "gunicorn.error", "somebody.else"])
def test_a_line_goes_to_the_file_besides_the_console(tmp_path: Path, logger: str) -> None:
    console, file = logged(tmp_path, logger, to_file=True)
    assert file == console != ""


def test_there_is_no_file_unless_it_is_wanted(tmp_path: Path) -> None:
    _, file = logged(tmp_path, "wsgi_ws.service", to_file=False)
    assert file == ""


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("error", logging.ERROR),
        ("warn", logging.WARNING),
        ("info", logging.INFO),
        ("verbose", logging.DEBUG),
        ("debug", logging.DEBUG),
        ("silly", logging.DEBUG),
    ],
)
@pytest.mark.parametrize("logger", ["wsgi_ws", "gunicorn.error"])
def test_a_level_of_the_seed_is_one_of_pythons(logger: str, level: str, expected: int) -> None:
    config = logging_config(Settings(log_level=level))
    assert logging.getLevelName(config["loggers"][logger]["level"]) == expected


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_every_level_that_can_be_configured_is_known(level: str) -> None:
    assert logging_config(Settings(log_level=level))["loggers"]["wsgi_ws"]["level"]


def test_other_libraries_are_heard_from_warnings_on() -> None:
    assert logging_config(Settings(log_level="debug"))["root"]["level"] == "WARNING"


def test_loggers_that_exist_already_stay_alive() -> None:
    assert logging_config(Settings())["disable_existing_loggers"] is False
