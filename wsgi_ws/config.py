# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults < configuration file < environment, validated once, frozen and typed.

Every key is declared once, in the dataclasses below: its type, default, environment variable and
bounds. Everything else in the service gets a `Settings` passed in and never looks at a file or at
`os.environ`. No value of a secret key ever appears in a message of this module.
"""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

CONFIG_PATH_VARIABLE = "WSGI_WS_CONFIG"
DEFAULT_CONFIG_PATH = "config.json"
SECRET_MIN_BYTES = 32  # the seed's rule: a shorter HMAC secret can be guessed offline
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
    """Where the streams are. `password` counts as absent when it is empty."""

    host: str = option("127.0.0.1", env="REDIS_HOST")
    port: int = option(6379, env="REDIS_PORT", minimum=1, maximum=65535)
    username: str = option("default", env="REDIS_USERNAME")
    password: str = option("", env="REDIS_PASSWORD", secret=True)
    db: int = option(0, env="REDIS_DB")
    ssl: bool = option(False, env="REDIS_SSL")
    validate_hostname: bool = option(True, env="REDIS_VALIDATE_HOSTNAME")


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
    max_message_bytes: int = option(4096, env="MAX_MESSAGE_BYTES", minimum=125)
    max_frames_per_second: int = option(50, env="MAX_FRAMES_PER_SECOND")
    max_bytes_per_second: int = option(65536, env="MAX_BYTES_PER_SECOND")
    history_bytes: int = option(33554432, env="HISTORY_BYTES")
    handshake_timeout_ms: int = option(10000, env="HANDSHAKE_TIMEOUT_MS", minimum=1)
    close_timeout_ms: int = option(5000, env="CLOSE_TIMEOUT_MS", minimum=1)
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
    _overlay_environment(Settings, values, environ, "", sources, warnings)
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
