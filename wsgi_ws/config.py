# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults < Superset's settings, if asked for < configuration file < environment.

Validated once, frozen and typed.

Every key is declared once, in the dataclasses below: its type, default, environment variable and
bounds. Everything else in the service gets a `Settings` passed in and never looks at a file or at
`os.environ`. No value of a secret key ever appears in a message of this module.
"""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import json
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from wsgi_ws.redis_address import BadAddress, parse_url, split_address
from wsgi_ws.superset_settings import Said, SupersetError, Unknown, own_values, read, target_of

CONFIG_PATH_VARIABLE = "WSGI_WS_CONFIG"
DEFAULT_CONFIG_PATH = "config.json"
SECRET_MIN_BYTES = 32  # the seed's rule: a shorter HMAC secret can be guessed offline
REDIS_DOWN_POLICIES = ("hold", "refuse")
UNIX_PATH_MAX_BYTES = 107  # what the kernel takes as a socket's address
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("error", "warn", "info", "verbose", "debug", "silly")

# Options of the StatsD object that the Node server hands to its client library and that have no
# meaning here: they are named in one warning instead of being called unknown.
STATSD_FOREIGN_OPTIONS = frozenset(
    "bufferFlushInterval bufferHolder cacheDns cacheDnsTtl childOptions closingFlushInterval "
    "datadog errorHandler includeDataDogTags includeDatadogTags isChild isGlobal path protocol "
    "sampleRate socket stream tcpGracefulErrorHandling tcpGracefulRestartRateLimit "
    "udpSocketOptions udsGracefulErrorHandling udsGracefulRestartRateLimit udsRetryOptions "
    "useDefaultRoute".split()
)


class ConfigError(Exception):
    """A value that stops the start. Its text names the key, where it came from and the remedy."""


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
) -> Any:
    """Declare one key of the configuration.

    :param env: environment variable that overrides the file.
    :param minimum: smallest number allowed; `maximum` likewise.
    :param alias: an older name of the key, accepted in the file.
    :param parse_env: how the environment's text becomes a value when the type alone can't tell.
    """
    metadata = {
        "env": env,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
        "choices": choices,
        "alias": alias,
        "parse_env": parse_env,
    }
    if isinstance(default, list | dict):
        raise TypeError("defaults are immutable: use a tuple")
    return field(default=default, metadata=metadata, repr=not secret)


def _comma_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _list(default: tuple[str, ...], env: str) -> Any:
    return option(default, env=env, parse_env=_comma_list)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the streams are. A text counts as absent when it is empty.

    `sentinels` win over `unix_socket_path`, which wins over `host` and `port`. `load` spells `url`
    out into the other keys and leaves it empty.
    """

    url: str = option("", env="REDIS_URL", secret=True)
    host: str = option("127.0.0.1", env="REDIS_HOST")
    port: int = option(6379, env="REDIS_PORT", minimum=1, maximum=65535)
    username: str = option("default", env="REDIS_USERNAME")
    password: str = option("", env="REDIS_PASSWORD", secret=True)
    db: int = option(0, env="REDIS_DB")
    ssl: bool = option(False, env="REDIS_SSL")
    validate_hostname: bool = option(True, env="REDIS_VALIDATE_HOSTNAME")
    ssl_ca_certs: str = option("", env="REDIS_SSL_CA_CERTS")
    ssl_certfile: str = option("", env="REDIS_SSL_CERTFILE")
    ssl_keyfile: str = option("", env="REDIS_SSL_KEYFILE")
    # Without a variable: Superset's chart sets REDIS_SSL_CERT_REQS, usually to CERT_NONE, which
    # must not switch anything off here by accident.
    ssl_cert_reqs: str = option("required", choices=("required", "none"))
    unix_socket_path: str = option("", env="REDIS_UNIX_SOCKET_PATH")
    sentinels: tuple[str, ...] = _list((), "REDIS_SENTINELS")
    sentinel_master: str = option("", env="REDIS_SENTINEL_MASTER")
    sentinel_username: str = option("default", env="REDIS_SENTINEL_USERNAME")
    sentinel_password: str = option("", env="REDIS_SENTINEL_PASSWORD", secret=True)
    sentinel_ssl: bool = option(False, env="REDIS_SENTINEL_SSL")

    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel."""
        return [split_address(text) for text in self.sentinels]


@dataclass(frozen=True, slots=True)
class StatsdSettings:
    """The StatsD client, with the option names of the seed's client library."""

    host: str = option("127.0.0.1", env="STATSD_HOST")
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
    """Everything the service can be told. Durations are in milliseconds, sizes in bytes."""

    port: int = option(8080, env="PORT", minimum=1, maximum=65535)
    log_level: str = option("info", env="LOG_LEVEL", choices=LOG_LEVELS)
    log_to_file: bool = option(False, env="LOG_TO_FILE")
    log_filename: str = option("app.log", env="LOG_FILENAME")
    log_format: str = option("text", env="LOG_FORMAT", choices=LOG_FORMATS)
    access_log: bool = option(True, env="ACCESS_LOG")
    superset_config: str = option("", env="WSGI_WS_SUPERSET_CONFIG")
    redis: RedisSettings = field(default_factory=RedisSettings)
    redis_stream_prefix: str = option(
        "async-events-", env="REDIS_STREAM_PREFIX", alias="streamPrefix"
    )
    redis_stream_read_count: int = option(100, env="REDIS_STREAM_READ_COUNT", minimum=1)
    redis_stream_read_block_ms: int = option(5000, env="REDIS_STREAM_READ_BLOCK_MS", minimum=1)
    jwt_algorithms: tuple[str, ...] = _list(("HS256",), "JWT_ALGORITHMS")
    jwt_secret: str = option("", env="JWT_SECRET", secret=True)
    jwt_cookie_name: str = option("async-token", env="JWT_COOKIE_NAME")
    jwt_channel_id_key: str = option("channel", env="JWT_CHANNEL_ID_KEY")
    socket_response_timeout_ms: int = option(60000, env="SOCKET_RESPONSE_TIMEOUT_MS", minimum=1)
    ping_sockets_interval_ms: int = option(20000, env="PING_SOCKETS_INTERVAL_MS", minimum=1)
    gc_channels_interval_ms: int = option(120000, env="GC_CHANNELS_INTERVAL_MS", minimum=1)
    allowed_origins: tuple[str, ...] = _list((), "ALLOWED_ORIGINS")
    trusted_proxies: tuple[str, ...] = _list((), "TRUSTED_PROXIES")
    max_total_connections: int = option(0, env="MAX_TOTAL_CONNECTIONS")
    max_connections_per_channel: int = option(0, env="MAX_CONNECTIONS_PER_CHANNEL")
    max_socket_buffer_bytes: int = option(1048576, env="MAX_SOCKET_BUFFER_BYTES")
    redis_down_policy: str = option("hold", env="REDIS_DOWN_POLICY", choices=REDIS_DOWN_POLICIES)
    max_message_bytes: int = option(4096, env="MAX_MESSAGE_BYTES", minimum=125)
    max_frames_per_second: int = option(50, env="MAX_FRAMES_PER_SECOND")
    max_bytes_per_second: int = option(65536, env="MAX_BYTES_PER_SECOND")
    history_bytes: int = option(33554432, env="HISTORY_BYTES")
    handshake_timeout_ms: int = option(10000, env="HANDSHAKE_TIMEOUT_MS", minimum=1)
    drain_ms: int = option(2000, env="DRAIN_MS", maximum=600000)
    close_timeout_ms: int = option(5000, env="CLOSE_TIMEOUT_MS", minimum=1)
    metrics_port: int = option(0, env="METRICS_PORT", maximum=65535)
    metrics_host: str = option("127.0.0.1", env="METRICS_HOST")
    statsd: StatsdSettings = field(default_factory=StatsdSettings)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of `load`.

    :ivar sources: dotted key → where its value came from, for keys not at their default.
    :ivar warnings: lines for the operator, to be logged by whoever starts the service.
    """

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...]


def load(environ: Mapping[str, str], directory: Path | None = None) -> Loaded:
    """Read the configuration file, lay the environment over it, validate.

    :param environ: the environment variables (an empty or blank one counts as not set).
    :param directory: where the file's path starts from; the working directory by default.
    :raises ConfigError: when the service must not start like this.
    """
    named = environ.get(CONFIG_PATH_VARIABLE, "").strip()
    path = (directory or Path()) / (named or DEFAULT_CONFIG_PATH)
    warnings: list[str] = []
    sources: dict[str, str] = {}
    document = _read_file(path, required=bool(named))
    values = _from_file(Settings, document, path, "", sources, warnings)
    redis = values.setdefault("redis", {})
    below = _spell_out_url(redis, sources, warnings)
    _overlay_environment(Settings, values, environ, "", sources, warnings)
    if not _spell_out_url(redis, sources, warnings):
        _warn_of_overruled_parts(below, redis, sources, warnings)
    _fill_from_superset(values, environ, sources, warnings)
    settings = _build(Settings, values)
    _check_whole(settings, sources, warnings)
    return Loaded(settings, sources, tuple(warnings))


def json_key(name: str) -> str:
    """The camelCase key of the file for a field's snake_case name."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, for documentation and reports."""

    path: str
    env: str | None
    default: Any
    secret: bool


