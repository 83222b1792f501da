# SPDX-License-Identifier: Apache-2.0
"""Test events, written as Superset writes them.

Unlike Superset it trims nothing: a test must not cost anybody an event.
"""

from __future__ import annotations

import redis

from wsgi_ws.superset import producer
from wsgi_ws.superset.producer import Event


def event(
    channel: str,
    *,
    status: str = "done",
    job_id: str | None = None,
    user_id: int | None = None,
    result_url: str | None = None,
) -> Event:
    """One job update."""
    return producer.event(
        channel,
        job_id=job_id or producer.new_job_id(),
        user_id=user_id,
        status=status,
        errors=[{"message": "sent by hand"}] if status == "error" else [],
        result_url=result_url,
    )


def publish(client: redis.Redis, prefix: str, message: Event) -> str:
    """Write it to both streams; returns the ID that browsers see.

    :raises redis.RedisError: when it can't be written.
    """
    return producer.publish(client, prefix, message, trimmed=False)
