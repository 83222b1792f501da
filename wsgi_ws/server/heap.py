# SPDX-License-Identifier: Apache-2.0
"""Gives memory that a burst has left behind back to the system.

glibc keeps what is freed in its heap as long as anything lives behind it: after a few storms of
returning tabs, or events of megabytes, a worker with 12 MiB in use was seen to hold 90.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import gevent

INTERVAL = 30.0  # seconds


def trimmer() -> Callable[[], None] | None:
    """What gives free memory back: under a millisecond when there is next to none. None where the
    C library has nothing of the kind (musl)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)


def run() -> None:
    """Do it now and then, until killed."""
    trim = trimmer()
    while trim is not None:
        trim()  # at once too: a start that had to compile modules leaves 13 MiB behind
        gevent.sleep(INTERVAL)
