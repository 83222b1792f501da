# SPDX-License-Identifier: Apache-2.0
"""An event as Superset (up to 6.1) writes it: its members, its two XADDs, their limits.

- `event(channel, **members)` is the JSON object, with Superset's members in Superset's order.
- `publish(client, prefix, event)` writes it; returns the ID that browsers see.
- `xadds(prefix, channel, data)` are the arguments of both commands, for whoever pipelines them or
  needs something to happen in between: `for xadd in xadds(…): pipe.xadd(*xadd)`.

The two commands are not atomic: another client may read the first entry before the second is there.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, NamedTuple

import redis

from wsgi_ws.superset.stream_names import channel_stream, global_stream

# Superset's defaults: entries of a channel's stream, and of the global one.
STREAM_LIMIT = 1_000
STREAM_LIMIT_FIREHOSE = 1_000_000
STATUSES = ("pending", "running", "error", "done", "cancelled")

Event = dict[str, Any]


class Xadd(NamedTuple):
    """The arguments of redis-py's `xadd`, in its order.

    :ivar maxlen: entries that the stream keeps at least (redis-py sends `MAXLEN ~`); None: it is
        not trimmed.
    """

    name: str
    fields: dict[Any, Any]
    id: str
    maxlen: int | None


def new_channel() -> str:
    """The name of a new user's session."""
    return str(uuid.uuid4())


def new_job_id() -> str:
    """The name of a new query."""
    return str(uuid.uuid4())


def event(channel: str, **members: Any) -> Event:
    """A job update: done, without result, unless `members` say otherwise; they may add others."""
    usual: Event = {
        "channel_id": channel,
        "job_id": new_job_id(),
        "user_id": None,
        "status": "done",
        "errors": [],
        "result_url": None,
    }
    return usual | members


def xadds(
    prefix: str, channel: str, data: str | bytes, *, trimmed: bool = True
) -> tuple[Xadd, Xadd]:
    """The two commands, in the order in which they are sent.

    :param prefix: of the streams' keys: `async-events-`.
    :param data: the event as JSON.
    :param trimmed: False: without Superset's limits, so that no entry of others is removed.
    """
    fields = {"data": data}
    limits = (STREAM_LIMIT, STREAM_LIMIT_FIREHOSE) if trimmed else (None, None)
    keys = (channel_stream(prefix, channel), global_stream(prefix))
    own, whole = (Xadd(key, fields, "*", limit) for key, limit in zip(keys, limits, strict=True))
    return own, whole


def publish(client: redis.Redis, prefix: str, event: Event, *, trimmed: bool = True) -> str:
    """Write an event to both streams.

    :returns: its ID in the global stream, which browsers see.
    :raises redis.RedisError: when it can't be written.
    """
    own, whole = xadds(prefix, event["channel_id"], json.dumps(event), trimmed=trimmed)
    client.xadd(*own)
    entry_id: Any = client.xadd(*whole)
    return str(entry_id.decode())
