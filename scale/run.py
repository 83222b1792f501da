# SPDX-License-Identifier: Apache-2.0
"""One run, from the first process to the last: servers, proxies, tabs, restarts, outcome."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from scale import crowd
from scale.crowd import PREFIX, Look
from scale.haproxy import Haproxy
from scale.meter import Meter, kernel_mib, memory_mib
from scale.plan import Plan
from scale.verdict import Outcome, Wave
from testbed.ports import free_port
from testbed.servers import RedisServer, Server, eventually

LOOK = 0.25  # seconds between two looks at the tabs
PATIENCE = 60.0  # seconds until all sockets are surely open again

Show = Callable[[str], None]


class Instance:
    """A server that is started again and again at its port.

    :ivar exit_codes: of those that were told to stop.
    """

    def __init__(self, directory: Path, redis_port: int, workers: int) -> None:
        self.port = free_port()
        self.exit_codes: list[int] = []
        self._directory = directory
        self._redis_port = redis_port
        self._workers = workers
        self._logs: list[Path] = []
        self._server: Server
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        directory = self._directory / f"{self.port}-{len(self._logs)}"
        directory.mkdir()
        self._server = Server(
            *(directory, self._redis_port),
            prefix=PREFIX,
            workers=self._workers,
            port=self.port,
            wait=False,
        )
        self._logs.append(self._server.log_path)
        try:
            eventually(lambda: self._server.is_ready() and self._says_ready(), "/ready says 200")
        except BaseException:
            self._server.stop()
            raise

    def stop(self) -> None:
        """SIGTERM."""
        self.exit_codes.append(self._server.terminate())

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._server.process.wait()

    def close(self) -> None:
        """End it for good."""
        if self._server.process.poll() is None:
            self.stop()

    def pids(self) -> list[int]:
        """Master and workers; none when it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._server.process.pid, *self._server.pids()]
        return []

    def log_text(self) -> str:
        """Of all of its lives."""
        return "".join(path.read_text(errors="replace") for path in self._logs)

    def _says_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._server.http("/ready"), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Crowds:
    """The client processes; a context manager."""

    def __init__(self, plan: Plan, proxies: Sequence[int], redis_port: int) -> None:
        self.pids: list[int] = []
        self._plan = plan
        self._arguments = proxies, redis_port
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Crowds:
        context = multiprocessing.get_context("spawn")
        for number in range(self._plan.crowds):
            ours, theirs = context.Pipe()
            arguments = (theirs, self._plan, number, *self._arguments)
            process = context.Process(target=crowd.run, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
            self.pids.append(process.pid or 0)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()

    def all(self, order: str, *arguments: Any) -> list[Any]:
        """Give an order to all; their answers.

        :raises EOFError: when one of them has died.
        """
        for pipe in self._pipes:
            pipe.send((order, *arguments))
        return [pipe.recv() for pipe in self._pipes]

    def look(self) -> Look:
        """All of them together."""
        looks: list[Look] = self.all("look")
        return Look(
            open=sum(look.open for look in looks),
            published=sum(look.published for look in looks),
            delivered=sum(look.delivered for look in looks),
            away=list(chain.from_iterable(look.away for look in looks)),
            latencies=list(chain.from_iterable(look.latencies for look in looks)),
            gave_up=sum(look.gave_up for look in looks),
            last_opened=max(look.last_opened for look in looks),
        )


class Run:
    """Everything that runs, and what was noted."""

    def __init__(self, plan: Plan, directory: Path, show: Show) -> None:
        """:param show: hears a line after each part."""
        self._plan = plan
        self._directory = directory
        self._show = show
        self._instances: list[Instance] = []
        self._crowds: Crowds
        self._meter: Meter
        self._delivered = 0

    def run(self) -> Outcome:
        """Let it happen."""
        plan = self._plan
        with self._servers() as parts:
            bare = {part: memory_mib(pids()) for part, pids in parts.items()}
            kernel = kernel_mib()
            opening = self._open()
            greeted = all(self._crowds.all("greet"))
            memory = {part: memory_mib(pids()) for part, pids in parts.items()}
            memory["kernel"] = kernel_mib() - kernel
            calm, calm_latencies = self._be_calm()
            waves = [
                self._wave(instance, f"instance {number} restarted", instance.stop)
                for number, instance in enumerate(self._instances[: plan.restarts], 1)
            ]
            if plan.kill:
                # The one that was restarted longest ago: the last one may have few sockets yet.
                number = plan.restarts % plan.instances
                instance = self._instances[number]
                waves.append(self._wave(instance, f"instance {number + 1} killed", instance.kill))
            problems: dict[str, list[str]] = {}
            for found in self._crowds.all("finish"):
                for kind, those in found.items():
                    problems.setdefault(kind, []).extend(those)
            last = self._look()
        return Outcome(
            sockets=plan.tabs,
            greeted=greeted,
            gave_up=last.gave_up,
            published=last.published,
            delivered=self._delivered,
            problems=problems,
            waves=waves,
            calm=calm,
            calm_latencies=calm_latencies,
            memory=memory,
            bare=bare,
            opening=opening,
            log="".join(instance.log_text() for instance in self._instances),
            exit_codes=[code for instance in self._instances for code in instance.exit_codes],
        )

    @contextlib.contextmanager
    def _servers(self) -> Iterator[dict[str, Callable[[], list[int]]]]:
        plan = self._plan
        with contextlib.ExitStack() as stack:
            redis = RedisServer(self._directory)
            stack.callback(redis.close)
            for _ in range(plan.instances):
                instance = Instance(self._directory, redis.port, plan.workers)
                stack.callback(instance.close)
                self._instances.append(instance)
            ports = [instance.port for instance in self._instances]
            proxies = []
            for number in range(plan.proxies):
                source = f"127.0.1.{1 + number}"
                proxies.append(Haproxy(self._directory, ports, plan.connections, source))
                stack.callback(proxies[-1].stop)
            listening = [proxy.port for proxy in proxies]
            self._crowds = stack.enter_context(Crowds(plan, listening, redis.port))
            parts = {
                f"instance {number}": instance.pids
                for number, instance in enumerate(self._instances, 1)
            } | {
                "HAProxy": lambda: [proxy.process.pid for proxy in proxies],
                "Redis": lambda: [redis.process.pid],
                "clients": lambda: self._crowds.pids,
            }
            self._meter = stack.enter_context(Meter(parts))
            yield parts

    def _open(self) -> float:
        begin = time.monotonic()
        self._crowds.all("open")
        seconds = time.monotonic() - begin
        self._show(f"{self._plan.tabs:,} sockets are open after {seconds:.1f} s")
        return seconds

    def _be_calm(self) -> tuple[dict[str, tuple[float, float]], list[float]]:
        """Nothing but events."""
        plan = self._plan
        self._look()
        self._crowds.all("flow", plan.rate / plan.crowds)
        begin = time.monotonic()
        time.sleep(plan.calm)
        latencies = sorted(self._look().latencies)
        self._show(f"{plan.calm:g} s of {plan.rate:g} events per second")
        return self._meter.between(begin, time.monotonic()), latencies

    def _wave(self, instance: Instance, what: str, end: Callable[[], None]) -> Wave:
        """End an instance, start it anew, wait until everybody is back."""
        self._look()
        begin = time.monotonic()
        end()
        stopped = time.monotonic()
        instance.start()
        ready = time.monotonic()
        looks = [self._look()]
        while looks[-1].open < self._plan.tabs and time.monotonic() - ready < PATIENCE:
            time.sleep(LOOK)
            looks.append(self._look())
        back = max(begin, looks[-1].last_opened)
        time.sleep(self._plan.rest)
        looks.append(self._look())
        wave = Wave(
            what=what,
            stop=stopped - begin,
            start=ready - stopped,
            seconds=back - begin,
            away=sorted(chain.from_iterable(look.away for look in looks)),
            latencies=sorted(chain.from_iterable(look.latencies for look in looks)),
            cores=self._meter.between(begin, back),
        )
        self._show(f"{what}: {len(wave.away):,} sockets are back after {wave.seconds:.1f} s")
        return wave

    def _look(self) -> Look:
        look = self._crowds.look()
        self._delivered += look.delivered
        return look
