# SPDX-License-Identifier: Apache-2.0
"""Takes the samples: what the kernel says about the workers, what the clients have seen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import psutil

from soak.producer import Producer
from soak.samples import Process, Sample, quantile
from soak.sockets import Census
from testbed.processes import cpu_us
from testbed.servers import Server

MIB = 2**20
INTERVAL = 1.0  # seconds


class Sampler:
    """A sample each second, for as long as it runs."""

    def __init__(self, server: Server, censuses: Sequence[Census], producer: Producer) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._censuses = censuses
        self._producer = producer
        self._begin = self._last = time.monotonic()
        self._events = 0
        self._client_cpu = time.process_time()
        self._worker_cpu: dict[int, float] = {}

    async def run(self, show: Callable[[Sample], None]) -> None:
        """Until cancelled."""
        self._begin = self._last = time.monotonic()
        while True:
            await asyncio.sleep(self._last + INTERVAL - time.monotonic())
            sample = await self._sample()
            self.samples.append(sample)
            show(sample)

    async def _sample(self) -> Sample:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        cpu, events = time.process_time(), self._producer.events
        taken = [census.take() for census in self._censuses]
        latencies = sorted(latency for _, found in taken for latency in found)
        sockets = self._open_sockets()
        # In a thread: reading a worker's memory map takes milliseconds, which must not be among
        # the latencies.
        workers = await asyncio.to_thread(self._workers, seconds)
        sample = Sample(
            at=now - self._begin,
            sockets=(sockets + self._open_sockets())
            // 2,  # the descriptors are of some time between
            events=(events - self._events) / seconds,
            deliveries=sum(deliveries for deliveries, _ in taken) / seconds,
            p50=quantile(latencies, 0.5),
            p99=quantile(latencies, 0.99),
            client_cpu=(cpu - self._client_cpu) / seconds,
            workers=workers,
        )
        self._client_cpu, self._events = cpu, events
        return sample

    def _open_sockets(self) -> int:
        return sum(census.open for census in self._censuses)

    def _workers(self, seconds: float) -> dict[int, Process]:
        found = {}
        for pid in self._server.pids():
            with contextlib.suppress(psutil.Error, OSError):
                found[pid] = self._worker(pid, seconds)
        return found

    def _worker(self, pid: int, seconds: float) -> Process:
        process = psutil.Process(pid)
        memory = process.memory_full_info()
        cpu = cpu_us(pid) / 1e6
        share = (cpu - self._worker_cpu.get(pid, cpu)) / seconds
        self._worker_cpu[pid] = cpu
        return Process(memory.pss / MIB, memory.rss / MIB, process.num_fds(), share)
