# SPDX-License-Identifier: Apache-2.0
"""Where in the same Redis are the events that are missing here: another database, another prefix?

Reads only, a bounded part of a large Redis, and makes do with what this user is permitted.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.superset.stream_names import global_stream, prefix_of

TIMEOUT = 5.0  # seconds
SCAN_COUNT = 1000  # keys per SCAN
SCAN_SECONDS = 2.0  # per database
MAX_DATABASES = 64
USUAL_DATABASES = 16  # what a Redis has unless told otherwise


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A global stream of events that is not the configured one."""

    db: int
    prefix: str
    newest_ms: int

    @property
    def key(self) -> str:
        """Name of the stream."""
        return global_stream(self.prefix)


def find(settings: RedisSettings, prefix: str) -> list[Elsewhere]:
    """Global streams in any database, under any prefix; the newest first, without the one that
    `settings` and `prefix` name."""
    found: list[Elsewhere] = []
    for db in _databases(settings):
        with (
            contextlib.suppress(redis.RedisError, OSError),  # not permitted, or no such database
            connect(replace(settings, db=db), read_timeout=TIMEOUT) as client,
        ):
            found += _streams_of(client, db, prefix)
    others = (other for other in found if (other.db, other.prefix) != (settings.db, prefix))
    return sorted(others, key=lambda other: other.newest_ms, reverse=True)


def hint(others: Sequence[Elsewhere], settings: RedisSettings, prefix: str) -> str:
    """The end of a sentence about a missing stream: where the events are, and what to set."""
    if not others:
        return ""
    newest = others[0]
    remedies = []
    if newest.db != settings.db:
        remedies.append(f"redis.db (REDIS_DB) to {newest.db}")
    if newest.prefix != prefix:
        remedies.append(f"redisStreamPrefix (REDIS_STREAM_PREFIX) to {newest.prefix}")
    return f", but {newest.key} in database {newest.db} has events: set {' and '.join(remedies)}"


def stream_names(client: redis.Redis, pattern: str) -> Iterator[str]:
    """Names of streams, as many as the time allows.

    :raises redis.RedisError: when this user may not look.
    """
    deadline = time.monotonic() + SCAN_SECONDS
    cursor: Any = 0
    names: Any
    kind: str | None = "STREAM"
    while time.monotonic() < deadline:
        try:
            cursor, names = client.scan(cursor, pattern, SCAN_COUNT, kind)
        except redis.exceptions.NoPermissionError:
            raise
        except redis.ResponseError:
            if kind is None:
                raise
            kind = None  # Redis 5 has no TYPE
            continue
        for name in names:
            yield bytes(name).decode("utf-8", "replace")
        if not cursor:
            return


def _databases(settings: RedisSettings) -> list[int]:
    """Those with keys, the own one first."""
    try:
        with connect(settings, read_timeout=TIMEOUT) as client:
            info: Any = client.info("keyspace")
        numbers = [int(name[2:]) for name in info if re.fullmatch(r"db\d+", name)]
    except (redis.RedisError, OSError):
        numbers = list(range(USUAL_DATABASES))
    return [settings.db, *(n for n in sorted(numbers)[:MAX_DATABASES] if n != settings.db)]


def _streams_of(client: redis.Redis, db: int, prefix: str) -> Iterator[Elsewhere]:
    keys = {global_stream(prefix)}
    with contextlib.suppress(redis.ResponseError):  # the server itself needs no SCAN
        keys |= set(stream_names(client, global_stream("*")))
    for key in keys:
        newest = _newest_event(client, key)
        if newest is not None:
            yield Elsewhere(db, prefix_of(key), newest)


def _newest_event(client: redis.Redis, key: str) -> int | None:
    """Time of the newest entry if it is an event of Superset's, else None."""
    try:
        newest: Any = client.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
        if not newest:
            return None
        names = newest[0][1][::2]
        event = json.loads(newest[0][1][1]) if names == [b"data"] else None
    except (redis.ResponseError, ValueError):
        return None
    is_event = isinstance(event, dict) and "channel_id" in event
    return StreamId.parse(newest[0][0]).ms if is_event else None
