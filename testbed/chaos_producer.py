# SPDX-License-Identifier: Apache-2.0
"""One process of Superset that publishes events until told to stop, or dies between two XADDs.

Does exactly what `AsyncQueryManager` does, with pauses in between as a busy machine makes them. It
ends when its standard input is closed. Before it dies it writes the orphan's job to its output.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import time

import redis

from wsgi_ws.superset.producer import event, xadds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--die-after", type=int, help="die between the XADDs of this event")
    parser.add_argument("channels", nargs="+")
    arguments = parser.parse_args()
    client = redis.Redis(port=arguments.redis_port)
    rng = random.Random(arguments.seed)
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):  # some come in bursts
            number += 1
            job = f"{arguments.name}-{number}"
            channel = rng.choice(arguments.channels)
            data = json.dumps(event(channel, job_id=job))
            own, whole = xadds(arguments.prefix, channel, data)
            client.xadd(*own)
            if number == arguments.die_after:
                print(job, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(rng.choice([0] * 12 + [0.001, 0.001, 0.01, 0.1]))
            client.xadd(*whole)
        time.sleep(rng.expovariate(arguments.rate / 5))


if __name__ == "__main__":
    main()
