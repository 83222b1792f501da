# SPDX-License-Identifier: Apache-2.0
"""Where gunicorn keeps its workers' signs of life: each has a file without a name there.

With a read-only root file system there may be no directory for temporary files at all.
"""

from __future__ import annotations

import tempfile

SHARED_MEMORY = "/dev/shm"  # can be written to in most containers, whatever else can't


def directory() -> str | None:
    """For gunicorn's `worker_tmp_dir`; None: where temporary files go."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return SHARED_MEMORY
    return None


def remedy() -> str:
    """For the end of a sentence about a `worker_tmp_dir` that can't be used."""
    usable = "" if problem_with(SHARED_MEMORY) else f" {SHARED_MEMORY}"
    return f"name a directory that it may write to, --worker-tmp-dir{usable}"


def problem_with(wanted: str | None) -> str | None:
    """Why no file can be made in a `worker_tmp_dir`; None when one can."""
    try:
        with tempfile.NamedTemporaryFile(dir=wanted):
            return None
    except OSError as error:
        where = wanted or "the directory for temporary files"
        return f"gunicorn can't make a file in {where} ({error.strerror})"
