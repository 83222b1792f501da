# SPDX-License-Identifier: Apache-2.0
"""What can be configured: every key, declared once, with its type, default, variable and bounds.

A value has two forms: as it stands in the file (a number, a text, a list), and what it means.
`Settings` has the second one. Everything in the service gets a `Settings` passed in and never looks
at a file or at `os.environ`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

from wsgi_ws.config import meanings
from wsgi_ws.config.meanings import Address, Network

TRANSPORTS = ("auto", "streams", "realtime", "both")
REDIS_DOWN_POLICIES = ("hold", "refuse")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("error", "warn", "info", "verbose", "debug", "silly")
SYMMETRIC_ALGORITHMS = ("HS256", "HS384", "HS512")  # the secret signs and verifies
JWT_ALGORITHMS = (
    *SYMMETRIC_ALGORITHMS,
    *("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"),
)
# The keys that say together where Redis is.
ADDRESS_KEYS = ("redis.host", "redis.port", "redis.unixSocketPath", "redis.sentinels")

_T = TypeVar("_T")


def option(
    default: Any,
    *,
    env: str | None = None,
    minimum: int = 0,
    maximum: int | None = None,
    secret: bool = False,
    choices: tuple[str, ...] = (),
    alias: str | None = None,
    parse_env: Callable[[str], Any] | None = None,
    meaning: Callable[[Any], Any] | None = None,
    unit: str = "",
    shared: bool = False,
) -> Any:
    """Declare one key of the configuration.

    :param default: as it would stand in the file.
    :param env: environment variable that overrides the file.
    :param minimum: smallest number allowed; `maximum` likewise.
    :param alias: an older name of the key, accepted in the file.
    :param parse_env: how the environment's text becomes a value when the type alone can't tell.
    :param meaning: from the form in the file to what `Settings` has; raises `BadValue`.
    :param shared: whether other programs have a variable of this name and other words for it: one
        that is none of `choices` is then ignored, and else stops the start.
    :param unit: the end of the key's name that the field's name lacks, since that has another unit.
    """
    metadata = {
        "default": default,
        "env": env,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
        "choices": choices,
        "alias": alias,
        "parse_env": parse_env,
        "meaning": meaning or _as_written,
        "unit": unit,
        "shared": shared,
    }
    if isinstance(default, list | dict):
        raise TypeError("defaults are immutable: use a tuple")
    means = metadata["meaning"](default)
    return field(default=means, metadata=metadata, repr=not secret)


def _as_written(value: Any) -> Any:
    return value


def _comma_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _list(default: tuple[str, ...], env: str, meaning: Callable[[Any], Any] | None = None) -> Any:
    return option(default, env=env, parse_env=_comma_list, meaning=meaning)


def _duration(default: int, env: str, *, minimum: int = 1, maximum: int | None = None) -> Any:
    """Milliseconds in the file, seconds here."""
    return option(
        default, env=env, minimum=minimum, maximum=maximum, meaning=meanings.seconds, unit="Ms"
    )


USUAL_USER = "default"  # Redis's own, for who doesn't log in


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the streams are. A text counts as absent when it is empty.

    `sentinels` win over `unix_socket_path`, which wins over `host` and `port`. `load` spells `url`
    out into the other keys and leaves it empty.
    """

    url: str = option("", env="REDIS_URL", secret=True)
    host: str = option(meanings.REDIS_HOST, env="REDIS_HOST", meaning=meanings.host)
    port: int = option(meanings.REDIS_PORT, env="REDIS_PORT", minimum=1, maximum=65535)
    username: str = option(USUAL_USER, env="REDIS_USERNAME")
    password: str = option("", env="REDIS_PASSWORD", secret=True)
    db: int = option(0, env="REDIS_DB")
    ssl: bool = option(False, env="REDIS_SSL")
    validate_hostname: bool = option(True, env="REDIS_VALIDATE_HOSTNAME")
    ssl_ca_certs: str = option("", env="REDIS_SSL_CA_CERTS")
    ssl_certfile: str = option("", env="REDIS_SSL_CERTFILE")
    ssl_keyfile: str = option("", env="REDIS_SSL_KEYFILE")
    # Without a variable: Superset's chart sets REDIS_SSL_CERT_REQS, usually to CERT_NONE, which
    # must not switch anything off here by accident.
    ssl_cert_reqs: str = option("required", choices=meanings.CERTIFICATE_REQUIREMENTS)
    unix_socket_path: str = option("", env="REDIS_UNIX_SOCKET_PATH")
    sentinels: tuple[Address, ...] = _list((), "REDIS_SENTINELS", meanings.sentinels)
    sentinel_master: str = option("", env="REDIS_SENTINEL_MASTER")
    sentinel_username: str = option(USUAL_USER, env="REDIS_SENTINEL_USERNAME")
    sentinel_password: str = option("", env="REDIS_SENTINEL_PASSWORD", secret=True)
    sentinel_ssl: bool = option(False, env="REDIS_SENTINEL_SSL")

    @property
    def user(self) -> str:
        """As whom Redis knows the service: without a password nobody logs in, as in the seed."""
        return (self.password and self.username) or USUAL_USER


