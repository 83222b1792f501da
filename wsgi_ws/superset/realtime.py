# SPDX-License-Identifier: Apache-2.0
"""A message as Superset 7 publishes it: its channel, its members, its bytes.

- `channel_name(prefix)` is the one Pub/Sub channel that has all messages.
- `envelope(topic, scope, payload, routes)` is what is published there.
- `publish(client, prefix, topic, scope, payload, routes)` publishes it.

Redis stores nothing of it, and Pub/Sub knows no database: all of a server's databases share it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import redis

_CHANNEL = "realtime"


def channel_name(prefix: str) -> str:
    """
    :param prefix: REALTIME_CHANNEL_PREFIX, put in front as it is.
    """
    return prefix + _CHANNEL


def envelope(topic: str, scope: str, payload: Any, routes: Sequence[str] | None = None) -> bytes:
    """The message in Superset's order of members and its spelling of JSON.

    :param routes: the principals and tabs that it is for; None: it has no such member, as a
        broadcast.
    """
    members = {"topic": topic, "scope": scope, "payload": _without_nan(payload)}
    if routes is not None:
        members["routes"] = list(routes)
    return json.dumps(members, allow_nan=False).encode()


def publish(
    client: redis.Redis,
    prefix: str,
    topic: str,
    scope: str,
    payload: Any,
    routes: Sequence[str] | None = None,
) -> int:
    """Publish a message.

    :returns: how many subscribers have got it; Superset itself does not look at that.
    :raises redis.RedisError: when it can't be published.
    """
    data = envelope(topic, scope, payload, routes)
    receivers: Any = client.publish(channel_name(prefix), data)
    return int(receivers)


def _without_nan(value: Any) -> Any:
    """JSON knows neither NaN nor infinity, and Superset writes null for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
