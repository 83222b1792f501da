# SPDX-License-Identifier: Apache-2.0
"""What Superset does: publishes events as its AsyncQueryManager, sets the browser's cookie."""

from __future__ import annotations

import json
import uuid
from typing import Any

import jwt
import redis

from testbed.servers import SECRET

STREAM_LIMIT = 1_000
STREAM_LIMIT_FIREHOSE = 1_000_000


def new_channel() -> str:
    """A user's session."""
    return str(uuid.uuid4())


def event(channel: str, **members: Any) -> dict[str, Any]:
    """A job update, with `members` over or besides the usual ones."""
    return {
        "channel_id": channel,
        "job_id": str(uuid.uuid4()),
        "user_id": None,
        "status": "done",
        "errors": [],
        "result_url": "/api/v1/chart/data/x",
    } | members


def publish(
    client: redis.Redis, prefix: str, channel: str, **members: Any
) -> tuple[str, dict[str, Any]]:
    """Two XADDs, one after the other; returns the ID in the global stream, and the event."""
    message = event(channel, **members)
    data = json.dumps(message)
    client.xadd(prefix + channel, {"data": data}, "*", STREAM_LIMIT)
    entry_id = client.xadd(prefix + "full", {"data": data}, "*", STREAM_LIMIT_FIREHOSE)
    assert isinstance(entry_id, bytes)
    return entry_id.decode(), message


def token(channel: str, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """The cookie's JSON Web Token, with Superset's null `sub`."""
    return jwt.encode({"channel": channel, "sub": None} | claims, secret, algorithm)


def cookie(channel: str, secret: str = SECRET) -> str:
    """The value of the `Cookie` header."""
    return f"async-token={token(channel, secret)}"
