# SPDX-License-Identifier: Apache-2.0
"""The names of Superset's settings and their defaults. Pure.

Up to 6.1 Superset writes events to streams; from 7 on it publishes messages. Some settings mean the
same in both, but each generation has its own names for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLAG = "GLOBAL_ASYNC_QUERIES"
FLAG_VARIABLE = "SUPERSET_FEATURE_GLOBAL_ASYNC_QUERIES"
SECRET_MIN_CHARACTERS = 32  # shorter ones Superset refuses
ALGORITHM = "HS256"  # Superset signs with nothing else
CHANNEL_KEY = "channel"  # and calls the claim so

# Of Superset 7's messages.
BROADCAST = "authenticated_global"  # the scope of what every socket gets; any other one has routes
TASK_STATUS = "task.status"  # topics
ENTITY_CHANGED = "entity.changed"
AUDIENCE = "superset-websocket"  # of Superset 7's tokens
ISSUER = "superset"
USER, GUEST = "user", "guest"  # its types of principals, and how the names of channels begin


@dataclass(frozen=True, slots=True)
class Generation:
    """Names that differ between the versions of Superset.

    :ivar version: for a sentence.
    """

    version: str
    secret: str
    cookie_name: str
    cookie_secure: str
    cookie_samesite: str
    cookie_domain: str
    url: str


SIX = Generation(
    version="Superset up to 6.1",
    secret="GLOBAL_ASYNC_QUERIES_JWT_SECRET",
    cookie_name="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME",
    cookie_secure="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SECURE",
    cookie_samesite="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SAMESITE",
    cookie_domain="GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN",
    url="GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL",
)
SEVEN = Generation(
    version="Superset 7",
    secret="WEBSOCKET_JWT_SECRET",
    cookie_name="WEBSOCKET_JWT_COOKIE_NAME",
    cookie_secure="WEBSOCKET_JWT_COOKIE_SECURE",
    cookie_samesite="WEBSOCKET_JWT_COOKIE_SAMESITE",
    cookie_domain="WEBSOCKET_JWT_COOKIE_DOMAIN",
    url="WEBSOCKET_URL",
)


def is_placeholder(secret: str, generation: Generation) -> bool:
    """Whether everybody knows a secret, and Superset therefore does not start with it."""
    return generation is SEVEN and secret.upper().startswith(("CHANGE_ME", "CHANGE-ME"))


def must_be_changed(secret: str, generation: Generation) -> bool:
    """Whether Superset refuses to work with a secret, so that nobody may copy it."""
    return is_placeholder(secret, generation) or len(secret) < SECRET_MIN_CHARACTERS


# What only one of them has.
REDIS_CONFIG = "GLOBAL_ASYNC_QUERIES_REDIS_CONFIG"
CACHE_BACKEND = "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"
PREFIX = "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX"
TRANSPORT = "GLOBAL_ASYNC_QUERIES_TRANSPORT"
ENABLE = "WEBSOCKET_ENABLE"
LIFETIME = "WEBSOCKET_JWT_EXPIRATION_SECONDS"
CHANNEL_PREFIX = "REALTIME_CHANNEL_PREFIX"
COORDINATION = "DISTRIBUTED_COORDINATION_CONFIG"  # 6.1 has it too, for other purposes

# What tells which of them a file is for. Superset 7 reads other GLOBAL_ASYNC_QUERIES_… still.
OF_SIX = tuple(
    "GLOBAL_ASYNC_QUERIES_" + rest
    for rest in ("TRANSPORT", "WEBSOCKET_URL", "JWT_", "REDIS_", "CACHE_BACKEND")
)
OF_SEVEN = ("WEBSOCKET_", CHANNEL_PREFIX)

# Where its clients look for Redis when a setting lacks the key.
REDIS_HOST = "localhost"
REDIS_PORT = 6379
SENTINELS = (("127.0.0.1", 26379),)

DEFAULTS: Mapping[str, Any] = {
    REDIS_CONFIG: {"port": REDIS_PORT, "host": "127.0.0.1", "password": "", "db": 0, "ssl": False},
    CACHE_BACKEND: {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_HOST": REDIS_HOST,
        "CACHE_REDIS_PORT": REDIS_PORT,
        "CACHE_REDIS_DB": 0,
    },
    PREFIX: "async-events-",
    SIX.secret: "test-secret-change-me",
    SIX.cookie_name: "async-token",
    SIX.cookie_secure: False,
    SIX.cookie_samesite: None,
    SIX.cookie_domain: None,
    TRANSPORT: "polling",
    SIX.url: "ws://127.0.0.1:8080/",
    "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT": 1000,
    "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT_FIREHOSE": 1_000_000,
    ENABLE: False,
    SEVEN.secret: "CHANGE_ME",  # begins so; Superset does not start with it
    SEVEN.cookie_name: "superset-ws-token",
    SEVEN.cookie_secure: False,
    SEVEN.cookie_samesite: None,
    SEVEN.cookie_domain: None,
    SEVEN.url: "ws://127.0.0.1:8080/",
    LIFETIME: 900,
    CHANNEL_PREFIX: "",
    COORDINATION: None,
    "FEATURE_FLAGS": {},
    "SESSION_COOKIE_NAME": "session",
    "SESSION_COOKIE_SECURE": False,
    "TALISMAN_ENABLED": True,
    "PREFERRED_URL_SCHEME": "http",
}
