# SPDX-License-Identifier: Apache-2.0
"""Live events and messages, from Redis or from the server as a browser gets them.

Prints nothing itself. What Superset 7 publishes comes from `messages`.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import redis

from wsgi_ws.cli.socket_client import Socket, Trust
from wsgi_ws.cli.token import cookie, realtime_cookie
from wsgi_ws.config.keys import Settings
from wsgi_ws.event import MalformedEntry, members_of
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.entry import data_of
from wsgi_ws.superset.stream_names import global_stream
from wsgi_ws.transport import Transport

BLOCK_MS = 5000
ROUTES_SHOWN = 4
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
                    members = members_of(data_of(raw[1]))
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
        yield from _received(client)


def messages_from_server(
    settings: Settings, principal: str, url: str, trust: Trust
) -> Iterator[dict[str, Any]]:
    """The messages that a browser of this principal gets; raises as `from_server` does."""
    headers = {"Cookie": realtime_cookie(settings, principal)}
    with Socket(url, headers, trust=trust) as client:
        yield from _received(client)


def _received(client: Socket) -> Iterator[dict[str, Any]]:
    while True:
        text = client.receive(None)
        if text is not None:
            yield json.loads(text)


def merged(
    sources: Mapping[Transport, Iterator[dict[str, Any]]],
    on_forbidden: Callable[[Transport, Exception], None],
) -> Iterator[dict[str, Any]]:
    """What several endless sources give, as it comes.

    :param on_forbidden: hears which of them Redis's user may not use; the others go on.
    :raises redis.RedisError: of the first source that fails otherwise, or of the last forbidden.
    """
    arrived: queue.Queue[tuple[Transport, dict[str, Any] | Exception]] = queue.Queue()

    def drain(transport: Transport) -> None:
        try:
            for event in sources[transport]:
                arrived.put((transport, event))
        except Exception as error:
            arrived.put((transport, error))

    for transport in sources:
        threading.Thread(target=drain, args=(transport,), daemon=True).start()
    left = len(sources)
    while True:
        transport, event = arrived.get()
        if not isinstance(event, Exception):
            yield event
            continue
        left -= 1
        if not left or not isinstance(event, redis.exceptions.NoPermissionError):
            raise event
        on_forbidden(transport, event)


def newest_id(client: redis.Redis, key: str) -> bytes:
    """The ID at which a stream ends now. XREAD's `$` would skip entries between two reads."""
    newest: Any = client.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
    return bytes(newest[0][0]) if newest else bytes(ZERO)


def as_line(event: dict[str, Any]) -> str:
    """One event for people: time, channel, job, status, result or error."""
    if event.get("transport") == "realtime" or "topic" in event:
        return _message_line(event)
    moment = StreamId.from_client(str(event.get("id", "")))
    time = _time(moment.ms / 1000) if moment else "--:--:--.---"
    if "malformed" in event:
        return f"{time}  {event['id']}  malformed: {event['malformed']}"
    parts = [time, _short(event.get("channel_id")), _short(event.get("job_id"))]
    parts.append(f"{_clean(event.get('status', '?')):9}")
    if event.get("errors"):
        parts.append(_clean(json.dumps(event["errors"], ensure_ascii=False))[:200])
    elif event.get("result_url"):
        parts.append(_clean(event["result_url"]))
    return "  ".join(parts).rstrip()


def _message_line(message: dict[str, Any]) -> str:
    """One message for people: time, topic, scope, size and routes, but no payload."""
    moment = message.get("time")
    parts = [_time(moment) if moment else "--:--:--.---"]
    if "malformed" in message:
        return f"{parts[0]}  {message['bytes']} bytes  malformed: {message['malformed']}"
    parts.append(f"{_clean(message.get('topic')):27}")
    parts.append(f"{_clean(message.get('scope', '')):20}")
    if "bytes" in message:
        parts.append(f"{message['bytes']:6} bytes")
    routes = message.get("routes") or []
    parts += [_short_route(route) for route in routes[:ROUTES_SHOWN]]
    if len(routes) > ROUTES_SHOWN:
        parts.append(f"and {len(routes) - ROUTES_SHOWN} more")
    return "  ".join(parts).rstrip()


def _short_route(route: Any) -> str:
    """A guest's key is long, and stands for what a guest may see."""
    return ":".join(f"{part[:8]}…" if len(part) > 16 else part for part in _clean(route).split(":"))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%H:%M:%S.%f")[:-3]


def _short(value: Any) -> str:
    text = _clean(value)
    return f"{text[:8]}…" if len(text) > 9 else f"{text:9}"


def _clean(value: Any) -> str:
    """Replace control characters: events come from outside, and a terminal obeys them."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
