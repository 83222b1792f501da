# SPDX-License-Identifier: Apache-2.0
"""Connections to Redis as configured, for reading streams: TCP, TLS, Unix socket, Sentinel.

The only place that knows redis-py's options.
"""

from __future__ import annotations

import contextlib
import inspect
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.sources.redis_replies import FORM_OF

CONNECT_TIMEOUT = 5.0  # seconds
SENTINEL_TIMEOUT = 1.0  # seconds to connect, and to wait for the answer; they are asked in turn
MASTER_CHECK_INTERVAL = 2.0  # seconds between two questions for the master while following
SENTINEL_PAUSE = 60.0  # seconds in which a Sentinel that failed is asked only if no other answers

# A balancer between here and Redis forgets an idle connection without a word after some minutes
# (AWS 350 s, Azure 240 s): the kernel asks now and then whether it is there, and gives up in time.
_KEEP_ALIVE = {
    "TCP_KEEPIDLE": 60,  # seconds
    "TCP_KEEPINTVL": 10,  # seconds
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,  # milliseconds for what was sent
}
# Seconds after which a connection that nobody has used is not trusted any more: a new one costs a
# round trip or two, a dead one the whole time-out.
IDLE_MAX = 60.0

# What differs between versions of redis-py. RESP3, the default of version 8, is unknown to Redis 5.
# The rest is the library's name, which a connection sends with CLIENT SETINFO at its start: that
# takes a permission which not every Redis has.
_WANTED = {"protocol": 2, "driver_info": None, "lib_name": None, "lib_version": None}
_KNOWN = inspect.signature(redis.Redis).parameters
_BY_VERSION = {
    name: value
    for name, value in _WANTED.items()
    if name in _KNOWN and not (name.startswith("lib_") and "driver_info" in _KNOWN)
}


def connect(settings: RedisSettings, *, read_timeout: float) -> redis.Redis:
    """A client for one greenlet; it connects at its first command.

    Replies to stream commands come as Redis sent them (lists and bytes): redis-py's own decoding
    would build a dict per entry. Nothing is retried here, so that callers see every outage.

    :param read_timeout: seconds to wait for a reply; a blocking read needs more than it blocks for.
    """
    options = {
        "db": settings.db,
        **_connection(read_timeout, CONNECT_TIMEOUT),
        **_credentials(settings.username, settings.password),
    }
    if not settings.password and not settings.db:
        options["redis_connect_func"] = _greet
    client: ReadingClient
    if settings.sentinels:
        client = MasterClient(settings, options | _tls(settings, settings.ssl))
    elif settings.unix_socket_path:
        client = ReadingClient(unix_socket_path=settings.unix_socket_path, **options)
    else:
        options |= _tls(settings, settings.ssl)
        client = ReadingClient(host=settings.host, port=settings.port, **options)
    client.set_response_callback("XREAD", _as_sent)
    for command, form in FORM_OF.items():
        client.set_response_callback(command, partial(_as_checked, form))
    return client


def connect_outside_the_pool(client: redis.Redis) -> tuple[Any, Any]:
    """A new connection of redis-py and its socket, for a reader that needs nothing else of it.

    Nothing public gives the socket, so this is the one place that takes it. The pool counts the
    connections that it makes and stops at its limit, so it must not make one that never comes back.

    :param client: whose server to connect to, with its options.
    :returns: the connection, to be ended with `disconnect()`; its socket, connected and logged in.
    :raises redis.RedisError: when that doesn't work.
    """
    pool = client.connection_pool
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    connection.connect()
    return connection, connection._sock  # under this name since version 2


def describe(settings: RedisSettings) -> str:
    """The server's address for logs, without credentials."""
    scheme = "rediss" if settings.ssl else "redis"
    if settings.sentinels:
        sentinels = ", ".join(map(str, settings.sentinels))
        return f"{scheme}://{settings.sentinel_master}/{settings.db} (by Sentinel: {sentinels})"
    if settings.unix_socket_path:
        return f"unix://{settings.unix_socket_path}?db={settings.db}"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{settings.port}/{settings.db}"


