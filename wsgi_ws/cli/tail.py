# SPDX-License-Identifier: Apache-2.0
"""Live events, from Redis or from the server as a browser gets them. Prints nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import redis

from wsgi_ws.cli.socket_client import Socket, Trust
from wsgi_ws.cli.token import cookie
from wsgi_ws.config.keys import Settings
from wsgi_ws.event import MalformedEntry
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.superset.stream_names import global_stream

BLOCK_MS = 5000
MARGIN = 5.0  # seconds that a reply may take beyond its BLOCK


def entry_id(text: str) -> StreamId | None:
    """An ID as Redis's commands take it: `1700000000000` is `1700000000000-0`; None: it is none.

    The server takes the whole form only, and ignores all others.
    """
    return StreamId.from_client(text if "-" in text else f"{text}-0")


def from_redis(
    settings: Settings, channel: str | None, since: StreamId | None
) -> Iterator[dict[str, Any]]:
    """The global stream's events for ever.

    :param channel: only this one's; None for all.
    :param since: the ID after which to begin; None: with what comes from now on.
    :raises redis.RedisError: when Redis can't be read.
    """
    key = global_stream(settings.redis_stream_prefix)
    client = connect(settings.redis, read_timeout=BLOCK_MS / 1000 + MARGIN)
    with client:
        position = newest_id(client, key) if since is None else bytes(since)
        while True:
            reply: Any = client.execute_command(
                "XREAD", "COUNT", 100, "BLOCK", BLOCK_MS, "STREAMS", key, position
            )
            for raw in reply[0][1] if reply else ():
                position = raw[0]
                try:
                    members = Entry.parse(raw).members
                except MalformedEntry as error:
                    yield {"id": position.decode(), "malformed": str(error)}
                    continue
                if channel in (None, members["channel_id"]):
                    yield {"id": position.decode(), **members}


def from_server(
    settings: Settings, channel: str, since: StreamId | None, url: str, trust: Trust
) -> Iterator[dict[str, Any]]:
    """The events that a browser with this channel's cookie gets, until the connection ends.

    :param since: the ID after which to begin; None: with what comes from now on.
    :raises NoToken: when the cookie can't be signed.
    :raises Unreachable: when there is no HTTP answer.
    :raises Refused: when the answer is another than 101.
    :raises Ended: when the connection does.
    """
    query = f"{'&' if '?' in url else '?'}last_id={since}" if since is not None else ""
    with Socket(url + query, {"Cookie": cookie(settings, channel)}, trust=trust) as client:
        while True:
            text = client.receive(None)
            if text is not None:
                yield json.loads(text)


def newest_id(client: redis.Redis, key: str) -> bytes:
    """The ID at which a stream ends now. XREAD's `$` would skip entries between two reads."""
    newest: Any = client.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
    return bytes(newest[0][0]) if newest else bytes(ZERO)


def as_line(event: dict[str, Any]) -> str:
    """One event for people: time, channel, job, status, result or error."""
    moment = StreamId.from_client(str(event.get("id", "")))
    time = (
        datetime.fromtimestamp(moment.ms / 1000, timezone.utc).strftime("%H:%M:%S.%f")[:-3]
        if moment
        else "--:--:--.---"
    )
    if "malformed" in event:
        return f"{time}  {event['id']}  malformed: {event['malformed']}"
    parts = [time, _short(event.get("channel_id")), _short(event.get("job_id"))]
    parts.append(f"{_clean(event.get('status', '?')):9}")
    if event.get("errors"):
        parts.append(_clean(json.dumps(event["errors"], ensure_ascii=False))[:200])
    elif event.get("result_url"):
        parts.append(_clean(event["result_url"]))
    return "  ".join(parts).rstrip()


def _short(value: Any) -> str:
    text = _clean(value)
    return f"{text[:8]}…" if len(text) > 9 else f"{text:9}"


def _clean(value: Any) -> str:
    """Replace control characters: events come from outside, and a terminal obeys them."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
