# SPDX-License-Identifier: Apache-2.0
"""The directory in which the workers' metrics meet, so that any worker can answer for all of them.

gunicorn's master makes it and removes it. This module must not import prometheus-client: workers
forked afterwards would have it with values that are not shared.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import logging
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "wsgi_ws-metrics-"
_LOCK = "lock"  # locked while the master or one of its workers lives
_OLD_VARIABLE = "prometheus_multiproc_dir"


class MetricsDirectory:
    """Files of values, one set for each worker that ever was.

    :ivar path: None: there is no directory, and so no `/metrics`.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self._lock: int | None = None

    def make(self, wanted: str | None) -> None:
        """Make a fresh directory in `wanted`, or else where temporary files go; warn of failures.

        It is never `wanted` itself, since Superset's environment may come along with the variable,
        and Superset's own metrics be there.
        """
        for parent in (wanted, None) if wanted else (None,):
            try:
                self.path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
                self._lock = _lock(Path(self.path))
                _remove_abandoned(Path(self.path).parent)
                return
            except OSError as error:
                log.warning(
                    "no directory for metrics can be made in %s (%s)",
                    parent or "the directory for temporary files",
                    error.strerror,
                )
        log.warning("/metrics is off: set %s to a directory to write to", DIRECTORY_VARIABLE)

    def enter_worker(self, environ: MutableMapping[str, str]) -> None:
        """Set the variable in a worker after the fork. The master's own stays as it was: a master
        that takes its place (SIGUSR2) inherits it."""
        environ.pop(_OLD_VARIABLE, None)
        environ.pop(DIRECTORY_VARIABLE, None)
        if self.path:
            environ[DIRECTORY_VARIABLE] = self.path

    def forget_worker(self, pid: int) -> None:
        """A worker has ended: its gauges no longer count, its counters do."""
        if self.path:
            for path in _live_gauges(self.path, pid):
                os.remove(path)

    def remove(self) -> None:
        """Remove what was made, at the master's end."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _live_gauges(directory: str, pid: int) -> list[str]:
    """The files that prometheus-client's `mark_process_dead` removes.

    Their names are not public, and the master can't ask the library, which it must not import.
    """
    return glob.glob(os.path.join(glob.escape(directory), f"gauge_live*_{pid}.db"))


def _lock(directory: Path) -> int:
    """Mark the directory as in use; workers inherit the mark. Returns a descriptor."""
    fresh = directory / "fresh"
    descriptor = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    fresh.rename(directory / _LOCK)  # nobody sees it unlocked
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    """Remove directories of masters that were killed before they could do it themselves."""
    for lock in parent.glob(f"{PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # in use, or another user's
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():
                    shutil.rmtree(lock.parent)
            finally:
                os.close(descriptor)