def keys(cls: type = Settings, prefix: str = "") -> Iterator[Key]:
    """Every key, with its dotted path, in the order of declaration."""
    for f in fields(cls):
        path = prefix + json_key(f.name)
        block = _block_of(f)
        if block:
            yield from keys(block, path + ".")
        else:
            yield Key(path, f.metadata["env"], f.default, f.metadata["secret"])


# --- reading the file ---------------------------------------------------------------------------


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(
                f"configuration file {path} does not exist: create it from config.example.json "
                f"or correct {CONFIG_PATH_VARIABLE}"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} can't be read: {error}") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"configuration file {path}, line {error.lineno}, column {error.colno}: "
            f"not valid JSON ({error.msg}); compare with config.example.json"
        ) from None
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all measure
        raise ConfigError(f"configuration file {path} can't be read: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"configuration file {path}: the top level must be an object {{…}}")
    return document


def _from_file(
    cls: type,
    document: Mapping[str, Any],
    path: Path,
    prefix: str,
    sources: dict[str, str],
    warnings: list[str],
) -> dict[str, Any]:
    known: dict[str, tuple[Field[Any], str]] = {}
    for f in fields(cls):
        known[json_key(f.name)] = (f, prefix + json_key(f.name))
        if f.metadata.get("alias"):
            known[f.metadata["alias"]] = (f, prefix + json_key(f.name))
    values: dict[str, Any] = {}
    for key, raw in document.items():
        if key not in known:
            continue
        f, dotted = known[key]
        if key == f.metadata.get("alias") and json_key(f.name) in document:
            warnings.append(
                f"{path}: {key} is the old name of {dotted}, which is also set and wins"
            )
            continue
        block = _block_of(f)
        if block:
            if not isinstance(raw, dict):
                raise ConfigError(f"{path}: {dotted} must be an object {{…}}")
            values[f.name] = _from_file(block, raw, path, dotted + ".", sources, warnings)
        else:
            values[f.name] = _typed(f, raw, dotted, str(path))
            sources[dotted] = str(path)
    _warn_unknown(cls, [k for k in document if k not in known], known, path, prefix, warnings)
    return values


def _warn_unknown(
    cls: type,
    unknown: list[str],
    known: Mapping[str, object],
    path: Path,
    prefix: str,
    warnings: list[str],
) -> None:
    if cls is StatsdSettings:
        foreign = sorted(k for k in unknown if k in STATSD_FOREIGN_OPTIONS)
        if foreign:
            warnings.append(f"{path}: options of statsd without effect here: {', '.join(foreign)}")
        unknown = [k for k in unknown if k not in STATSD_FOREIGN_OPTIONS]
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {prefix}{near[0]}?" if near else ""
        warnings.append(f"{path}: unknown key {prefix}{key} is ignored{hint}")


def _typed(f: Field[Any], raw: Any, dotted: str, source: str) -> Any:
    """A value of the file as the field's type, or ConfigError."""
    kind: type = type(f.default)
    secret = f.metadata["secret"]
    where = f"{dotted} (from {source})"
    if kind is tuple:
        return _typed_list(raw, where, allow_object=f.name == "global_tags")
    if kind is bool:
        if not isinstance(raw, bool):
            raise ConfigError(f"{where} must be true or false, not {_shown(raw, secret)}")
        return raw
    if kind is int:
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        if isinstance(raw, str) and re.fullmatch(r"\s*-?\d+\s*", raw):
            raise ConfigError(f"{where} must be a number: write {raw.strip()} without quotes")
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ConfigError(
                f"{where} must be a whole number, not {_shown(raw, secret)}"
                f"{_kubernetes_hint(raw, dotted)}"
            )
        problem = _out_of_bounds(f, raw)
        if problem:
            raise ConfigError(f"{where} is {raw}: {problem}")
        return raw
    if not isinstance(raw, str):
        raise ConfigError(f"{where} must be a text in quotes, not {_shown(raw, secret)}")
    problem = _bad_choice(f, raw)
    if problem:
        raise ConfigError(f"{where} is {_shown(raw, secret)}: {problem}")
    return raw


def _typed_list(raw: Any, where: str, *, allow_object: bool) -> tuple[str, ...]:
    if allow_object and isinstance(raw, dict):
        return tuple(f"{_tag_text(k)}:{_tag_text(v)}" for k, v in raw.items())
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return tuple(raw)
    form = "a list of texts" + (" or an object" if allow_object else "")
    raise ConfigError(f"{where} must be {form}, not {_shown(raw)}")


def _tag_text(value: Any) -> str:
    # The seed's client library replaces the separators of the wire format in tags from an object.
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[:|@,]", "_", text)


# --- the environment ----------------------------------------------------------------------------


def _overlay_environment(
    cls: type,
    values: dict[str, Any],
    environ: Mapping[str, str],
    prefix: str,
    sources: dict[str, str],
    warnings: list[str],
) -> None:
    for f in fields(cls):
        dotted = prefix + json_key(f.name)
        block = _block_of(f)
        if block:
            inner = values.setdefault(f.name, {})
            _overlay_environment(block, inner, environ, dotted + ".", sources, warnings)
            continue
        name = f.metadata["env"]
        text = environ.get(name, "") if name else ""
        if not text.strip():
            continue
        if not f.metadata["secret"]:  # Superset's HMAC takes the secret to the byte
            text = text.strip()
        try:
            values[f.name] = _from_text(f, text)
            sources[dotted] = f"environment variable {name}"
        except ValueError as error:
            below = sources.get(dotted, "the default")
            warnings.append(
                f"environment variable {name}={_shown(text, f.metadata['secret'])} is ignored "
                f"({error}); {dotted} stays at the value of {below}{_kubernetes_hint(text, name)}"
            )


def _from_text(f: Field[Any], text: str) -> Any:
    if f.metadata["parse_env"]:
        return tuple(f.metadata["parse_env"](text))
    kind: type = type(f.default)
    if kind is bool:
        return _boolean(text)
    if kind is int:
        if not re.fullmatch(r"-?\d+", text):
            raise ValueError("not a whole number")
        problem = _out_of_bounds(f, int(text))
        if problem:
            raise ValueError(problem)
        return int(text)
    problem = _bad_choice(f, text)
    if problem:
        raise ValueError(problem)
    return text


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ValueError("neither true nor false")


# --- the URL of Redis ----------------------------------------------------------------------------


def _spell_out_url(
    block: dict[str, Any], sources: dict[str, str], warnings: list[str]
) -> dict[str, Any]:
    """Put what `redis.url` says into the keys that it stands for, over their values so far.

    :param block: the values of the `redis` block up to the level (file, environment) of the URL.
    :returns: the fields that the URL has set; none without one.
    """
    url = block.pop("url", "").strip()
    if not url:
        return {}
    source = sources["redis.url"]
    try:
        said, ignored = parse_url(url)
    except BadAddress as error:
        raise ConfigError(f"redis.url (from {source}) {error}") from None
    said |= {"sentinels": (), "sentinel_master": ""}
    overruled = [
        f"{dotted} (from {sources[dotted]})"
        for dotted, name in ((_redis_key(name), name) for name in said)
        if block.get(name) != said[name]
        and not sources.get(dotted, "redis.url").startswith("redis.url")
    ]
    if overruled:
        warnings.append(f"redis.url (from {source}) wins over {', '.join(sorted(overruled))}")
    if ignored:
        warnings.append(
            f"redis.url (from {source}): options without effect here: {', '.join(sorted(ignored))}"
        )
    for name, value in said.items():
        block[name] = value
        sources[_redis_key(name)] = f"redis.url, {source}"
    return said


def _warn_of_overruled_parts(
    said: Mapping[str, Any],
    block: Mapping[str, Any],
    sources: Mapping[str, str],
    warnings: list[str],
) -> None:
    """Half of an address from here and half from there is rarely meant."""
    overruling = [
        f"{_redis_key(name)} (from {sources[_redis_key(name)]})"
        for name, value in said.items()
        if block[name] != value
    ]
    if overruling:
        warnings.append(
            f"redis.url (from {sources['redis.url']}) is overruled in parts by "
            f"{', '.join(sorted(overruling))}"
        )


def _redis_key(name: str) -> str:
    return "redis." + json_key(name)


# --- Superset's own settings ---------------------------------------------------------------------

_ADDRESS = (  # half of an address from here and half from there leads nowhere
    *("redis.host", "redis.port", "redis.unixSocketPath"),
    *("redis.sentinels", "redis.sentinelMaster", "redis.sentinelPassword"),
)


def _fill_from_superset(
    values: dict[str, Any],
    environ: Mapping[str, str],
    sources: dict[str, str],
    warnings: list[str],
) -> None:
    """Take what Superset's settings say for every key that neither file nor environment has."""
    target = values.get("superset_config", "").strip()
    if not target:
        return
    try:
        said = own_values(read(target_of(target, environ), environ))
    except SupersetError as error:
        raise ConfigError(f"supersetConfig (from {sources['supersetConfig']}): {error}") from None
    if _has_other_address(values["redis"], sources, said):
        chosen = ", ".join(f"{k} (from {sources[k]})" for k in _ADDRESS if k in sources)
        warnings.append(f"{chosen} wins over Superset's {said[_address_kind(said)]}")
        said = {dotted: value for dotted, value in said.items() if dotted not in _ADDRESS}
    secret = {key.path for key in keys() if key.secret}
    for dotted, value in said.items():
        block, f = _place_of(dotted, values)
        if dotted not in sources:
            if isinstance(value.value, Unknown):
                raise ConfigError(
                    f"{dotted} can't be taken from Superset's {value}, which is made with "
                    "something that is not installed here: set it here too"
                )
            block[f.name] = value.value
            sources[dotted] = str(value)
        elif not _agree(block[f.name], value.value):
            shown = "differs from" if dotted in secret else f"is {_shown(block[f.name])}, unlike"
            warnings.append(
                f"{dotted} (from {sources[dotted]}) {shown} Superset's {value}, and wins"
            )


def _has_other_address(
    block: Mapping[str, Any], sources: Mapping[str, str], said: Mapping[str, Said]
) -> bool:
    """Whether file or environment have an address of another kind than Superset."""
    for dotted in ("redis.sentinels", "redis.unixSocketPath", "redis.host"):
        _, f = _place_of(dotted, {"redis": dict(block)})
        if dotted in sources and block.get(f.name):
            return dotted != _address_kind(said)
    return False


def _address_kind(said: Mapping[str, Said]) -> str:
    path = said.get("redis.unixSocketPath")
    if "redis.sentinels" in said:
        return "redis.sentinels"
    return "redis.unixSocketPath" if path and path.value else "redis.host"


def _place_of(dotted: str, values: dict[str, Any]) -> tuple[dict[str, Any], Field[Any]]:
    """The block of values that a key belongs to, and its field."""
    cls: type = Settings
    *blocks, last = dotted.split(".")
    for name in blocks:
        f = next(f for f in fields(cls) if json_key(f.name) == name)
        cls, values = cast(type, _block_of(f)), values.setdefault(f.name, {})
    return values, next(f for f in fields(cls) if json_key(f.name) == last)


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return set(theirs) <= set(ours)  # more algorithms than Superset's do no harm
    return isinstance(theirs, Unknown) or bool(ours == theirs)


# --- what single values can't tell ---------------------------------------------------------------


def _check_whole(settings: Settings, sources: Mapping[str, str], warnings: list[str]) -> None:
    _check_secret(settings.jwt_secret, sources.get("jwtSecret"), warnings)
    algorithms = settings.jwt_algorithms
    where = f"jwtAlgorithms (from {sources.get('jwtAlgorithms', 'the defaults')})"
    if not algorithms:
        raise ConfigError(f"{where} is empty: name at least one algorithm, usually HS256")
    if any(name.lower() == "none" for name in algorithms):
        raise ConfigError(f"{where} contains none, which would admit forged cookies: remove it")
    unknown = [name for name in algorithms if name not in JWT_ALGORITHMS]
    if unknown:
        raise ConfigError(
            f"{where} contains {', '.join(unknown)}: allowed are {', '.join(JWT_ALGORITHMS)}"
        )
    if importlib.util.find_spec("cryptography") is None:
        asymmetric = [name for name in algorithms if not name.startswith("HS")]
        if asymmetric:
            raise ConfigError(
                f"{where} contains {', '.join(asymmetric)}, which need a library that is not "
                "installed: pip install cryptography"
            )
    _check_trusted_proxies(settings, sources)
    _check_redis(settings.redis, sources, warnings)
    if not settings.redis_stream_prefix:
        raise ConfigError(
            "redisStreamPrefix is empty: it must be Superset's "
            "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX, by default async-events-"
        )


def _check_trusted_proxies(settings: Settings, sources: Mapping[str, str]) -> None:
    for text in settings.trusted_proxies:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(
                f"trustedProxies (from {sources.get('trustedProxies')}) contains {_shown(text)}: "
                "write addresses or networks, like 127.0.0.1 or 10.0.0.0/8"
            ) from None


def _check_redis(redis: RedisSettings, sources: Mapping[str, str], warnings: list[str]) -> None:
    def source(name: str) -> str:
        return sources.get(_redis_key(name), "the defaults")

    def warn_of(names: Iterable[str], why: str) -> None:
        """One line about the keys among these that were changed in vain."""
        default = RedisSettings()
        vain = [n for n in names if getattr(redis, n) != getattr(default, n)]
        if vain:
            keys = ", ".join(f"{_redis_key(n)} (from {source(n)})" for n in vain)
            warnings.append(f"without effect {why}: {keys}")

    if redis.sentinels:
        _check_sentinels(redis, source)
        warn_of(("host", "port", "unix_socket_path"), "beside redis.sentinels")
    else:
        warn_of((n for n in _names_of(redis) if n.startswith("sentinel_")), "without sentinels")
        if redis.unix_socket_path:
            _check_socket_path(redis.unix_socket_path, source("unix_socket_path"))
            warn_of(("host", "port", "ssl"), "beside redis.unixSocketPath")
    if redis.sentinels:
        tls = redis.ssl or redis.sentinel_ssl
    else:
        tls = redis.ssl and not redis.unix_socket_path
    if tls:
        _check_tls(redis, source)
        if redis.ssl_cert_reqs == "none":
            warnings.append(
                f"redis.sslCertReqs (from {source('ssl_cert_reqs')}) is none: any server is "
                "believed to be Redis; name its certificate's CA in redis.sslCaCerts instead"
            )
    else:
        warn_of((n for n in _names_of(redis) if n.startswith("ssl_")), "without redis.ssl")


def _names_of(block: Any) -> Iterator[str]:
    return (f.name for f in fields(block))


def _check_sentinels(redis: RedisSettings, source: Callable[[str], str]) -> None:
    for text in redis.sentinels:
        try:
            split_address(text)
        except BadAddress as error:
            raise ConfigError(
                f"redis.sentinels (from {source('sentinels')}) contains {_shown(text)}, which "
                f"{error}: write host:port, like sentinel-1:26379"
            ) from None
    if not redis.sentinel_master:
        raise ConfigError(
            f"redis.sentinels (from {source('sentinels')}) needs redis.sentinelMaster: the name "
            "after `sentinel monitor` in the Sentinels' configuration, often mymaster"
        )


def _check_socket_path(path: str, source: str) -> None:
    if len(os.fsencode(path)) > UNIX_PATH_MAX_BYTES:
        raise ConfigError(
            f"redis.unixSocketPath (from {source}) is longer than {UNIX_PATH_MAX_BYTES} bytes, "
            "which no socket can be: shorten it, in Redis's `unixsocket` too"
        )


def _check_tls(redis: RedisSettings, source: Callable[[str], str]) -> None:
    """Load the files once, so that a wrong one stops the start instead of every connection."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = getattr(redis, name)
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{_redis_key(name)} (from {source(name)}): {path} can't be read "
                f"({error.strerror}): name a file in PEM form that this process may read"
            ) from None
    if redis.ssl_keyfile and not redis.ssl_certfile:
        raise ConfigError(
            f"redis.sslKeyfile (from {source('ssl_keyfile')}) needs redis.sslCertfile: the "
            "certificate that belongs to the key"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if redis.ssl_ca_certs:
            context.load_verify_locations(redis.ssl_ca_certs)
    except OSError:
        raise ConfigError(
            f"redis.sslCaCerts (from {source('ssl_ca_certs')}): {redis.ssl_ca_certs} holds no "
            "certificates in PEM form: name the file of the CA that signed Redis's"
        ) from None
    try:
        if redis.ssl_certfile:
            # The empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(redis.ssl_certfile, redis.ssl_keyfile or None, password="")
    except OSError as error:
        raise ConfigError(
            f"redis.sslCertfile (from {source('ssl_certfile')}): {redis.ssl_certfile} can't be "
            f"used ({error}): it must be a certificate in PEM form, and redis.sslKeyfile, or the "
            "same file, its key, not encrypted"
        ) from None


JWT_ALGORITHMS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"),
)


def _check_secret(secret: str, source: str | None, warnings: list[str]) -> None:
    try:
        size = len(secret.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"jwtSecret (from {source}) is not valid UTF-8") from None
    if size < SECRET_MIN_BYTES:
        found = f"has {size} bytes (from {source})" if source else "is not set"
        raise ConfigError(
            f"jwtSecret {found} and needs at least {SECRET_MIN_BYTES}: set JWT_SECRET or jwtSecret "
            "to the value of GLOBAL_ASYNC_QUERIES_JWT_SECRET in Superset"
        )
    if secret.upper().startswith("CHANGE-ME"):
        warnings.append(
            f"jwtSecret (from {source}) is the example's: anybody can forge cookies with it; "
            "set the same long random value here and in Superset's GLOBAL_ASYNC_QUERIES_JWT_SECRET"
        )


# --- helpers -------------------------------------------------------------------------------------

_T = TypeVar("_T")


def _build(cls: type[_T], values: Mapping[str, Any]) -> _T:
    arguments = dict(values)
    for f in fields(cast(Any, cls)):
        block = _block_of(f)
        if block:
            arguments[f.name] = _build(block, values.get(f.name, {}))
    return cls(**arguments)


def _block_of(f: Field[Any]) -> type | None:
    """The dataclass of a nested block, or None for a plain key."""
    factory = f.default_factory
    return factory if factory is not MISSING and is_dataclass(factory) else None


def _out_of_bounds(f: Field[Any], number: int) -> str | None:
    low, high = f.metadata["minimum"], f.metadata["maximum"]
    if number < low or (high is not None and number > high):
        return f"it must be between {low} and {high}" if high else f"it must be at least {low}"
    return None


def _bad_choice(f: Field[Any], text: str) -> str | None:
    choices = f.metadata["choices"]
    return f"it must be one of {', '.join(choices)}" if choices and text not in choices else None


def _kubernetes_hint(value: Any, name: str) -> str:
    if not (isinstance(value, str) and re.match(r"(tcp|udp)://", value)):
        return ""
    return (
        f"; Kubernetes injects a value like this for a Service of that name, it is not yours: set "
        f"{name} explicitly in the pod, or set enableServiceLinks: false in its spec"
    )


def _shown(value: Any, secret: bool = False) -> str:
    if secret:
        return "(secret)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
