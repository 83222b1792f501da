# SPDX-License-Identifier: Apache-2.0
"""The C programs beside this file: compiled when needed, and what they measure."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
EVENT_BYTES = 250  # what an event of Superset's has


def program(name: str) -> Path:
    """The compiled program; compiles it when its source is newer."""
    source, target = HERE / f"{name}.c", BUILD / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(target), str(source)], check=True)
    return target


def floor_of_send(size: int = EVENT_BYTES, sockets: int = 1000, repeat: int = 3) -> float:
    """CPU microseconds of a bare send() to a reading socket: the least of `repeat` runs."""
    rounds = max(2, min(100, 400_000_000 // (size * sockets)))
    return min(_floor("send", sockets, size, rounds) for _ in range(repeat))


def floor_of_handshake(sockets: int = 1000, repeat: int = 3) -> float:
    """CPU microseconds to accept, read a request, answer and watch a socket, in C."""
    return min(_floor("handshake", sockets) for _ in range(repeat))


def _floor(*arguments: str | int) -> float:
    command = [str(program("floor")), *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Load:
    """A running load client with all its sockets open."""

    def __init__(
        self,
        port: int,
        sockets: int,
        cookies: Path,
        *,
        path: str = "/",
        window: int = 64,
        silent: int = 0,
    ) -> None:
        """
        :param cookies: a file with one Cookie header per line, used in turn.
        :param window: handshakes under way at once.
        :param silent: how many of the sockets never read.
        """
        arguments = {
            "-p": port,
            "-n": sockets,
            "-c": cookies,
            "-u": path,
            "-w": window,
            "-a": sockets // 20_000 + 1,
            "-q": silent,
        }
        self._process = subprocess.Popen(
            [str(program("wsload")), *(str(x) for pair in arguments.items() for x in pair)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        opened = self._line()
        self.seconds: float = opened["seconds"]  # for all handshakes
        self.refused: int = opened["refused"]

    def total(self) -> int:
        """Messages received since the start."""
        return int(self._ask("total")["total"])

    def report(self) -> dict[str, Any]:
        """Counters and latencies since the last report."""
        return self._ask("report")

    def close(self) -> None:
        """End it, and so all its sockets."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not answer:
            raise RuntimeError("the load client ended")
        return answer
