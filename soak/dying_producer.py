# SPDX-License-Identifier: Apache-2.0
"""One process of Superset that publishes events until told to stop, or dies between two XADDs.

Does exactly what `AsyncQueryManager` does, with pauses in between as a busy machine makes them. It
ends when its standard input is closed. It writes to its output, a line each:

- `orphan JOB` before it dies: the event has its first half only.
- `excused JOB` when the second half came later than the grace, or nobody knows when: the event may
  come again (docs/reconnection.md, What is bounded instead).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import select
import signal
import sys
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS
from wsgi_ws.superset.producer import event, xadds

RETRY = 0.1  # seconds


class Producer:
    """The process's only connection."""

    def __init__(self, port: int, prefix: str, seed: int) -> None:
        """:param port: Redis's, without any proxy: Superset is on the other side of it."""
        # No retries and no time-out, or a command could be carried out twice, or after its failure.
        self._redis: Any = redis.Redis(
            port=port, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=None
        )
        self._prefix = prefix
        self._rng = random.Random(seed)

    def publish(self, channel: str, job: str, *, dies: bool) -> None:
        """Write an event, or its first half and die.

        :raises redis.RedisError: when Redis did not answer.
        """
        data = json.dumps(event(channel, job_id=job, t=time.monotonic_ns()))
        own, whole = xadds(self._prefix, channel, data)
        first = self._redis.xadd(*own)
        if dies:
            print("orphan", job, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self._rng.choice([0] * 12 + [0.001, 0.001, 0.01, 0.1]))
        try:
            second = self._redis.xadd(*whole)
        except redis.RedisError:
            print("excused", job, flush=True)
            raise
        if _ms(second) - _ms(first) > TWIN_GRACE_MS:
            print("excused", job, flush=True)


def _ms(entry_id: bytes) -> int:
    return int(entry_id.split(b"-")[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument(
        "--die-after", type=float, default=math.inf, help="die between the XADDs of this event"
    )
    parser.add_argument("channels", nargs="+")
    arguments = parser.parse_args()
    producer = Producer(arguments.redis_port, arguments.prefix, arguments.seed)
    rng = random.Random(arguments.seed)
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):  # some come in bursts
            number += 1
            channel, job = rng.choice(arguments.channels), f"{arguments.name}-{number}"
            try:
                producer.publish(channel, job, dies=number >= arguments.die_after)
            except redis.RedisError:
                time.sleep(RETRY)
        time.sleep(rng.expovariate(arguments.rate / 5))


if __name__ == "__main__":
    main()
