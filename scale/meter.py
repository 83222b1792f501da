# SPDX-License-Identifier: Apache-2.0
"""What the kernel says about the parts of a run, twice a second: cores in use, memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from testbed.processes import cpu_us

INTERVAL = 0.5  # seconds
MIB = 2**20

Pids = Callable[[], Iterable[int]]


class Meter:
    """Cores in use by each part; a context manager."""

    def __init__(self, parts: Mapping[str, Pids]) -> None:
        """:param parts: name → the processes that it has right now."""
        self._parts = parts
        self._seen: dict[int, float] = {}  # CPU time of each process at the last look: µs
        self._samples: list[tuple[float, dict[str, float]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Meter:
        self._look(INTERVAL)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> dict[str, tuple[float, float]]:
        """Cores in use by each part: on average, and in the busiest half second.

        :param begin: by `time.monotonic`, as `end`.
        """
        found = defaultdict(list)
        for at, cores in list(self._samples):
            if begin < at <= end + INTERVAL:
                for part, value in cores.items():
                    found[part].append(value)
        return {part: (sum(values) / len(values), max(values)) for part, values in found.items()}

    def _run(self) -> None:
        last = time.monotonic()
        while not self._over.wait(INTERVAL):
            now = time.monotonic()
            self._samples.append((now, self._look(now - last)))
            last = now

    def _look(self, seconds: float) -> dict[str, float]:
        cores = {}
        for part, pids in self._parts.items():
            used = 0.0
            for pid in pids():
                # One that ends just now takes its last half second with it.
                with contextlib.suppress(OSError, psutil.Error):
                    now = cpu_us(pid)
                    used += now - self._seen.get(pid, 0.0)
                    self._seen[pid] = now
            cores[part] = used / 1e6 / seconds
        return cores


def memory_mib(pids: Iterable[int]) -> float:
    """Of all of them; pages that they share count once (PSS)."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / MIB


def kernel_mib() -> float:
    """What the kernel's own objects take, sockets among them: the whole machine's."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value, *_ = line.split()
        if name == "Slab:":
            return int(value) / 1024
    raise RuntimeError("no Slab in /proc/meminfo")
