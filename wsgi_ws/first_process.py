# SPDX-License-Identifier: Apache-2.0
"""SIGTERM for the first process of a container, until gunicorn handles it. Standard library only.

To process 1 the kernel passes on no signal without a handler: a container that is stopped while it
starts would run on until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def end_at_sigterm() -> None:
    """From now on SIGTERM ends process 1, also one that came while it was held."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def hold_sigterm() -> None:
    """Let SIGTERM wait in process 1: the program that takes its place has no handler at first."""
    if os.getpid() == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
