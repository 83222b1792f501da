# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults < Superset's settings, if asked for < configuration file < environment.

Read and validated once, in gunicorn's master. No value of a secret key ever appears in a message of
this module.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from wsgi_ws.config_checks import check_whole
from wsgi_ws.redis_address import BadAddress, parse_url
from wsgi_ws.settings import (
    ConfigError,
    Settings,
    StatsdSettings,
    block_of,
    json_key,
    keys,
    redis_key,
    shown,
)
from wsgi_ws.superset_settings import (
    Said,
    SupersetError,
    Unknown,
    own_values,
    read,
    surprises,
    target_of,
)

CONFIG_PATH_VARIABLE = "WSGI_WS_CONFIG"
DEFAULT_CONFIG_PATH = "config.json"

# Options of the StatsD object that the Node server hands to its client library and that have no
# meaning here: they are named in one warning instead of being called unknown.
STATSD_FOREIGN_OPTIONS = frozenset(
    "bufferFlushInterval bufferHolder cacheDns cacheDnsTtl childOptions closingFlushInterval "
    "datadog errorHandler includeDataDogTags includeDatadogTags isChild isGlobal path protocol "
    "sampleRate socket stream tcpGracefulErrorHandling tcpGracefulRestartRateLimit "
    "udpSocketOptions udsGracefulErrorHandling udsGracefulRestartRateLimit udsRetryOptions "
    "useDefaultRoute".split()
)


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
    check_whole(settings, sources, warnings)
    return Loaded(settings, sources, tuple(warnings))


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
        block = block_of(f)
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
            raise ConfigError(f"{where} must be true or false, not {shown(raw, secret)}")
        return raw
    if kind is int:
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        if isinstance(raw, str) and re.fullmatch(r"\s*-?\d+\s*", raw):
            raise ConfigError(f"{where} must be a number: write {raw.strip()} without quotes")
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ConfigError(
                f"{where} must be a whole number, not {shown(raw, secret)}"
                f"{_kubernetes_hint(raw, dotted)}"
            )
        problem = _out_of_bounds(f, raw)
        if problem:
            raise ConfigError(f"{where} is {raw}: {problem}")
        return raw
    if not isinstance(raw, str):
        raise ConfigError(f"{where} must be a text in quotes, not {shown(raw, secret)}")
    problem = _bad_choice(f, raw)
    if problem:
        raise ConfigError(f"{where} is {shown(raw, secret)}: {problem}")
    return raw


def _typed_list(raw: Any, where: str, *, allow_object: bool) -> tuple[str, ...]:
    if allow_object and isinstance(raw, dict):
        return tuple(f"{_tag_text(k)}:{_tag_text(v)}" for k, v in raw.items())
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return tuple(raw)
    form = "a list of texts" + (" or an object" if allow_object else "")
    raise ConfigError(f"{where} must be {form}, not {shown(raw)}")


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
        block = block_of(f)
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
                f"environment variable {name}={shown(text, f.metadata['secret'])} is ignored "
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
        for dotted, name in ((redis_key(name), name) for name in said)
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
        sources[redis_key(name)] = f"redis.url, {source}"
    return said


def _warn_of_overruled_parts(
    said: Mapping[str, Any],
    block: Mapping[str, Any],
    sources: Mapping[str, str],
    warnings: list[str],
) -> None:
    """Half of an address from here and half from there is rarely meant."""
    overruling = [
        f"{redis_key(name)} (from {sources[redis_key(name)]})"
        for name, value in said.items()
        if block[name] != value
    ]
    if overruling:
        warnings.append(
            f"redis.url (from {sources['redis.url']}) is overruled in parts by "
            f"{', '.join(sorted(overruling))}"
        )


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
        superset = read(target_of(target, environ), environ)
    except SupersetError as error:
        raise ConfigError(f"supersetConfig (from {sources['supersetConfig']}): {error}") from None
    said = own_values(superset)
    if _has_other_address(values["redis"], sources, said):
        chosen = ", ".join(f"{k} (from {sources[k]})" for k in _ADDRESS if k in sources)
        warnings.append(f"{chosen} wins over Superset's {said[_address_kind(said)]}")
        said = {dotted: value for dotted, value in said.items() if dotted not in _ADDRESS}
    else:
        warnings.extend(surprises(superset))
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
            how = "differs from" if dotted in secret else f"is {shown(block[f.name])}, unlike"
            warnings.append(f"{dotted} (from {sources[dotted]}) {how} Superset's {value}, and wins")


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
        cls, values = cast(type, block_of(f)), values.setdefault(f.name, {})
    return values, next(f for f in fields(cls) if json_key(f.name) == last)


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return set(theirs) <= set(ours)  # more algorithms than Superset's do no harm
    return isinstance(theirs, Unknown) or bool(ours == theirs)


# --- helpers -------------------------------------------------------------------------------------

_T = TypeVar("_T")


def _build(cls: type[_T], values: Mapping[str, Any]) -> _T:
    arguments = dict(values)
    for f in fields(cast(Any, cls)):
        block = block_of(f)
        if block:
            arguments[f.name] = _build(block, values.get(f.name, {}))
    return cls(**arguments)


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
