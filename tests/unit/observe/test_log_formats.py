# SPDX-License-Identifier: Apache-2.0
"""Log lines: their level, their form, and where they go."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.config.keys import LOG_LEVELS, Settings
from wsgi_ws.observe.log_formats import JsonFormatter, TextFormatter, logging_config
from wsgi_ws.observe.log_lines import CloseLine, HandshakeLine

ROOT = Path(__file__).resolve().parents[3]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} WARNING \[\d+\] a line\n")

SCRIPT = """
import logging.config
from wsgi_ws.config.keys import Settings
from wsgi_ws.observe.log_formats import logging_config

settings = Settings(
    log_level="warn", log_to_file={to_file}, log_filename={filename!r}, log_format={form!r}
)
logging.config.dictConfig(logging_config(settings))
logging.getLogger({logger!r}).warning("a line")
logging.getLogger({logger!r}).info("not a line")
"""


def logged(tmp_path: Path, logger: str, *, to_file: bool, form: str = "text") -> tuple[str, str]:
    """What a process of its own writes to the console and to the file."""
    file = tmp_path / "ws.log"
    script = SCRIPT.format(logger=logger, to_file=to_file, filename=str(file), form=form)
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
def test_a_level_of_the_seed_is_one_of_pythons(level: str, expected: int) -> None:
    config = logging_config(Settings(log_level=level))
    assert logging.getLevelName(config["loggers"]["wsgi_ws"]["level"]) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [("error", "ERROR"), ("info", "INFO"), ("debug", "INFO"), ("silly", "DEBUG")],
)
def test_gunicorn_goes_into_details_at_the_last_level_only(level: str, expected: str) -> None:
    config = logging_config(Settings(log_level=level))
    assert config["loggers"]["gunicorn.error"]["level"] == expected


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_every_level_that_can_be_configured_is_known(level: str) -> None:
    assert logging_config(Settings(log_level=level))["loggers"]["wsgi_ws"]["level"]


def test_other_libraries_are_heard_from_warnings_on() -> None:
    assert logging_config(Settings(log_level="debug"))["root"]["level"] == "WARNING"


def test_loggers_that_exist_already_stay_alive() -> None:
    assert logging_config(Settings())["disable_existing_loggers"] is False


def test_the_access_lines_can_be_switched_off() -> None:
    levels = {on: logging_config(Settings(access_log=on))["loggers"] for on in (True, False)}
    assert levels[True]["wsgi_ws.access"]["level"] == "NOTSET"
    assert levels[False]["wsgi_ws.access"]["level"] == "WARNING"


# --- JSON ----------------------------------------------------------------------------------------


def record(message: object, *arguments: object, error: BaseException | None = None) -> Any:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(
        "wsgi_ws.x", logging.WARNING, "file.py", 1, message, arguments, exc_info
    )


@pytest.mark.parametrize("logger", ["wsgi_ws.service", "gunicorn.error", "somebody.else"])
def test_a_line_may_be_an_object(tmp_path: Path, logger: str) -> None:
    console, _ = logged(tmp_path, logger, to_file=False, form="json")
    line = json.loads(console)
    assert (line["level"], line["logger"], line["message"]) == ("warning", logger, "a line")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["pid"] > 0


def test_what_a_line_holds_becomes_members_of_its_object() -> None:
    message = CloseLine(7, "1a2b3c4d", 1000, "bye", "client", 1.5, 3)
    line = json.loads(JsonFormatter().format(record(message)))
    assert line["message"] == str(message)
    assert {k: line[k] for k in message._fields} == message._asdict()


def test_what_a_line_does_not_know_is_left_out() -> None:
    message = HandshakeLine("::1", "/", 401, 0.5, reason="expired")
    line = json.loads(JsonFormatter().format(record(message)))
    assert "channel" not in line
    assert "request_id" not in line


@given(st.text())
def test_no_text_breaks_an_object(text: str) -> None:
    line = JsonFormatter().format(record("%s", text))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["message"] == text


def test_a_traceback_is_a_member_of_its_object() -> None:
    line = json.loads(JsonFormatter().format(record("x", error=ValueError("why"))))
    assert "ValueError: why" in line["exception"]


def test_a_traceback_is_below_its_line_of_text() -> None:
    first, *rest = TextFormatter().format(record("x", error=ValueError("why"))).splitlines()
    assert first.endswith(" x")
    assert rest[-1] == "ValueError: why"


def test_times_go_on() -> None:
    formatter, now = TextFormatter(), record("x")
    later = record("x")
    later.created = now.created + 3600
    assert formatter.format(now)[:19] < formatter.format(later)[:19]
