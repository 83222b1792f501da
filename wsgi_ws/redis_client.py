# SPDX-License-Identifier: Apache-2.0
"""Connections to Redis as configured, for reading streams.

The only place that knows redis-py's options.
"""

from __future__ import annotations

from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wsgi_ws.config import RedisSettings

CONNECT_TIMEOUT = 5.0  # seconds

_PROTOCOL: dict[str, Any] = (
    # redis-py 8 speaks RESP3 unless told otherwise, which Redis 5 doesn't know; redis-py 4 has no
    # such option and speaks RESP2 only.
    {} if int(redis.__version__.split(".")[0]) < 5 else {"protocol": 2}
)


class StreamClient(Protocol):
    """The little of a redis-py client that reading streams needs."""

    def execute_command(self, *args: Any) -> Any:
        """Send a command, wait for its reply."""

    def pipeline(self, transaction: bool) -> Any:
        """Collect commands and send them at once."""


def connect(settings: RedisSettings, *, read_timeout: float) -> redis.Redis:
    """A client for one greenlet; it connects at its first command.

    Replies to stream commands come as Redis sent them (lists and bytes): redis-py's own decoding
    would build a dict per entry. Nothing is retried here, so that callers see every outage.

    :param read_timeout: seconds to wait for a reply; a blocking read needs more than it blocks for.
    """
    options: dict[str, Any] = dict(_PROTOCOL)
    if settings.password:
        options |= {"username": settings.username or None, "password": settings.password}
    if settings.ssl:
        options |= {"ssl": True, "ssl_check_hostname": settings.validate_hostname}
        if not settings.validate_hostname:
            options["ssl_cert_reqs"] = "none"
    client: redis.Redis = redis.Redis(
        host=settings.host,
        port=settings.port,
        db=settings.db,
        socket_timeout=read_timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    for command in ("XREAD", "XRANGE", "XREVRANGE"):
        client.set_response_callback(command, _as_sent)
    return client


def describe(settings: RedisSettings) -> str:
    """The server's address for logs, without credentials."""
    scheme = "rediss" if settings.ssl else "redis"
    return f"{scheme}://{settings.host}:{settings.port}/{settings.db}"


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply
