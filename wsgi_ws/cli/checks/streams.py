# SPDX-License-Identifier: Apache-2.0
"""The event streams in Redis: how long, how busy, how far back; and where else they may be.

Reads only, and a bounded part of a large Redis. Knows nothing of Superset's settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from wsgi_ws.cli.checks.words import Finding, change, green, red, yellow
from wsgi_ws.cli.redis_errors import explain
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.set_by import Kind
from wsgi_ws.sources import finder
from wsgi_ws.sources.redis_replies import clock_ms
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.superset.stream_names import global_stream
from wsgi_ws.wording import counted

WHAT = "streams"
SAMPLE = 1000  # newest entries, for the rate
RATE_MS = 5000  # fewer entries tell no rate in less than this: those of one chart come together
STALE_MS = 3_600_000  # without events for so long it may be the wrong stream
SHORT_MEMORY_MS = 60_000  # a browser that was away for longer misses events


@dataclass(frozen=True, slots=True)
class Stream:
    """Facts about a global stream, from XINFO and its newest entries."""

    length: int
    oldest_ms: int
    newest_ms: int
    sampled: int
    sampled_ms: int
    trimmed: bool | None  # None: this Redis doesn't tell

    @property
    def per_minute(self) -> float | None:
        """Entries per minute lately; None when too few to tell."""
        needed_ms = 1 if self.sampled >= SAMPLE else RATE_MS
        if self.sampled < 2 or self.sampled_ms < needed_ms:
            return None
        return (self.sampled - 1) * 60_000 / self.sampled_ms


def check_streams(client: redis.Redis, loaded: Loaded, used: bool | None) -> list[Finding]:
    """The configured streams, and others when there are none or only old ones.

    :param used: whether Superset writes streams; None when that is not known.
    """
    key = global_stream(loaded.settings.redis_stream_prefix)
    now_ms = clock_ms(client.time())
    try:
        stream = read_stream(client, key)
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            return [red(WHAT, explain(error, loaded))]
        return [red(WHAT, f"{key} is no stream ({error}): something else uses the name")]
    findings: list[Finding] = []
    if stream:
        findings += describe_stream(key, stream, now_ms)
        findings += _channel_streams(client, loaded.settings.redis_stream_prefix)
    if used is False:  # what there may be is left from a Superset before
        return findings or [green(WHAT, f"there is no stream {key}, and Superset 7 writes none")]
    if stream is None or now_ms - stream.newest_ms > STALE_MS:
        others = finder.find(loaded.settings.redis, loaded.settings.redis_stream_prefix)
        newest_here = stream.newest_ms if stream else 0
        findings += about_elsewhere(others, newest_here, loaded, used)
    return findings


def read_stream(client: redis.Redis, key: str) -> Stream | None:
    """None when it doesn't exist or is empty.

    :raises redis.ResponseError: when the key is no stream, or can't be read.
    """
    newest: Any = client.execute_command("XREVRANGE", key, "+", "-", "COUNT", SAMPLE)
    if not newest:
        return None
    oldest: Any = client.execute_command("XRANGE", key, "-", "+", "COUNT", 1)
    last, first_sampled = _ms(newest[0]), _ms(newest[-1])
    length, trimmed = len(newest), None
    try:
        info: Any = client.xinfo_stream(key)
        length = int(info["length"])
        if "entries-added" in info:  # Redis 7
            trimmed = int(info["entries-added"]) > length
    except redis.ResponseError:
        pass  # not permitted: the service itself needs no XINFO
    return Stream(length, _ms(oldest[0]), last, len(newest), last - first_sampled, trimmed)


def describe_stream(key: str, stream: Stream, now_ms: int) -> Iterator[Finding]:
    """One line of facts, one about a memory that is too short."""
    rate = stream.per_minute
    parts = [
        f"{key} has {counted(stream.length, 'entry', 'entries')}",
        f"{rate:,.1f} per minute lately" if rate is not None else "too few to tell a rate",
        f"the newest {age(now_ms - stream.newest_ms)} old",
        f"the oldest {age(now_ms - stream.oldest_ms)}",
    ]
    if stream.trimmed is not None:
        parts.append("trimmed to this length" if stream.trimmed else "not trimmed so far")
    yield green(WHAT, ", ".join(parts))
    if stream.trimmed and stream.newest_ms - stream.oldest_ms < SHORT_MEMORY_MS:
        yield yellow(
            WHAT,
            f"{key} reaches back {age(stream.newest_ms - stream.oldest_ms)} only: who reconnects "
            "later misses events; raise GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT_FIREHOSE in "
            "Superset",
        )


def about_elsewhere(
    others: Sequence[finder.Elsewhere], newest_here: int, loaded: Loaded, used: bool | None
) -> Iterator[Finding]:
    """Streams with newer events in another database or under another prefix.

    :param others: the newest first.
    :param used: as in `check_streams`.
    """
    prefix = loaded.settings.redis_stream_prefix
    key, db = global_stream(prefix), loaded.settings.redis.db
    newer = [other for other in others if other.newest_ms > newest_here]
    make = red if not newest_here else yellow
    missing = f"there is no stream {key} in database {db}"
    old = f"{key} in database {db} has no new events"
    for other in newer[:3]:
        remedies = []
        if other.db != db:
            remedies.append(change("redis.db", loaded, other.db))
        if other.prefix != prefix:
            remedies.append(change("redisStreamPrefix", loaded, other.prefix))
        yield make(
            WHAT,
            f"{old if newest_here else missing}, but {other.key} in database {other.db} "
            f"has events: {' and '.join(remedies)}{_helm_hint(loaded, other.db)}, or let Superset "
            "use the values of here",
        )
    if not newer and not newest_here:
        seven = "" if used else ", and with Superset 7, which writes none"
        hint = "" if used else " (check --superset superset_config.py tells)"
        yield yellow(
            WHAT,
            f"{missing}, nor in another database or under another prefix of this Redis: that is "
            f"normal before the first query{seven}; if charts are loading in vain, Superset writes "
            f"to another Redis or not at all{hint}",
        )


def age(ms: int) -> str:
    """A duration in s, min, h or days."""
    seconds = max(ms, 0) / 1000
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _helm_hint(loaded: Loaded, db: int) -> str:
    if loaded.set_by("redis.db").kind is Kind.ENVIRONMENT and db == 0:
        return " (Superset's Helm chart passes its own REDIS_DB to this server too)"
    return ""


def _channel_streams(client: redis.Redis, prefix: str) -> Iterator[Finding]:
    try:
        names = finder.stream_names(client, _escaped(prefix) + "*")
        count = sum(1 for name in names if name != global_stream(prefix))
    except redis.ResponseError:
        return  # the server itself needs no SCAN
    yield green(WHAT, f"{counted(count, 'stream')} of channels {prefix}… found")


def _ms(entry: Any) -> int:
    return StreamId.parse(entry[0]).ms


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
