# SPDX-License-Identifier: Apache-2.0
"""The channel of Superset 7 in Redis: is anybody subscribed to it, or to one like it?

Reads only. Redis keeps no message, so nothing can be said about what has been published.
"""

from __future__ import annotations

from typing import Any

import redis

from wsgi_ws.cli.checks.words import Finding, change, green, red, yellow
from wsgi_ws.cli.redis_errors import realtime_channel
from wsgi_ws.config.load import Loaded
from wsgi_ws.server.listening import bind_error
from wsgi_ws.superset.realtime import channel_name
from wsgi_ws.wording import counted

WHAT = "realtime"
SHOWN = 3  # other channels


def check_realtime(client: redis.Redis, loaded: Loaded, used: bool | None) -> Finding:
    """Each worker of a server is one subscriber.

    :param used: whether Superset publishes messages; None when that is not known.
    :raises redis.RedisError: when Redis can't be asked any more.
    """
    channel = realtime_channel(loaded)
    try:
        subscribers = _subscribers(client, channel)
        others = [] if subscribers else _others(client, channel)
    except redis.exceptions.NoPermissionError:
        user = loaded.settings.redis.user
        return green(WHAT, f"user {user} may not ask who is subscribed (+pubsub): not looked at")
    if subscribers:
        return green(WHAT, f"{channel} has {counted(subscribers, 'subscriber')}{_hint(loaded)}")
    if used is False:
        return green(
            WHAT, f"nobody is subscribed to {channel}, and Superset up to 6.1 publishes nothing"
        )
    if others:
        return yellow(WHAT, _about_others(channel, others, loaded))
    if bind_error("", loaded.settings.port) is None:
        return green(WHAT, f"{channel} has no subscriber, as no server runs here{_hint(loaded)}")
    make = yellow if loaded.settings.transports == "auto" else red
    return make(
        WHAT,
        f"nobody is subscribed to {channel}, although something listens on port "
        f"{loaded.settings.port}: whatever Superset 7 publishes is lost; if that is this server, "
        "it has another configuration or no connection: restart it with the one of here",
    )


def _subscribers(client: redis.Redis, channel: str) -> int:
    reply: Any = client.execute_command("PUBSUB", "NUMSUB", channel)
    return int(reply[1])


def _others(client: redis.Redis, channel: str) -> list[str]:
    """Channels of other prefixes to which somebody is subscribed."""
    reply: Any = client.execute_command("PUBSUB", "CHANNELS", f"*{channel_name('')}")
    names = (name.decode("utf-8", "replace") for name in reply)
    return sorted(name for name in names if name != channel)


def _about_others(channel: str, others: list[str], loaded: Loaded) -> str:
    prefixes = [name.removesuffix(channel_name("")) for name in others]
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    return (
        f"nobody is subscribed to {channel}, but somebody is to {', '.join(others[:SHOWN])}{more}: "
        f"if that is this server, {change('realtimeChannelPrefix', loaded, prefixes[0])} here; the "
        "server's and Superset's prefix (REALTIME_CHANNEL_PREFIX) must be the same text, or "
        "nothing ever arrives"
    )


def _hint(loaded: Loaded) -> str:
    """Two Supersets without prefixes can't be told from one here."""
    if loaded.settings.realtime_channel_prefix:
        return ""
    return (
        "; without a prefix it must be the only Superset 7 of this Redis: another database number "
        "separates nothing"
    )
