# SPDX-License-Identifier: Apache-2.0
"""What each reader of the events costs Redis and itself: workers without a socket, which read all.

The first point has no reader: what writing alone costs Redis.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis

from bench.producer import Producer, channels, in_turn
from bench.realtime import status
from bench.server import Processes, Rig
from testbed.servers import RedisServer

Point = dict[str, Any]
# Takes the seconds for which events come alone; returns how many there were.
Produce = Callable[[Producer, float], int]

READERS = (0, 1, 2, 4, 8, 16)
RATE = 200  # events per second that come alone
SECONDS = 3.0
WARM_UP = 0.5  # seconds
BACKLOG = 20_000
STRANGERS = 5000  # users without a socket
TRANSPORTS = ("streams", "realtime")
# In this order: a follower trusts a stream more when it is long (sources/streams/trimming.py).
SHAPES = ("backlog", "alone")


class Setting(NamedTuple):
    """:ivar workers: None where there is no server."""

    producer: Producer
    client: redis.Redis
    redis: Processes
    workers: Processes | None
    until_quiet: Callable[[], None]


def by_readers(counts: Sequence[int]) -> Iterator[Point]:
    """Cost of an event against the number of workers that read it."""
    for count in counts:
        with _setting(count) as setting:
            for transport in TRANSPORTS:
                for shape in SHAPES:
                    yield (
                        {"readers": count, "transport": transport, "shape": shape}
                        | _cost(setting, count, _PRODUCE[transport, shape])
                    )


@contextlib.contextmanager
def _setting(count: int) -> Iterator[Setting]:
    with contextlib.ExitStack() as stack:
        if not count:
            yield _without_workers(stack)
            return
        rig = stack.enter_context(Rig(workers=count, environ={"TRANSPORTS": "both"}))
        client = stack.enter_context(redis.Redis(port=rig.port_of_redis))
        yield Setting(rig.producer, client, rig.redis, rig.server, rig.until_quiet)


def _without_workers(stack: contextlib.ExitStack) -> Setting:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = RedisServer(directory)
    stack.callback(server.close)
    producer = Producer(server.port)
    stack.callback(producer.close)
    return Setting(producer, server.client, Processes(server.process.pid), None, lambda: None)


def _cost(setting: Setting, count: int, produce: Produce) -> Point:
    produce(setting.producer, WARM_UP)
    setting.until_quiet()
    of_redis, sent = setting.redis.cpu_us(), _sent_bytes(setting.client)
    of_workers = setting.workers.cpu_us() if setting.workers else 0.0
    events = produce(setting.producer, SECONDS)
    setting.until_quiet()
    of_workers = setting.workers.cpu_us() - of_workers if setting.workers else 0.0
    return {
        "redis_cpu_us_per_event": (setting.redis.cpu_us() - of_redis) / events,
        "redis_bytes_per_event": (_sent_bytes(setting.client) - sent) / events,
        "cpu_us_per_event_and_worker": of_workers / events / max(1, count),
    }


def _sent_bytes(client: redis.Redis) -> int:
    """All that Redis has sent to anybody."""
    info: Any = client.info("stats")
    return int(info["total_net_output_bytes"])


# --- what is published ---------------------------------------------------------------------------

_pick = in_turn(channels(1), 1.0)


def _events_alone(producer: Producer, seconds: float) -> int:
    """One at a time, `RATE` per second."""
    start, sent = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        name = _pick(sent)
        producer.push(1, {0: name}.__getitem__, streams=("own", "full"))
        sent += 1
        time.sleep(max(0.0, start + sent / RATE - time.monotonic()))
    return sent


def _events_at_once(producer: Producer, _seconds: float) -> int:
    producer.push(BACKLOG, _pick, streams=("own", "full"))
    return BACKLOG


def _messages_alone(producer: Producer, seconds: float) -> int:
    return producer.publish(RATE, seconds, lambda i: status(i, STRANGERS))


def _messages_at_once(producer: Producer, _seconds: float) -> int:
    producer.publish_at_once([status(i, STRANGERS) for i in range(BACKLOG)])
    return BACKLOG


_PRODUCE: dict[tuple[str, str], Produce] = {
    ("streams", "alone"): _events_alone,
    ("streams", "backlog"): _events_at_once,
    ("realtime", "alone"): _messages_alone,
    ("realtime", "backlog"): _messages_at_once,
}
