# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that are about to start, which nobody else takes meanwhile.

A port that the kernel picks is free for that moment only: until the server listens, another test's
server may get it, or a connection that somebody opens. So they lie below the range from which
connections get theirs, and each process has a block of them to itself.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

FIRST, LAST = 10_000, 32_000  # connections get theirs from 32768 on
BLOCK = 200


def free_port() -> int:
    """A TCP port that nothing listens on right now, and that no other process will ask for."""
    for port in itertools.islice(_PORTS, BLOCK):
        if _is_free(port):
            return port
    raise AssertionError(f"something listens on each of {BLOCK} ports: are servers left over?")


def _ports() -> Iterator[int]:
    block = _own_block()
    yield from itertools.cycle(range(block, block + BLOCK))


def _own_block() -> int:
    """The first port of a block that is this process's until its end: it holds a lock on a file."""
    directory = Path(tempfile.gettempdir()) / f"wsgi-ws-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    for first in range(FIRST, LAST, BLOCK):
        lock = os.open(directory / str(first), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return first
    raise AssertionError(f"each block of ports in {directory} is taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


_PORTS = _ports()
