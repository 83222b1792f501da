# SPDX-License-Identifier: Apache-2.0
"""What gunicorn's master prepares so that Prometheus can ask any worker about all of them.

It must not import prometheus-client: workers forked afterwards would have it with values that are
not shared.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "wsgi_ws-metrics-"
_LOCK = "lock"  # locked while the master or one of its workers lives
_OLD_VARIABLE = "prometheus_multiproc_dir"


class Exposure:
    """A directory for the workers' values and, if wanted, a listening socket of their own."""

    def __init__(self) -> None:
        self.directory: str | None = None
        self.listener: socket.socket | None = None
        self._listens_at: tuple[str, int] | None = None
        self._lock: int | None = None

    def listen(self, host: str, port: int, *, replacing: bool) -> None:
        """Listen at an address for `/metrics`, and no longer at the one before.

        :param port: 0: nowhere.
        :param replacing: another master that listens there is about to leave (SIGUSR2).
        :raises OSError: when the address can't be had.
        """
        wanted = (host, port) if port else None
        if wanted == self._listens_at:
            return
        listener = _bound(host, port, replacing=replacing) if port else None
        if self.listener is not None:
            self.listener.close()
        self.listener, self._listens_at = listener, wanted

    def make_directory(self, wanted: str | None) -> None:
        """Make the directory: a fresh one, in `wanted` or where temporary files go.

        It is never `wanted` itself, since Superset's environment may come along with the variable,
        and Superset's own metrics be there.
        """
        for parent in (wanted, None) if wanted else (None,):
            try:
                self.directory = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
                self._lock = _lock(Path(self.directory))
                _remove_abandoned(Path(self.directory).parent)
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
        if self.directory:
            environ[DIRECTORY_VARIABLE] = self.directory

    def forget_worker(self, pid: int) -> None:
        """A worker has ended: its gauges no longer count, its counters do.

        What prometheus-client's `mark_process_dead` does.
        """
        if self.directory:
            for path in glob.glob(
                os.path.join(glob.escape(self.directory), f"gauge_live*_{pid}.db")
            ):
                os.remove(path)

    def close(self) -> None:
        """Remove what was made, at the master's end."""
        if self.listener is not None:
            self.listener.close()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _bound(host: str, port: int, *, replacing: bool) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if not replacing:
        # SO_REUSEPORT below would silently share the port with a stranger of the same user.
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


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