@dataclass(frozen=True, slots=True)
class StatsdSettings:
    """The StatsD client, with the option names of the seed's client library."""

    host: str = option("127.0.0.1", env="STATSD_HOST", meaning=meanings.host)
    port: int = option(8125, env="STATSD_PORT", minimum=1, maximum=65535)
    global_tags: tuple[str, ...] = _list((), "STATSD_GLOBAL_TAGS")
    prefix: str = option("")
    suffix: str = option("")
    telegraf: bool = option(False)
    tag_prefix: str = option("#")
    tag_separator: str = option(",")
    mock: bool = option(False)
    max_buffer_size: int = option(0, maximum=65507)  # the largest UDP payload over IPv4


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the service can be told. Durations are in seconds, but for what Redis takes in
    milliseconds; sizes are in bytes."""

    port: int = option(8080, env="PORT", minimum=1, maximum=65535)
    log_level: str = option("info", env="LOG_LEVEL", choices=LOG_LEVELS, shared=True)
    log_to_file: bool = option(False, env="LOG_TO_FILE")
    log_filename: str = option("app.log", env="LOG_FILENAME")
    log_format: str = option("text", env="LOG_FORMAT", choices=LOG_FORMATS, shared=True)
    access_log: bool = option(True, env="ACCESS_LOG")
    superset_config: str = option("", env="WSGI_WS_SUPERSET_CONFIG")
    transports: str = option("auto", env="TRANSPORTS", choices=TRANSPORTS)
    redis: RedisSettings = field(default_factory=RedisSettings)
    redis_stream_prefix: str = option(
        "async-events-", env="REDIS_STREAM_PREFIX", alias="streamPrefix"
    )
    redis_stream_read_count: int = option(100, env="REDIS_STREAM_READ_COUNT", minimum=1)
    redis_stream_read_block_ms: int = option(5000, env="REDIS_STREAM_READ_BLOCK_MS", minimum=1)
    realtime_channel_prefix: str = option("", env="REALTIME_CHANNEL_PREFIX")
    jwt_algorithms: tuple[str, ...] = _list(("HS256",), "JWT_ALGORITHMS")
    jwt_secret: str = option("", env="JWT_SECRET", secret=True)
    previous_jwt_secret: str = option("", env="PREVIOUS_JWT_SECRET", secret=True)
    jwt_cookie_name: str = option("async-token", env="JWT_COOKIE_NAME")
    jwt_channel_id_key: str = option("channel", env="JWT_CHANNEL_ID_KEY")
    jwt_leeway: float = _duration(0, "JWT_LEEWAY_MS", minimum=0, maximum=600000)
    jwt_grace: float = _duration(0, "JWT_GRACE_MS", minimum=0, maximum=600000)
    socket_response_timeout: float = _duration(60000, "SOCKET_RESPONSE_TIMEOUT_MS")
    ping_sockets_interval: float = _duration(20000, "PING_SOCKETS_INTERVAL_MS")
    gc_channels_interval: float = _duration(120000, "GC_CHANNELS_INTERVAL_MS")
    allowed_origins: tuple[str, ...] = _list((), "ALLOWED_ORIGINS", meanings.origins)
    trusted_proxies: tuple[Network, ...] = _list((), "TRUSTED_PROXIES", meanings.networks)
    max_total_connections: int = option(0, env="MAX_TOTAL_CONNECTIONS")
    max_connections_per_channel: int = option(0, env="MAX_CONNECTIONS_PER_CHANNEL")
    max_socket_buffer_bytes: int = option(1048576, env="MAX_SOCKET_BUFFER_BYTES")
    redis_down_policy: str = option("hold", env="REDIS_DOWN_POLICY", choices=REDIS_DOWN_POLICIES)
    max_message_bytes: int = option(4096, env="MAX_MESSAGE_BYTES", minimum=125)
    max_frames_per_second: int = option(50, env="MAX_FRAMES_PER_SECOND")
    max_bytes_per_second: int = option(65536, env="MAX_BYTES_PER_SECOND")
    history_bytes: int = option(33554432, env="HISTORY_BYTES")
    first_catch_up: float = _duration(60000, "FIRST_CATCH_UP_MS", minimum=0)
    realtime_memory: float = _duration(30000, "REALTIME_MEMORY_MS", minimum=0, maximum=600000)
    realtime_memory_bytes: int = option(4194304, env="REALTIME_MEMORY_BYTES")
    realtime_merge: float = _duration(100, "REALTIME_MERGE_MS", minimum=0, maximum=1000)
    realtime_outage: float = _duration(45000, "REALTIME_OUTAGE_MS", minimum=0)
    handshake_timeout: float = _duration(10000, "HANDSHAKE_TIMEOUT_MS")
    # Up to what http.client reads, which parses plain requests again.
    max_header_bytes: int = option(32768, env="MAX_HEADER_BYTES", minimum=8192, maximum=65536)
    drain: float = _duration(2000, "DRAIN_MS", minimum=0, maximum=600000)
    close_timeout: float = _duration(5000, "CLOSE_TIMEOUT_MS")
    metrics_port: int = option(0, env="METRICS_PORT", maximum=65535)
    metrics_host: str = option("127.0.0.1", env="METRICS_HOST", meaning=meanings.host)
    statsd: StatsdSettings = field(default_factory=StatsdSettings)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, as `option` has declared it.

    :ivar path: dotted, as in the file: `redis.host`.
    :ivar default: as it would stand in the file.
    """

    path: str
    default: Any
    env: str | None
    minimum: int
    maximum: int | None
    secret: bool
    choices: tuple[str, ...]
    alias: str | None
    parse_env: Callable[[str], Any] | None
    meaning: Callable[[Any], Any]
    shared: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def keys(cls: type = Settings, prefix: str = "") -> Iterator[Key]:
    """Every key, in the order of declaration."""
    for f in fields(cls):
        path = prefix + _name_in_file(f)
        block = _block_of(f)
        if block:
            yield from keys(block, path + ".")
        else:
            yield Key(path, **{name: v for name, v in f.metadata.items() if name != "unit"})


