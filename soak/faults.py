# SPDX-License-Identifier: Apache-2.0
"""Lets the planned faults happen, one after the other, and writes down when they did."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from soak.network import Network
from soak.plan import REST, Fault, Happened, Plan
from testbed.servers import RedisServer, Server, eventually
from wsgi_ws.superset.realtime import envelope

ACCEPTING_TIME = 5.0  # seconds after which a new worker surely accepts sockets without Redis
KILL_INTERVAL = 0.15  # seconds: a follower is back within its shortest delay
# Together more than a subscriber's output buffer. In one script, or Redis would write in between.
OVERRUN = "for _ = 1, 40 do redis.call('publish', KEYS[1], ARGV[1]) end"
OVERRUN_BYTES = 65536
BOOT_TIME = 1.5  # seconds after which a worker surely serves


class Faults:
    """Whoever can hurt the servers."""

    def __init__(
        self,
        plan: Plan,
        redis: RedisServer,
        network: Network,
        server: Server,
        *,
        log_file: Path,
        metrics: Path,
        channel: str,
    ) -> None:
        """
        :param log_file: the one that the server writes besides its output.
        :param metrics: where it makes the directory for its metrics.
        :param channel: that it is subscribed to.
        """
        self.over = asyncio.Event()
        self.happened: list[Happened] = []
        self._plan = plan
        self._rng = random.Random(f"{plan.seed} victims")
        self._redis = redis
        self._network = network
        self._server = server
        self._log_file = log_file
        self._metrics = metrics
        self._channel = channel
        self._ways: dict[str, Callable[[float], None]] = {
            "clients killed": self._kill_clients,
            "clients killed again and again": self._kill_clients_often,
            "clients paused": self._pause_clients,
            "subscribers overrun": self._overrun_subscribers,
            "Redis stopped": self._stop_redis,
            "Redis restarted": self._restart_redis,
            "network cut": self._cut_network,
            "network half-open": self._freeze_network,
            "log rotated": self._rotate_log,
            "log out of reach": lambda seconds: _displace(self._log_file, seconds, Path.mkdir),
            "metrics out of reach": self._displace_metrics,
            "worker killed": lambda _: self._signal_worker(signal.SIGKILL),
            "worker killed, network cut": self._kill_without_network,
            "worker stopped": lambda _: self._signal_worker(signal.SIGTERM),
            "workers reloaded": self._reload_workers,
        }

    async def run(self, announce: Callable[[Fault], None]) -> None:
        """One after the other until it is `over`: each lasts as long as it does."""
        begin = time.monotonic()
        for fault in self._plan.faults():
            rest = self.happened[-1].end + REST if self.happened else 0.0
            wait = max(rest, fault.at) - (time.monotonic() - begin)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.over.wait(), wait)
            if self.over.is_set():
                break
            announce(fault)
            since = time.monotonic() - begin
            await asyncio.to_thread(self._ways[fault.kind], fault.seconds)
            self.happened.append(Happened(fault.kind, since, time.monotonic() - begin))

    # --- Redis -----------------------------------------------------------------------------------

    def _kill_clients(self, _seconds: float) -> None:
        for kind in ("normal", "pubsub"):
            self._redis.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def _kill_clients_often(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._kill_clients(0.0)
            time.sleep(KILL_INTERVAL)

    def _pause_clients(self, seconds: float) -> None:
        self._redis.client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
        time.sleep(seconds)

    def _overrun_subscribers(self, _seconds: float) -> None:
        payload = {"progress": "x" * OVERRUN_BYTES}
        message = envelope("report.progress", "principal", payload, ["user:0"])  # who has no tab
        self._redis.client.eval(OVERRUN, 1, self._channel, message)

    def _stop_redis(self, seconds: float) -> None:
        self._redis.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._redis.process.send_signal(signal.SIGCONT)

    def _restart_redis(self, seconds: float) -> None:
        self._redis.stop()
        time.sleep(seconds)
        self._redis.start()

    # --- the network -----------------------------------------------------------------------------

    def _cut_network(self, seconds: float) -> None:
        self._network.cut()
        time.sleep(seconds)
        self._network.restore()

    def _freeze_network(self, seconds: float) -> None:
        self._network.freeze()
        time.sleep(seconds)
        self._network.restore()

    # --- the server ------------------------------------------------------------------------------

    def _signal_worker(self, number: signal.Signals) -> None:
        workers = self._server.pids()
        victim = self._rng.choice(workers)
        os.kill(victim, number)
        self._await_successors(len(workers), {victim})

    def _kill_without_network(self, seconds: float) -> None:
        self._network.cut()
        self._signal_worker(signal.SIGKILL)
        time.sleep(max(seconds, ACCEPTING_TIME))
        self._network.restore()

    def _reload_workers(self, _seconds: float) -> None:
        workers = self._server.pids()
        self._server.process.send_signal(signal.SIGHUP)
        self._await_successors(len(workers), set(workers))

    def _await_successors(self, count: int, ended: set[int]) -> None:
        """The next fault is for workers that serve."""

        def serving() -> bool:
            workers = self._server.pids()
            return (
                len(workers) == count
                and ended.isdisjoint(workers)
                and all(_age(pid) > BOOT_TIME for pid in workers)
            )

        eventually(serving, "the workers are replaced")

    def _displace_metrics(self, seconds: float) -> None:
        (directory,) = self._metrics.iterdir()
        _displace(directory, seconds, Path.touch)

    def _rotate_log(self, _seconds: float) -> None:
        self._log_file.rename(f"{self._log_file}.{len(self.happened)}")
        self._server.process.send_signal(signal.SIGUSR1)


def _displace(path: Path, seconds: float, make: Callable[[Path], None]) -> None:
    """Have something of another kind in a path's place for a time."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    make(path)
    time.sleep(seconds)
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    aside.rename(path)


def _age(pid: int) -> float:
    """Seconds; 0 when it has just ended."""
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
