# SPDX-License-Identifier: Apache-2.0
"""Ends what a demo has started when the demo itself was killed: a process of its own.

The demo writes to its standard input what there is to end. The input's end is the demo's end,
however that came; after an orderly one there is nothing left to do. Needs nothing but the standard
library, so that it is small and soon there.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys

STOP_TIMEOUT_S = 15.0  # longer than the server's own time-out for draining


class Cleaner:
    """The demo's side of it."""

    def __init__(self) -> None:
        # In a session of its own: what ends the demo's process group must not end it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch_process(self, process: subprocess.Popen[bytes]) -> None:
        """End this process, too."""
        self._tell(f"process {process.pid}")

    def watch_directory(self, directory: str) -> None:
        """Remove this directory, when all processes have ended."""
        self._tell(f"directory {directory}")

    def close(self) -> None:
        """Everything was ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed: the demo works without it
            self._process.stdin.write(os.fsencode(line + "\n"))
            self._process.stdin.flush()


def main() -> None:
    """Note what the input says; clean up at its end."""
    processes: list[int] = []
    directories: list[str] = []
    for line in sys.stdin.buffer:
        kind, _, name = os.fsdecode(line).rstrip("\n").partition(" ")
        if kind == "directory":
            directories.append(name)
            continue
        with contextlib.suppress(ProcessLookupError):
            # Of this very process: its ID may be another's by the time of the end.
            processes.append(os.pidfd_open(int(name)))
    for process in processes:
        _send(process, signal.SIGTERM)
    for process in processes:
        if not select.select([process], [], [], STOP_TIMEOUT_S)[0]:
            _send(process, signal.SIGKILL)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


if __name__ == "__main__":
    main()
