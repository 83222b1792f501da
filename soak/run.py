# SPDX-License-Identifier: Apache-2.0
"""One soak, from the first process to the last: servers, load, faults, samples, outcome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from soak.faults import Faults
from soak.network import network_to
from soak.plan import Fault, Plan
from soak.producer import Producer
from soak.producers import Producers
from soak.realtime.publisher import RealtimePublisher
from soak.realtime.tabs import Pages
from soak.realtime.truth import TOLD_WITHIN
from soak.sampler import Sampler
from soak.samples import Sample
from soak.sockets import Census
from soak.tabs import Population
from soak.verdict import DESCRIPTORS_LEFT, Outcome, missing_troubles
from testbed.ports import free_port
from testbed.servers import RedisServer, Server
from wsgi_ws.superset.realtime import channel_name

PREFIX = "async-events-"
CHANNEL_PREFIX = "soak:"
# Times that a client would wait for are shorter than by default, so that all of them run out often.
SETTINGS = {
    "REDIS_STREAM_READ_BLOCK_MS": "1000",
    "PING_SOCKETS_INTERVAL_MS": "4000",
    "SOCKET_RESPONSE_TIMEOUT_MS": "8000",
    "GC_CHANNELS_INTERVAL_MS": "5000",
    "HANDSHAKE_TIMEOUT_MS": "3000",
    "CLOSE_TIMEOUT_MS": "2000",
    "DRAIN_MS": "1000",
    "FIRST_CATCH_UP_MS": "5000",
    "MAX_SOCKET_BUFFER_BYTES": "65536",
    "LOG_TO_FILE": "true",
    "REALTIME_CHANNEL_PREFIX": CHANNEL_PREFIX,
}
# It must be full, or memory would grow for the best of reasons, when the judged waves begin. This
# much comes in half a wave.
HISTORY_BYTES_PER_SECOND = 150_000
# A killed Redis must come back with all that anybody has read from it. What it has written to its
# file survives its process without fsync.
REDIS_OPTIONS = (
    *("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"),
    *("--loglevel", "warning"),
    # As small as managed services have it, and not much more than the largest event.
    *("--client-output-buffer-limit", "normal 4mb 4mb 0"),
    *("--client-output-buffer-limit", "pubsub 1mb 1mb 0"),
)
PATIENCE = 60.0  # seconds longer than planned that a kind of trouble may take to happen
SETTLING = 60.0  # seconds that the clients have in the end; they need some
MARKS = 0.5  # seconds between two last messages: one that all have got is the last
# Seconds for what should not come, and for the closes of those who are still to be told of a loss.
SILENCE = TOLD_WITHIN

Show = Callable[[Sample | Fault], None]


class Soak:
    """One run."""

    def __init__(self, plan: Plan, directory: Path, port: int = 0) -> None:
        """:param port: the server's; the next two are Redis's and the proxy's. 0: any free ones."""
        self.plan = plan
        self._happened: Counter[str] = Counter()
        self._of_pages: Counter[str] = Counter()
        self._events = self._tabs = self._pages = 0
        self._directory = directory
        self._ports = (port, port + 1, port + 2) if port else (0, 0, 0)
        self._log_file = directory / "app.log"
        self._failures: list[str] = []  # of clients, which must not fail

    def run(self, show: Show) -> Outcome:
        """Let it happen.

        :param show: hears of every sample and every fault.
        """
        with self._servers() as (redis, faults, server):
            idle = _descriptors(server)
            samples, problems, left = asyncio.run(self._drive(redis, faults, server, idle, show))
            exit_code = server.terminate()
            log = server.log_text() + "".join(
                path.read_text(errors="replace")
                for path in self._directory.glob("app.log*")
                if path.is_file()
            )
        return Outcome(
            plan=self.plan,
            samples=samples,
            faults=faults.happened,
            tabs=self._tabs,
            pages=self._pages,
            events=self._events,
            happened=self._happened,
            happened_to_pages=self._of_pages,
            problems=problems | {"failed_clients": self._failures},
            idle_descriptors=idle,
            left_descriptors=left,
            log=log,
            exit_code=exit_code,
        )

    @contextlib.contextmanager
    def _servers(self) -> Iterator[tuple[RedisServer, Faults, Server]]:
        port, port_of_redis, port_of_network = self._ports
        with contextlib.ExitStack() as stack:
            redis = RedisServer(self._directory, *REDIS_OPTIONS, port=port_of_redis or None)
            stack.callback(redis.close)
            network = stack.enter_context(network_to(redis.port, port_of_network))
            history = self.plan.history_bytes
            if history is None:
                history = int(HISTORY_BYTES_PER_SECOND * self.plan.wave / 2)
            metrics = self._directory / "metrics"
            metrics.mkdir()
            own = {
                "LOG_FILENAME": str(self._log_file),
                "HISTORY_BYTES": str(history),
                "METRICS_PORT": str(free_port()),
                "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            }
            server = Server(
                self._directory,
                network.port,
                prefix=PREFIX,
                workers=self.plan.workers,
                environ=SETTINGS | own,
                port=port or None,
            )
            stack.callback(server.stop)
            faults = Faults(
                *(self.plan, redis, network, server),
                log_file=self._log_file,
                metrics=metrics,
                channel=channel_name(CHANNEL_PREFIX),
            )
            yield redis, faults, server

    async def _drive(
        self, redis: RedisServer, faults: Faults, server: Server, idle: list[int], show: Show
    ) -> tuple[list[Sample], dict[str, list[str]], list[int]]:
        asyncio.get_running_loop().set_exception_handler(self._on_failure)
        population = Population(self.plan, server.port)
        pages = Pages(self.plan, server.port, Census())
        publisher = RealtimePublisher(self.plan, redis.port, CHANNEL_PREFIX, pages)
        producer = Producer(self.plan, redis.port, PREFIX, population)
        shared = [user.channel for user in population.shared_users]
        happened = population.census.happened
        producers = Producers(self.plan, redis.port, PREFIX, shared, happened)
        sampler = Sampler(server, (population.census, pages.census), producer)
        running = [
            asyncio.create_task(job)
            for job in (
                *(population.run(), pages.run(), sampler.run(show)),
                *(faults.run(show), producer.run(), producers.run(), publisher.run()),
            )
        ]
        endless, ending = running[:3], running[3:]
        await asyncio.wait(running, timeout=self.plan.seconds, return_when=asyncio.FIRST_EXCEPTION)
        await _while(
            lambda: bool(missing_troubles(happened, pages.census.happened, faults.happened)),
            running,
        )
        for task in endless:
            task.cancel()
        faults.over.set()
        producer.over = publisher.over = True
        producers.stop()
        await asyncio.gather(*ending)
        for task in endless:
            with contextlib.suppress(asyncio.CancelledError):
                await task  # which raises what has ended it before
        # What is compared now is read in replies larger than the server is given.
        redis.client.config_set("client-output-buffer-limit", "normal 0 0 0")
        await producers.settle()
        await self._settle(population, pages, publisher)
        left = await _given_back(server, idle)
        population.census.take()
        pages.census.take()
        self._happened, self._of_pages = happened, pages.census.happened
        self._events = producer.events
        self._tabs, self._pages = population.ledger.readers, pages.tabs
        problems = population.ledger.problems() | pages.problems()
        return sampler.samples, problems, left

    async def _settle(
        self, population: Population, pages: Pages, publisher: RealtimePublisher
    ) -> None:
        """Everybody comes back and gets the rest; then everybody leaves.

        Pages of Superset 7 come back only if they are told to: that is what is judged.
        """
        population.settle()
        pages.settling = True
        await _until(population.is_complete)
        deadline = time.monotonic() + SETTLING
        while time.monotonic() < deadline:
            await publisher.mark()
            await asyncio.sleep(MARKS)
            if pages.is_complete():
                break
        await publisher.close()
        await asyncio.sleep(SILENCE)
        await pages.leave()
        await population.leave()

    def _on_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failures.append(f"{context['message']} {context.get('exception')!r}")


async def _while(condition: Callable[[], bool], running: list[asyncio.Task[None]]) -> None:
    """Let it go on, for a time, unless something has failed."""
    deadline = time.monotonic() + PATIENCE
    while condition() and time.monotonic() < deadline and not any(t.done() for t in running):
        await asyncio.sleep(0.1)


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLING
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)


async def _given_back(server: Server, idle: list[int]) -> list[int]:
    """Descriptors of the workers when no more of them are given back."""
    deadline = time.monotonic() + SETTLING / 2
    while time.monotonic() < deadline:
        left = _descriptors(server)
        if len(left) == len(idle) and max(left) <= max(idle) + DESCRIPTORS_LEFT:
            break
        await asyncio.sleep(0.2)
    return left


def _descriptors(server: Server) -> list[int]:
    found = []
    for pid in server.pids():
        with contextlib.suppress(psutil.Error):  # one that is being replaced
            found.append(psutil.Process(pid).num_fds())
    return found
