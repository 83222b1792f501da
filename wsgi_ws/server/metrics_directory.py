# SPDX-License-Identifier: Apache-2.0
"""The directory in which the workers' metrics meet, so that any worker can answer for all of them.

gunicorn's master makes it and removes it, and adds up what ended workers leave in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from wsgi_ws.observe.shared_values import Sum

log = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "wsgi_ws-metrics-"
_LOCK = "lock"  # locked while the master or one of its workers lives
_OLD_VARIABLE = "prometheus_multiproc_dir"


class MetricsDirectory:
    """A file for each worker that lives, and one for all that have ended.

    :ivar path: None: there is no directory, and workers' metrics are not added up.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self._lock: int | None = None
        self._sum: Sum | None = None

    def make(self, wanted: str | None, uid: int, gid: int) -> None:
        """Make a fresh directory in `wanted`, or else where temporary files go; warn of failures.

        It is never `wanted` itself, since Superset's environment may come along with the variable,
        and Superset's own metrics be there.

        :param uid: the workers' user, and `gid` their group: they write there.
        """
        for parent in (wanted, None) if wanted else (None,):
            try:
                self._make_in(parent, uid, gid)
                return
            except OSError as error:
                log.warning(
                    "no directory for metrics can be made in %s (%s)",
                    parent or "the directory for temporary files",
                    error.strerror,
                )
        log.warning(
            "/metrics shows only the worker that answers: set %s to a directory to write to",
            DIRECTORY_VARIABLE,
        )

    def enter_worker(self, environ: MutableMapping[str, str]) -> None:
        """Take the variable from a worker after the fork: prometheus-client would share values in
        its own way. The master's stays as it was: a master that takes its place (SIGUSR2) inherits
        it."""
        environ.pop(_OLD_VARIABLE, None)
        environ.pop(DIRECTORY_VARIABLE, None)

    def forget_worker(self, name: str) -> None:
        """A worker has ended: its gauges no longer count, its counters do."""
        if self._sum is not None:
            self._sum.add(name)

    def remove(self) -> None:
        """Remove what was made, at the master's end."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_in(self, parent: str | None, uid: int, gid: int) -> None:
        made = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        try:
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.chown(made, uid, gid)
            self._lock = _lock(Path(made))
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            raise
        self.path, self._sum = made, Sum(made)
        _remove_abandoned(Path(made).parent)


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
