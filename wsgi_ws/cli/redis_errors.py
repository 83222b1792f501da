# SPDX-License-Identifier: Apache-2.0
"""What an error of Redis means for this configuration, in one sentence with the remedy. No I/O.

Commands and checks say it in the same words. No sentence contains a secret.
"""

from __future__ import annotations

from collections.abc import Iterator

import redis
from redis.sentinel import MasterNotFoundError

from wsgi_ws.addresses import is_loopback
from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.sources.redis_replies import is_of_cluster, to_subscribe
from wsgi_ws.superset.realtime import channel_name

TIMEOUT = 5.0  # seconds that a command waits for an answer of Redis
_REFUSED = "connection refused"
_SILENCE = ("Timeout reading", "Timeout writing")  # redis-py's, when it is connected


def explain(error: Exception, loaded: Loaded, *, container: bool = False) -> str:
    """One sentence about a connection that failed, with the remedy. No secret is in it."""
    settings = loaded.settings.redis
    where = describe(settings)
    text = str(error)
    if is_of_cluster(error):
        return explain_cluster(settings)
    if isinstance(error, redis.AuthenticationError | redis.AuthenticationWrongNumberOfArgsError):
        return _about_password(settings, loaded, text)
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            f"user {settings.user} of {where} may not even connect to database {settings.db}: "
            f"ACL SETUSER {settings.user} +select"
        )
    if isinstance(error, MasterNotFoundError):
        return _about_sentinels(loaded, text)
    if "NOAUTH" in text or "Authentication required" in text:
        return _about_password(settings, loaded, text)
    if "DB index is out of range" in text:
        return (
            f"{where} has no database {settings.db} (redis.db from {loaded.set_by('redis.db')})"
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


def explain_cluster(settings: RedisSettings) -> str:
    """Its keys are on several servers, and each client must know which has which."""
    return (
        f"{describe(settings)} is a Redis Cluster, which Superset and this server can't use: take "
        "a Redis without cluster mode for the events, a single one or one with Sentinel"
    )


def explain_write(command: str, error: Exception, loaded: Loaded) -> str:
    """Likewise for a command that writes: the server itself needs no such permission."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        user = loaded.settings.redis.user
        channel = f" &{realtime_channel(loaded)}" if command == "PUBLISH" else ""
        return (
            f"user {user} may not do {command}: the server needs only to read; to send test events "
            f"too, ACL SETUSER {user}{channel} +{command.lower()}"
        )
    return explain(error, loaded)


def explain_subscribe(error: Exception, loaded: Loaded) -> str:
    """Likewise for the subscription to the realtime channel."""
    forbidden = isinstance(error, redis.exceptions.NoPermissionError)
    if forbidden and "'select'" not in str(error).lower():
        return to_subscribe(loaded.settings.redis.user, realtime_channel(loaded)).lacking
    return explain(error, loaded)


def realtime_channel(loaded: Loaded) -> str:
    """The channel that Superset 7 publishes to, by this configuration."""
    return channel_name(loaded.settings.realtime_channel_prefix)


def _about_password(settings: RedisSettings, loaded: Loaded, text: str) -> str:
    where = describe(settings)
    if settings.password and "without any password configured" in text:
        return f"{where} has no password, but redis.password is set: leave it out"
    if not settings.password:
        return f"{where} wants a password: set redis.password or REDIS_PASSWORD"
    return (
        f"{where} refuses the password of user {settings.user} (redis.password from "
        f"{loaded.set_by('redis.password')}; Redis says: {text.rstrip('.')}): correct "
        "redis.username and redis.password"
    )


def _about_sentinels(loaded: Loaded, text: str) -> str:
    """Each has its answer in the text."""
    source = loaded.set_by
    if "doesn't know it" in text:
        remedy = f"correct redis.sentinelMaster (from {source('redis.sentinelMaster')})"
    elif "says that it is down" in text:
        remedy = "start it, or wait until a replica has taken its place"
    else:
        login = "Authentication" in text or "password" in text
        remedy = "correct redis.sentinelUsername and redis.sentinelPassword" if login else ""
        at = f"start them, or correct redis.sentinels (from {source('redis.sentinels')})"
        return f"none of the Sentinels can be asked ({text}): {remedy or at}"
    return f"the Sentinels know no master that is up ({text}): {remedy}"


def _texts(error: BaseException | None) -> Iterator[str]:
    """The texts of an error and of its causes: redis-py wraps the socket's error in its own."""
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
        hangs = ", or hangs" if "timed out" in text else ""
        return f"{where} speaks no TLS on this port{hangs}: set redis.ssl to false, or its TLS port"
    return f"TLS with {where} fails ({text}): compare redis.ssl and the redis.ssl… keys"


def _about_address(settings: RedisSettings, loaded: Loaded, text: str, *, container: bool) -> str:
    where = describe(settings)
    if any(word in text for word in _SILENCE):
        return (
            f"{where} takes the connection, but does not answer within {TIMEOUT:.0f} s: it hangs, "
            "or something before it does (a proxy, a full disk, a script that holds it up): look "
            "at Redis's log, and restart it if need be"
        )
    local = not settings.sentinels and not settings.unix_socket_path and is_loopback(settings.host)
    reason = _reason(text)
    if container and local and reason == _REFUSED:
        return (
            f"nothing answers at {where} (redis.host from {loaded.set_by('redis.host')}), "
            "which in a container is the container itself: set REDIS_HOST to the name of Redis's "
            "service, often redis"
        )
    if settings.unix_socket_path:
        return f"{where} can't be reached ({reason}): correct redis.unixSocketPath"
    return (
        f"{where} can't be reached ({reason}): start Redis, or correct redis.host (from "
        f"{loaded.set_by('redis.host')}) and redis.port (from "
        f"{loaded.set_by('redis.port')})"
    )


def _reason(text: str) -> str:
    for words, reason in (
        ("refused", _REFUSED),
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