class ReadingClient(redis.Redis):
    """A client that does not trust connections which may be dead: those that have been idle, and
    those beside one that has failed."""

    _used_at = float("-inf")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, wait for its reply."""
        self._drop_idle()
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call,unused-ignore]
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            _drop_idle_ones(self.connection_pool)
            raise

    def _drop_idle(self) -> None:
        now = time.monotonic()
        if now - self._used_at > IDLE_MAX:
            _drop_idle_ones(self.connection_pool)
        self._used_at = now


def _drop_idle_ones(pool: Any) -> None:
    pool.disconnect(inuse_connections=False)


def _greet(connection: Any) -> None:
    """Ask for something when a connection begins that would begin without a word.

    What a server sends by itself then (session tickets of TLS, that it has too many clients) is
    data to redis-py's pool, which refuses the connection with "not ready".
    """
    connection.on_connect()
    connection.send_command("PING", check_health=False)
    with contextlib.suppress(redis.ResponseError):  # not permitted: an answer all the same
        connection.read_response()


# --- redis-py's options --------------------------------------------------------------------------


def _connection(read_timeout: float, connect_timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": read_timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value
            for name, value in _KEEP_ALIVE.items()
            if hasattr(socket, name)  # not every system has all of them
        },
        "retry": Retry(NoBackoff(), 0),
        **_BY_VERSION,
    }


def _credentials(username: str, password: str) -> dict[str, Any]:
    return {"username": username or None, "password": password} if password else {}


def _tls(settings: RedisSettings, wanted: bool) -> dict[str, Any]:
    if not wanted:
        return {}
    verify = settings.ssl_cert_reqs != "none"
    return {
        "ssl": True,
        "ssl_cert_reqs": settings.ssl_cert_reqs,
        "ssl_check_hostname": verify and settings.validate_hostname,
        "ssl_ca_certs": settings.ssl_ca_certs or None,  # None: those of the system
        "ssl_certfile": settings.ssl_certfile or None,
        "ssl_keyfile": settings.ssl_keyfile or None,
    }


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply


def _as_checked(form: Callable[[Any], Any], reply: Any, **_options: Any) -> Any:
    return form(reply)


# --- Sentinel ------------------------------------------------------------------------------------


class MasterClient(ReadingClient):
    """A client of the master that the Sentinels name; each new connection asks them again.

    A fail-over closes connections to the old master when Sentinel has reached it and made it a
    replica, some ten seconds after the new one was promoted, and never while it is out of
    Sentinel's reach. A reader would wait on a server that nobody writes to. So it also asks now and
    then while all seems well.
    """

    def __init__(self, settings: RedisSettings, options: dict[str, Any]) -> None:
        self._sentinels = _Sentinels(settings)
        self._pool: Any = SentinelConnectionPool(
            settings.sentinel_master, self._sentinels, **options
        )
        self._next_check = 0.0
        super().__init__(connection_pool=self._pool)

    def check_master(self, host: str, port: int) -> None:
        """Now and then, before a read of new entries: is this still the master?

        :raises redis.ConnectionError: when there is a new one; the next connection goes there.
        """
        if time.monotonic() < self._next_check:
            return
        try:
            new = self._pool.get_master_address()  # closes idle connections to another one
        except redis.RedisError:
            new = (host, port)  # amid a fail-over, or no Sentinel answers: what works is kept
        self._next_check = time.monotonic() + MASTER_CHECK_INTERVAL
        if new != (host, port):
            raise redis.ConnectionError(
                f"the master has moved from {host}:{port} to {new[0]}:{new[1]}"
            )

    def close(self) -> None:
        """Close the connections to the Sentinels too."""
        super().close()
        self._pool.disconnect()
        self._sentinels.close()


class _Sentinels:
    """What redis-py's pool needs of its `Sentinel` class, which believes the first that answers.
    This believes the newest configuration, so that one Sentinel that was cut off from the others
    does not lead back to an old master."""

    def __init__(self, settings: RedisSettings) -> None:
        options = {
            **_connection(SENTINEL_TIMEOUT, SENTINEL_TIMEOUT),
            **_credentials(settings.sentinel_username, settings.sentinel_password),
            **_tls(settings, settings.sentinel_ssl),
        }
        self._clients: dict[str, redis.Redis] = {
            f"Sentinel {at.host}:{at.port}": redis.Redis(host=at.host, port=at.port, **options)
            for at in settings.sentinels
        }
        self._paused_until: dict[str, float] = {}

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master's address.

        :raises MasterNotFoundError: with the answer of each Sentinel.
        """
        now = time.monotonic()
        paused = [name for name in self._clients if self._paused_until.get(name, now) > now]
        problems: list[str] = []
        awake = [name for name in self._clients if name not in paused]
        answers = self._ask(awake, service_name, problems)
        answers = answers or self._ask(paused, service_name, problems)
        if not answers:
            raise MasterNotFoundError(f"no master {service_name!r}: {'; '.join(problems)}")
        newest = max(answers, key=lambda state: int(state["config-epoch"]))
        return newest["ip"], newest["port"]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _ask(
        self, names: Iterable[str], service_name: str, problems: list[str]
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for name in names:
            try:
                masters: Any = self._clients[name].sentinel_masters()
            # The last ones: redis-py takes the reply apart without a look at its form.
            except (redis.RedisError, OSError, TypeError, ValueError, LookupError) as error:
                self._paused_until[name] = time.monotonic() + SENTINEL_PAUSE
                problems.append(f"{name} can't be asked ({error})")
                continue
            self._paused_until.pop(name, None)
            state = masters.get(service_name)
            if state is None:
                problems.append(f"{name} doesn't know it")
            elif not state["is_master"] or state["is_sdown"] or state["is_odown"]:
                problems.append(f"{name} says that it is down")
            else:
                answers.append(state)
        return answers
