# SPDX-License-Identifier: Apache-2.0
"""Messages of Superset 7: as they come from its channel, and one to try. Prints nothing itself."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import redis
from redis.client import PubSub

from wsgi_ws.cli.redis_errors import TIMEOUT
from wsgi_ws.config.keys import Settings
from wsgi_ws.sources.realtime.envelope import MalformedMessage, message_of
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.superset.names import BROADCAST, ENTITY_CHANGED, TASK_STATUS
from wsgi_ws.superset.realtime import channel_name

Message = dict[str, Any]

PAUSE = 5.0  # seconds between two looks at a silent channel


class Forbidden(redis.exceptions.NoPermissionError):
    """Redis's user may not subscribe to the channel."""


def from_channel(settings: Settings, whose: str | None) -> Iterator[Message]:
    """What is published from now on, for ever.

    :param whose: only what is routed to this principal or one of its tabs; None: everything.
    :raises Forbidden: when Redis does not permit the channel.
    :raises redis.RedisError: when Redis can't be read.
    """
    client = connect(settings.redis, read_timeout=TIMEOUT)
    with client, client.pubsub(ignore_subscribe_messages=True) as subscription:
        try:
            subscription.subscribe(channel_name(settings.realtime_channel_prefix))
            yield from _messages(subscription, whose)
        except redis.exceptions.NoPermissionError as error:
            raise Forbidden(str(error)) from None


def _messages(subscription: PubSub, whose: str | None) -> Iterator[Message]:
    while True:
        reply: Any = subscription.get_message(timeout=PAUSE)
        if reply is None:
            continue
        message = as_message(reply["data"])
        if whose is None or is_for(message, whose):
            yield message


def as_message(data: bytes) -> Message:
    """The members of an envelope, its size in bytes and the time; or what is wrong with it."""
    about: Message = {"transport": "realtime", "time": time.time(), "bytes": len(data)}
    try:
        message_of(data)
        return dict(json.loads(data)) | about
    except (MalformedMessage, ValueError) as error:
        return about | {"malformed": str(error)}


def is_for(message: Message, whose: str) -> bool:
    """Whether it is routed to a principal or one of its tabs; what is for everybody is not."""
    routes = message.get("routes") or ()
    return any(route == whose or route.startswith(f"{whose}:") for route in routes)


def sample(topic: str | None, payload: Any, route: str | None) -> tuple[str, str, Any]:
    """Topic, scope and payload of a message to try; what is None becomes something harmless.

    :param route: a principal or a tab; None: everybody.
    """
    if route is None:
        topic, scope = topic or ENTITY_CHANGED, BROADCAST
    else:
        topic, scope = topic or TASK_STATUS, "tab" if route.count(":") > 1 else "principal"
    if payload is None:
        task = {"task_id": str(uuid.uuid4()), "status": "success"}
        payload = task if topic == TASK_STATUS else {"entity_type": "task", "id": 0}
    return topic, scope, payload
