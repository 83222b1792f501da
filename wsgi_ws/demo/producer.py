# SPDX-License-Identifier: Apache-2.0
"""Sample queries: the events of one, and their way into Redis exactly as Superset sends them.

Superset (up to 6.1) writes each event to the channel's stream, then to the global one, with two
calls that are not atomic.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import redis

from wsgi_ws.sources.streams.names import channel_stream, global_stream

Event = dict[str, Any]
CHANNEL_LIMIT = 1_000  # both limits are Superset's defaults
GLOBAL_LIMIT = 1_000_000


def events(channel: str, job_id: str, *, fails: bool = False) -> Iterator[Event]:
    """The life of one query: pending, running, then done or error."""
    event: Event = {
        "channel_id": channel,
        "job_id": job_id,
        "user_id": None,
        "status": "pending",
        "errors": [],
        "result_url": None,
    }
    yield event
    yield event | {"status": "running"}
    if fails:
        yield event | {"status": "error", "errors": [{"message": "Sample error: no such table"}]}
    else:
        yield event | {"status": "done", "result_url": f"/api/v1/chart/data/qc-{job_id}"}


def publish(client: redis.Redis, prefix: str, event: Event) -> str:
    """Append the event to both streams; the id in the global one is what clients get to see."""
    entry: Any = {"data": json.dumps(event)}
    own = channel_stream(prefix, event["channel_id"])
    client.xadd(own, entry, "*", CHANNEL_LIMIT, approximate=False)
    entry_id: Any = client.xadd(global_stream(prefix), entry, "*", GLOBAL_LIMIT, approximate=False)
    return str(entry_id.decode())


def run_query(
    channel: str,
    job_id: str,
    send: Callable[[Event], None],
    pause: Callable[[float], object],
    *,
    fails: bool = False,
) -> None:
    """Send a query's events with about 1.5 s from the first to the last."""
    for event in events(channel, job_id, fails=fails):
        send(event)
        if event["status"] in ("pending", "running"):
            pause(random.uniform(0.5, 1.0))


def new_job_id() -> str:
    """As Superset makes them."""
    return str(uuid4())
