# SPDX-License-Identifier: Apache-2.0
"""Redis as configured: reachable, new enough, and with the permissions that the server needs.

Knows redis-py through `redis_client.connect` only, nothing of Superset. Reads, never writes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import redis

from wsgi_ws.cli.checks.words import Finding, green, is_followed, red, yellow
from wsgi_ws.cli.redis_errors import (
    TIMEOUT,
    explain,
    explain_cluster,
    explain_subscribe,
    realtime_channel,
)
from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.sources.redis_replies import is_of_cluster, to_follow_streams, to_ping
from wsgi_ws.superset.stream_names import channel_stream, global_stream
from wsgi_ws.transport import Transport

WHAT = "redis"
OLDEST = (5,)  # the first version with streams
SOME_CHANNELS = 32  # one of a cluster's nodes, if there are several, has them all once in 2^32


class Usable(NamedTuple):
    """A client, and what its user may follow; no client when that is nothing."""

    client: redis.Redis | None
    transports: frozenset[Transport]


NOTHING = Usable(None, frozenset())


def check_redis(
    loaded: Loaded, needed: Collection[Transport], *, container: bool
) -> tuple[Usable, list[Finding]]:
    """
    :param needed: what Superset uses, as far as its settings are known.
    :param container: whether this runs in one, where 127.0.0.1 is the container itself.
    """
    settings = loaded.settings.redis
    client = connect(settings, read_timeout=TIMEOUT)
    try:
        version = _version(client)
        if is_cluster(client, loaded.settings.redis_stream_prefix):
            client.close()
            return NOTHING, [red(WHAT, explain_cluster(settings))]
        usable, more = _check_transports(client, loaded, needed)
    except (redis.RedisError, OSError) as error:
        client.close()
        return NOTHING, [red(WHAT, explain(error, loaded, container=container))]
    if not usable:
        client.close()
    version_found = check_version(version, describe(settings))
    return Usable(client if usable else None, usable), [version_found, *more]


def while_it_answers(
    look: Callable[[], list[Finding]], loaded: Loaded, *, container: bool
) -> list[Finding]:
    """What another look at the same Redis finds; it may be gone by then."""
    try:
        return look()
    except (redis.RedisError, OSError) as error:
        return [red(WHAT, explain(error, loaded, container=container))]


def _check_transports(
    client: redis.Redis, loaded: Loaded, needed: Collection[Transport]
) -> tuple[frozenset[Transport], list[Finding]]:
    """What the user may follow, of what is to be followed."""
    problems: Mapping[Transport, Callable[[], str]] = {
        Transport.STREAMS: lambda: check_streams_permissions(client, loaded),
        Transport.REALTIME: lambda: check_channel_permission(client, loaded),
    }
    sentences = {t: look() for t, look in problems.items() if is_followed(t, loaded)}
    usable = frozenset(transport for transport, problem in sentences.items() if not problem)
    spared = loaded.settings.transports == "auto" and usable
    findings = []
    for transport, problem in sentences.items():
        if not problem:
            findings.append(green(WHAT, _may(transport, loaded)))
        elif not spared:
            findings.append(red(WHAT, problem))
        else:
            off = f"{problem}; until then {transport.value} is switched off here"
            is_needed = transport in needed
            make = red if is_needed else yellow
            findings.append(make(WHAT, off + (", and Superset uses it" if is_needed else "")))
    if Transport.REALTIME in usable and _is_denied(client, ("PING",)):
        lacking = to_ping(loaded.settings.redis.user).lacking
        findings.append(yellow(WHAT, f"{lacking}, or some outages of realtime go unnoticed"))
    return usable, findings


def check_version(version: str | None, where: str) -> Finding:
    """
    :param version: None when this user may not ask, which only Redis 6 and later can forbid.
    """
    if version is None:
        return green(WHAT, f"{where} answers; its version is 6 or later, as it has permissions")
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        return red(WHAT, f"{where} is Redis {version}, which has no streams: install 5 or later")
    return green(WHAT, f"{where} answers, version {version}")


def is_cluster(client: redis.Redis, prefix: str) -> bool:
    """Whether this is one of several nodes, each of which has a part of the keys.

    Asks for keys: a user may not be permitted to ask for the mode. A cluster of one node has all.
    """
    channels = (channel_stream(prefix, str(uuid.uuid4())) for _ in range(SOME_CHANNELS))
    with client.pipeline(transaction=False) as pipeline:
        for key in (global_stream(prefix), *channels):
            pipeline.execute_command("XRANGE", key, "-", "+", "COUNT", 1)
        return any(map(is_of_cluster, pipeline.execute(raise_on_error=False)))


def check_streams_permissions(client: redis.Redis, loaded: Loaded) -> str:
    """Redis must allow the server's user each command that the server sends: else a sentence."""
    prefix, user = loaded.settings.redis_stream_prefix, loaded.settings.redis.user
    denied = denied_commands(client, prefix)
    if not denied:
        return ""
    return to_follow_streams(user, prefix, f"do {' and '.join(denied)} on").lacking


def check_channel_permission(client: redis.Redis, loaded: Loaded) -> str:
    """Likewise the subscription, which is tried. An ACL user has no channel unless told."""
    with client.pubsub() as subscription:
        try:
            subscription.subscribe(realtime_channel(loaded))
            subscription.get_message(timeout=TIMEOUT)
        except redis.exceptions.NoPermissionError as error:
            return explain_subscribe(error, loaded)
    return ""


def _may(transport: Transport, loaded: Loaded) -> str:
    user = loaded.settings.redis.user
    if transport is Transport.REALTIME:
        return f"user {user} may SUBSCRIBE to {realtime_channel(loaded)}"
    prefix = loaded.settings.redis_stream_prefix
    return f"user {user} may do XREAD, XRANGE, XREVRANGE and TIME on {prefix}*"


def denied_commands(client: redis.Redis, prefix: str) -> list[str]:
    """The server's commands that Redis refuses, each tried on the keys that the server uses."""
    channel = str(uuid.uuid4())
    keys = {"": global_stream(prefix), " of a channel": channel_stream(prefix, channel)}
    trials: dict[str, tuple[Any, ...]] = {"TIME": ("TIME",)}
    for suffix, key in keys.items():
        trials["XRANGE" + suffix] = ("XRANGE", key, "-", "+", "COUNT", 1)
    trials["XREVRANGE"] = ("XREVRANGE", keys[""], "+", "-", "COUNT", 1)
    trials["XREAD"] = ("XREAD", "COUNT", 1, "STREAMS", keys[""], "0-0")
    return [name for name, command in trials.items() if _is_denied(client, command)]


def same_server(one: RedisSettings, other: RedisSettings) -> bool | None:
    """Whether two addresses lead to one Redis; None when it can't be told from here."""
    runs: list[str | None] = []
    for settings in (one, other):
        client = connect(settings, read_timeout=TIMEOUT)
        try:
            info: Any = client.info("server")
            runs.append(info.get("run_id"))
        except (redis.RedisError, OSError):
            return None
        finally:
            client.close()
    return runs[0] == runs[1] if runs[0] else None


def _version(client: redis.Redis) -> str | None:
    try:
        info: Any = client.info("server")
    except redis.exceptions.NoPermissionError as error:
        if "select" in str(error).lower():
            raise
        return None
    return str(info.get("redis_version", "unknown"))


def _is_denied(client: redis.Redis, command: tuple[Any, ...]) -> bool:
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ResponseError:
        return False  # a key of another type: the check of the streams tells
    return False
