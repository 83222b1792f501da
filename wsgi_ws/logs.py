# SPDX-License-Identifier: Apache-2.0
"""Where log lines go and what they look like: one form for gunicorn's lines and the service's."""

from __future__ import annotations

from typing import Any

from wsgi_ws.config import Settings

# The Node server's level names → Python's.
_LEVELS = {
    "error": "ERROR",
    "warn": "WARNING",
    "info": "INFO",
    "verbose": "DEBUG",
    "debug": "DEBUG",
    "silly": "DEBUG",
}


def logging_config(settings: Settings) -> dict[str, Any]:
    """A dictionary for `logging.config.dictConfig` (gunicorn's `logconfig_dict`)."""
    handlers: dict[str, Any] = {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
    }
    if settings.log_to_file:
        handlers["file"] = {
            "class": "logging.handlers.WatchedFileHandler",  # follows a rotated file by itself
            "filename": settings.log_filename,
            "formatter": "line",
            "encoding": "utf-8",
        }
    logger = {
        "level": _LEVELS[settings.log_level],
        "handlers": list(handlers),
        "propagate": False,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "format": "%(asctime)s.%(msecs)03d %(levelname)s [%(process)d] %(message)s",
                "datefmt": "%Y-%m-%dT%H:%M:%S",
            }
        },
        "handlers": handlers,
        "root": {"level": "WARNING", "handlers": list(handlers)},
        "loggers": {"gunicorn.error": logger, "wsgi_ws": logger},
    }
