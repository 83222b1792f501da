# SPDX-License-Identifier: Apache-2.0
"""Every key: its name, default and variable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from testbed.configuration import SECRET, load_with
from wsgi_ws.config.keys import Key, Settings, keys

KEYS = {key.path: key for key in keys()}


def value_at(settings: Settings, path: str) -> Any:
    """A key's value; a duration that `settings` have in seconds is given in milliseconds."""
    value: Any = settings
    for key in path.split("."):
        name = re.sub("([A-Z])", lambda m: "_" + m[1].lower(), key)
        if hasattr(value, name):
            value = getattr(value, name)
        else:
            value = round(getattr(value, name.removesuffix("_ms")) * 1000)
    return value


def document_with(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


# The Node server's, except the bound of what a client may leave unread, which has none there.
SEED: list[tuple[str, Any, str | None, str, Any]] = [
    ("port", 8080, "PORT", "80", 80),
    ("logLevel", "info", "LOG_LEVEL", "debug", "debug"),
    ("logToFile", False, "LOG_TO_FILE", "true", True),
    ("logFilename", "app.log", "LOG_FILENAME", "x.log", "x.log"),
    ("redisStreamPrefix", "async-events-", "REDIS_STREAM_PREFIX", "x-", "x-"),
    ("redisStreamReadCount", 100, "REDIS_STREAM_READ_COUNT", "7", 7),
    ("redisStreamReadBlockMs", 5000, "REDIS_STREAM_READ_BLOCK_MS", "7", 7),
    ("jwtAlgorithms", ("HS256",), "JWT_ALGORITHMS", "HS384, HS512", ("HS384", "HS512")),
    ("jwtSecret", "", "JWT_SECRET", "x" * 32, "x" * 32),
    ("jwtCookieName", "async-token", "JWT_COOKIE_NAME", "x", "x"),
    ("jwtChannelIdKey", "channel", "JWT_CHANNEL_ID_KEY", "x", "x"),
    ("socketResponseTimeoutMs", 60000, "SOCKET_RESPONSE_TIMEOUT_MS", "7", 7),
    ("pingSocketsIntervalMs", 20000, "PING_SOCKETS_INTERVAL_MS", "7", 7),
    ("gcChannelsIntervalMs", 120000, "GC_CHANNELS_INTERVAL_MS", "7", 7),
    ("allowedOrigins", (), "ALLOWED_ORIGINS", "http://a,http://b", ("http://a", "http://b")),
    ("maxTotalConnections", 0, "MAX_TOTAL_CONNECTIONS", "7", 7),
    ("maxConnectionsPerChannel", 0, "MAX_CONNECTIONS_PER_CHANNEL", "7", 7),
    ("maxSocketBufferBytes", 1048576, "MAX_SOCKET_BUFFER_BYTES", "0", 0),
    ("statsd.host", "127.0.0.1", "STATSD_HOST", "x", "x"),
    ("statsd.port", 8125, "STATSD_PORT", "7", 7),
    ("statsd.globalTags", (), "STATSD_GLOBAL_TAGS", "a, b:c,", ("a", "b:c")),
    ("redis.host", "127.0.0.1", "REDIS_HOST", "x", "x"),
    ("redis.port", 6379, "REDIS_PORT", "7", 7),
    ("redis.username", "default", "REDIS_USERNAME", "x", "x"),
    ("redis.password", "", "REDIS_PASSWORD", "x", "x"),
    ("redis.db", 0, "REDIS_DB", "7", 7),
    ("redis.ssl", False, "REDIS_SSL", "TRUE", True),
    ("redis.validateHostname", True, "REDIS_VALIDATE_HOSTNAME", "false", False),
]


@pytest.mark.parametrize(("path", "default"), [row[:2] for row in SEED], ids=str)
def test_a_key_of_the_seed_has_its_default(path: str, default: object) -> None:
    assert KEYS[path].default == default


@pytest.mark.parametrize(
    ("path", "variable", "text", "value"),
    [(path, *rest) for path, _, *rest in SEED],
    ids=[row[0] for row in SEED],
)
def test_a_key_of_the_seed_is_set_by_its_variable(
    path: str, variable: str, text: str, value: object, tmp_path: Path
) -> None:
    loaded = load_with(tmp_path, environ={variable: text})
    assert value_at(loaded.settings, path) == value


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_default_may_be_written_into_the_file(key: Key, tmp_path: Path) -> None:
    value = list(key.default) if isinstance(key.default, tuple) else key.default
    loaded = load_with(tmp_path, document_with(key.path, value))
    assert (loaded.settings, loaded.warnings) == (Settings(jwt_secret=SECRET), ())


def test_every_variable_belongs_to_one_key() -> None:
    variables = [key.env for key in KEYS.values() if key.env]
    assert len(variables) == len(set(variables))


def test_the_secret_keys_are_these() -> None:
    assert {key.path for key in KEYS.values() if key.secret} == {
        *("jwtSecret", "previousJwtSecret"),
        *("redis.url", "redis.password", "redis.sentinelPassword"),
    }