def key_of(path: str) -> Key:
    """The key with this dotted path."""
    return next(key for key in keys() if key.path == path)


def blocks() -> Iterator[str]:
    """The keys of the file that hold other keys."""
    return (_name_in_file(f) for f in fields(Settings) if _block_of(f))


def build(values: Mapping[str, Any]) -> Settings:
    """
    :param values: by dotted key, as in the file; the others are at their default.
    :raises BadValue: when one has no meaning.
    """
    return _build(Settings, values, "")


def json_key(name: str) -> str:
    """The camelCase key of the file for a field's snake_case name."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def redis_key(name: str) -> str:
    return "redis." + json_key(name)


def _name_in_file(f: Field[Any]) -> str:
    return json_key(f.name) + str(f.metadata.get("unit", ""))


def _build(cls: type[_T], values: Mapping[str, Any], prefix: str) -> _T:
    arguments: dict[str, Any] = {}
    for f in fields(cast(Any, cls)):
        path = prefix + _name_in_file(f)
        block = _block_of(f)
        if block:
            arguments[f.name] = _build(block, values, path + ".")
        elif path in values:
            arguments[f.name] = f.metadata["meaning"](values[path])
    return cls(**arguments)


def _block_of(f: Field[Any]) -> type | None:
    """The dataclass of a nested block, or None for a plain key."""
    factory = f.default_factory
    return factory if factory is not MISSING and is_dataclass(factory) else None
