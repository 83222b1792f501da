# SPDX-License-Identifier: Apache-2.0
"""The network between the server and Redis: a proxy in a process of its own.

In the load's process it would compete with the clients, whose latencies are measured.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from testbed.servers import ROOT
from testbed.tcp_proxy import TcpProxy


class Network:
    """What `TcpProxy` can do, from another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._answer())

    def cut(self) -> None:
        self._ask("cut")

    def freeze(self) -> None:
        self._ask("freeze")

    def restore(self) -> None:
        self._ask("restore")

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def network_to(target_port: int, port: int = 0) -> Iterator[Network]:
    """A network that leads to a port; its own is `port`, or any free one."""
    command = (sys.executable, "-m", "soak.network", str(target_port), str(port))
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Network(process)  # it ends with its standard input, which Popen's exit closes


def main() -> None:
    target_port, port = map(int, sys.argv[1:])
    proxy = TcpProxy(target_port, port)
    print(proxy.port, flush=True)
    for line in sys.stdin:
        {"cut": proxy.cut, "freeze": proxy.freeze, "restore": proxy.restore}[line.strip()]()
        print(flush=True)


if __name__ == "__main__":
    main()
