# SPDX-License-Identifier: Apache-2.0
"""Redis as configured: reachable, new enough, and everything permitted that the server does.

Knows redis-py through `redis_client.connect` only, nothing of Superset. Reads, never writes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError

from wsgi_ws.cli.checks.configuration import is_loopback, source_of
from wsgi_ws.cli.checks.findings import Finding, green, red
from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.sources.streams.names import channel_stream, global_stream

WHAT = "redis"
TIMEOUT = 5.0  # seconds
OLDEST = (5,)  # streams came with it


def check(loaded: Loaded, *, container: bool) -> tuple[redis.Redis | None, list[Finding]]:
    """
    :param container: whether this runs in one, where 127.0.0.1 is the container itself.
    :returns: a client when the streams can be read, and the findings.
    """
    settings = loaded.settings.redis
    client = connect(settings, read_timeout=TIMEOUT)
    try:
        version = _version(client)
    except (redis.RedisError, OSError) as error:
        client.close()
        return None, [red(WHAT, explain(error, loaded, container=container))]
    findings = [check_version(version, describe(settings))]
    denied = denied_commands(client, loaded.settings.redis_stream_prefix)
    findings.append(check_permissions(denied, loaded))
    if denied:
        client.close()
        return None, findings
    return client, findings


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


def check_permissions(denied: list[str], loaded: Loaded) -> Finding:
    """Everything that the server sends must be allowed to its user."""
    settings = loaded.settings
    prefix = settings.redis_stream_prefix
    user = settings.redis.username or "default"
    if denied:
        return red(
            WHAT,
            f"user {user} may not do {' and '.join(denied)} on {prefix}*: allow it in Redis with "
            f"ACL SETUSER {user} ~{prefix}* +xread +xrange +xrevrange +time +select",
        )
    return green(WHAT, f"user {user} may do XREAD, XRANGE, XREVRANGE and TIME on {prefix}*")


def denied_commands(client: redis.Redis, prefix: str) -> list[str]:
    """Which of the server's commands are refused, tried on the keys that it uses."""
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


def explain(error: Exception, loaded: Loaded, *, container: bool = False) -> str:
    """One sentence about a connection that failed, with the remedy. No secret is in it."""
    settings = loaded.settings.redis
    where = describe(settings)
    text = str(error)
    if isinstance(error, redis.AuthenticationError | redis.AuthenticationWrongNumberOfArgsError):
        return _about_password(settings, loaded, text)
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            f"user {settings.username} of {where} may not even connect to database {settings.db}: "
            f"ACL SETUSER {settings.username} +select"
        )
    if isinstance(error, MasterNotFoundError):
        return f"the Sentinels know no master that is up ({text}): check redis.sentinelMaster"
    if "NOAUTH" in text or "Authentication required" in text:
        return _about_password(settings, loaded, text)
    if "DB index is out of range" in text:
        return (
            f"{where} has no database {settings.db} (redis.db from {source_of('redis.db', loaded)})"
            ": most have 0 to 15; take the one that Superset has"
        )
    chain = " ".join(_texts(error))
    if _is_tls_trouble(chain):
        return _about_tls(settings, where, chain)
    if isinstance(error, redis.BusyLoadingError):
        return f"{where} is still loading its data: wait"
    if isinstance(error, redis.ResponseError):
        return f"{where} answers: {text}"
    return _about_address(settings, loaded, text, container=container)


def _about_password(settings: RedisSettings, loaded: Loaded, text: str) -> str:
    where = describe(settings)
    if settings.password and "without any password configured" in text:
        return f"{where} has no password, but redis.password is set: leave it out"
    if not settings.password:
        return f"{where} wants a password: set redis.password or REDIS_PASSWORD"
    return (
        f"{where} refuses the password of user {settings.username} (redis.password from "
        f"{source_of('redis.password', loaded)}): correct redis.username and redis.password"
    )


def _texts(error: BaseException | None) -> Iterator[str]:
    """Of an error and of what has led to it: redis-py hides the cause behind its own."""
    while error:
        yield str(error)
        error = error.__cause__ or error.__context__


def _is_tls_trouble(text: str) -> bool:
    words = ("Connection closed by server", "Connection reset", "SSL", "_ssl", "CERTIFICATE")
    return any(word in text for word in words)


def _about_tls(settings: RedisSettings, where: str, text: str) -> str:
    if not settings.ssl:
        return (
            f"{where} ends the connection at once: if it speaks TLS only, set redis.ssl to true or "
            "REDIS_SSL=true"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("CERTIFICATE_VERIFY_FAILED]")[2].split("(_ssl")[0].strip()
        return (
            f"{where} shows a certificate that is not trusted ({why}): name its CA's file in "
            "redis.sslCaCerts, or the host as the certificate does"
        )
    no_tls = ("WRONG_VERSION_NUMBER", "RECORD_LAYER", "handshake operation timed out")
    if any(word in text for word in no_tls):
        return f"{where} speaks no TLS on this port: set redis.ssl to false, or its TLS port"
    return f"TLS with {where} fails ({text}): compare redis.ssl and the redis.ssl… keys"


def _about_address(settings: RedisSettings, loaded: Loaded, text: str, *, container: bool) -> str:
    where = describe(settings)
    local = not settings.sentinels and not settings.unix_socket_path and is_loopback(settings.host)
    if container and local:
        return (
            f"nothing answers at {where} (redis.host from {source_of('redis.host', loaded)}), "
            "which in a container is the container itself: set REDIS_HOST to the name of Redis's "
            "service, often redis"
        )
    reason = _reason(text)
    if settings.unix_socket_path:
        return f"{where} can't be reached ({reason}): correct redis.unixSocketPath"
    return (
        f"{where} can't be reached ({reason}): start Redis, or correct redis.host (from "
        f"{source_of('redis.host', loaded)}) and redis.port (from "
        f"{source_of('redis.port', loaded)})"
    )


def _reason(text: str) -> str:
    for words, reason in (
        ("refused", "connection refused"),
        ("Name or service not known", "the host name is not known"),
        ("name resolution", "the host name can't be looked up"),
        ("No address associated", "the host name has no address"),
        ("imed out", "no answer in time"),
        ("Timeout", "no answer in time"),
        ("No such file", "there is no such file"),
    ):
        if words in text:
            return reason
    return text


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
        return False  # a key of another type: `streams` tells
    return False


def permission_sentence(command: str, error: Exception, loaded: Loaded) -> str:
    """For the commands that write, which the server itself never does."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        user = loaded.settings.redis.username
        return (
            f"user {user} may not do {command}: the server needs only to read; to send test events "
            f"too, ACL SETUSER {user} +xadd"
        )
    return explain(error, loaded)
