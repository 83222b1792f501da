# SPDX-License-Identifier: Apache-2.0
"""Where log lines go and what they look like: one form for gunicorn's lines and the service's."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from wsgi_ws.config.keys import Settings
from wsgi_ws.observe.log_output import ConsoleHandler, FileHandler

# The Node server's level names → Python's.
_LEVELS = {
    "error": "ERROR",
    "warn": "WARNING",
    "info": "INFO",
    "verbose": "DEBUG",
    "debug": "DEBUG",
    "silly": "DEBUG",
}


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123 INFO [4711] text`, in local time.

    The time is formatted here, once a second: `logging.Formatter.formatTime`, at each line, costs
    as much as all the rest of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._shown = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it if there is one."""
        second = int(record.created)
        if second != self._second:
            self._shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))
            self._second = second
        text = (
            f"{self._shown}.{int(record.msecs):03d} {record.levelname} [{record.process}] "
            f"{record.getMessage()}"
        )
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + self.formatStack(record.stack_info)
        return text


class JsonFormatter(logging.Formatter):
    """One object per line, in UTC. The fields of a line from `log_lines` become its members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. ASCII, so that no text can break it."""
        fields: Any = getattr(record.msg, "_asdict", dict)()
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        members = {
            "time": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
            **{name: value for name, value in fields.items() if value is not None},
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            members["stack"] = record.stack_info
        return json.dumps(members, default=str)


_FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def logging_config(settings: Settings) -> dict[str, Any]:
    """A dictionary for `logging.config.dictConfig` (gunicorn's `logconfig_dict`)."""
    handlers: dict[str, Any] = {"console": {"()": ConsoleHandler, "formatter": "line"}}
    if settings.log_to_file:
        file = {"()": FileHandler, "filename": settings.log_filename, "formatter": "line"}
        handlers["file"] = file
    level = _LEVELS[settings.log_level]
    # At its debug level gunicorn writes 150 lines of settings, and hardly one of what happens.
    of_gunicorn = "INFO" if settings.log_level in ("verbose", "debug") else level
    logger = {"level": level, "handlers": list(handlers), "propagate": False}
    access = {"level": "NOTSET" if settings.access_log else "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": _FORMATTERS[settings.log_format]}},
        "handlers": handlers,
        "root": {"level": "WARNING", "handlers": list(handlers)},
        "loggers": {
            "gunicorn.error": logger | {"level": of_gunicorn},
            "wsgi_ws": logger,
            "wsgi_ws.access": access,
        },
    }
