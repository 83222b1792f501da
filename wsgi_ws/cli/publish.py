# SPDX-License-Identifier: Apache-2.0
"""Events as Superset writes them: two XADDs, the channel's stream first.

Unlike Superset it trims nothing: a test must not cost anybody an event.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

import redis

from wsgi_ws.sources.streams.names import channel_stream, global_stream

STATUSES = ("pending", "running", "error", "done", "cancelled")


def new_channel() -> str:
    """A channel that no browser has."""
    return str(uuid.uuid4())


def event(
    channel: str,
    *,
    status: str = "done",
    job_id: str | None = None,
    user_id: int | None = None,
    result_url: str | None = None,
) -> dict[str, Any]:
    """One job update, with Superset's members in Superset's order."""
    return {
        "channel_id": channel,
        "job_id": job_id or str(uuid.uuid4()),
        "user_id": user_id,
        "status": status,
        "errors": [{"message": "sent by hand"}] if status == "error" else [],
        "result_url": result_url,
    }


def publish(client: redis.Redis, prefix: str, message: dict[str, Any]) -> str:
    """Write it to both streams; returns the ID that browsers see.

    :raises redis.RedisError: when it can't be written.
    """
    fields: Any = {"data": json.dumps(message)}
    client.xadd(channel_stream(prefix, message["channel_id"]), fields)
    entry_id: Any = client.xadd(global_stream(prefix), fields)
    return str(entry_id.decode())


def forget(client: redis.Redis, prefix: str, channel: str) -> None:
    """Remove a throw-away channel's stream, if allowed. The global one is left to Superset: taking
    out its newest entry looks to followers as if Redis had lost data."""
    with contextlib.suppress(redis.RedisError):
        client.delete(channel_stream(prefix, channel))
