# SPDX-License-Identifier: Apache-2.0
"""A server under test with a Redis of its own, and what the kernel says about its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from bench.native import Load
from bench.peers import Peer
from bench.producer import PREFIX, Producer
from testbed.ports import free_port
from testbed.processes import cpu_us
from testbed.servers import SECRET, RedisServer, Server
from testbed.superset import cookie

PATIENCE = 60.0  # seconds to wait for what should have come long ago
QUIET = 0.1  # share of one core that counts as idle: the pings of 20,000 sockets take half of it


class Processes:
    """Some processes and their descendants, as they are when this is made."""

    def __init__(self, root: int) -> None:
        process = psutil.Process(root)
        self._all = [process, *process.children(recursive=True)]

    def cpu_us(self) -> float:
        """CPU time so far, user and system: microseconds."""
        return sum(cpu_us(process.pid) for process in self._all)

    def memory(self) -> int:
        """Bytes in all; pages shared among processes count once (PSS)."""
        return sum(process.memory_full_info().pss for process in self._all)

    def signal(self, number: signal.Signals) -> None:
        for process in self._all:
            process.send_signal(number)

    def descriptors(self) -> list[int]:
        """Open descriptors of each worker."""
        return [process.num_fds() for process in self._all[1:]]


class Rig:
    """Redis, server and producer; a context manager."""

    def __init__(
        self,
        *,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
        arguments: Iterable[str] = (),
        peer: Peer | None = None,
    ) -> None:
        """
        :param arguments: more options for gunicorn.
        :param peer: what is measured in place of the service.
        """
        self._peer = peer
        self._clean_up = contextlib.ExitStack()
        self._workers = workers
        self._environ = dict(environ or {})
        self._arguments = list(arguments)

    def __enter__(self) -> Rig:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._directory = directory
            redis = RedisServer(directory)
            stack.callback(redis.close)
            self.port_of_redis = redis.port
            self.redis = Processes(redis.process.pid)
            self.port, process = self._serve(directory, redis.port, stack)
            self.server = Processes(process)
            self.producer = Producer(redis.port)
            stack.callback(self.producer.close)
            self._clean_up = stack.pop_all()
        self.until_quiet()
        return self

    def _serve(
        self, directory: Path, redis_port: int, stack: contextlib.ExitStack
    ) -> tuple[int, int]:
        """Start the server; returns its port and process number."""
        if self._peer is not None:
            port = free_port()
            process = stack.enter_context(start(self._peer, port, redis_port))
            stack.callback(process.kill)
            until(
                lambda: answers(port) or process.poll() is not None,
                f"{self._peer.name} accepts connections",
            )
            if process.poll() is not None:
                raise RuntimeError(
                    f"{self._peer.name} ended with exit code {process.returncode} while starting"
                )
            return port, process.pid
        server = Server(
            directory,
            redis_port,
            prefix=PREFIX,
            workers=self._workers,
            environ=self._environ,
            arguments=self._arguments,
        )
        stack.callback(server.stop)
        return server.port, server.process.pid

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean_up.close()

    @contextlib.contextmanager
    def load(
        self,
        sockets: int,
        names: Sequence[str],
        *,
        path: str = "/",
        silent: int = 0,
        cookie_of: Callable[[str], str] = cookie,
    ) -> Iterator[Load]:
        """A load client; its sockets belong to the channels, or principals, in turn."""
        with tempfile.NamedTemporaryFile("w", dir=self._directory) as cookies:
            cookies.write("\n".join(map(cookie_of, names)) + "\n")
            cookies.flush()
            load = Load(self.port, sockets, Path(cookies.name), path=path, silent=silent)
        try:
            yield load
        finally:
            load.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The server stands still meanwhile."""
        self.server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.signal(signal.SIGCONT)

    def until_quiet(self, seconds: float = 0.5) -> None:
        """Wait until the server has next to nothing to do for some time."""
        until(lambda: self._is_quiet(seconds), "the server is idle")

    def _is_quiet(self, seconds: float) -> bool:
        before = self.server.cpu_us()
        time.sleep(seconds)
        return self.server.cpu_us() - before < QUIET * seconds * 1e6


def start(peer: Peer, port: int, redis_port: int) -> subprocess.Popen[bytes]:
    """Run another server."""
    environ = {"PORT": str(port), "REDIS_PORT": str(redis_port), "JWT_SECRET": SECRET}
    return subprocess.Popen(peer.command, cwd=peer.directory, env=os.environ | environ)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return client.recv(100) != b""
    return False


def until(condition: Callable[[], bool], what: str, deadline: float = PATIENCE) -> None:
    """Poll until it is true.

    :raises TimeoutError: naming `what`.
    """
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline:.0f} s: {what}")
        time.sleep(0.01)
