# SPDX-License-Identifier: Apache-2.0
"""Whether the log file can be written to: asked before the first line, as a part of the
configuration."""

from __future__ import annotations

import errno
import os

from wsgi_ws.config.load import Loaded
from wsgi_ws.observe.log_lines import printable

# What passes by itself, and so is no reason to refuse a configuration.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


def problem_with(loaded: Loaded) -> str | None:
    """Why the log file can't be opened, and the remedy; None when it can or is not wanted."""
    name = loaded.settings.log_filename
    if not loaded.settings.log_to_file:
        return None
    try:
        _try_to_append(os.path.realpath(name))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if getattr(error, "errno", None) in _PASSING:
            return None
        return (
            f"logFilename {printable(name)} (from {loaded.set_by('logFilename')}) can't be written "
            f"to in {os.getcwd()} ({getattr(error, 'strerror', None) or error}): name a file in a "
            "directory that this process may write to, or set logToFile to false"
        )
    return None


def _try_to_append(path: str) -> None:
    """A file that was not there is not there afterwards: whoever looks may be another user."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    try:
        os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        os.close(os.open(path, flags))
    else:
        os.unlink(path)
