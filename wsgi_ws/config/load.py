# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults < Superset's settings, if asked for < configuration file < environment.

Read and validated once, in gunicorn's master. No value of a secret key ever appears in a message of
this module.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsgi_ws.config.checks import check_whole
from wsgi_ws.config.draft import Draft
from wsgi_ws.config.from_superset import lay_superset
from wsgi_ws.config.keys import Key, Settings, blocks, key_of, keys, redis_key
from wsgi_ws.config.meanings import BadValue, shown
from wsgi_ws.config.redis_url import parse_url
from wsgi_ws.config.set_by import NOBODY, Kind, SetBy
from wsgi_ws.config.values import from_json, from_text, kubernetes_hint
from wsgi_ws.superset.settings import SupersetError

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

    :ivar sources: dotted key → who has set it; a key at its default is absent.
    :ivar warnings: lines for the operator, to be logged by whoever starts the service.
    :ivar values: dotted key → its value as in the file; a key at its default is absent.
    :ivar wrong: dotted keys, or whole blocks, that are at their default because what was set can't
        be used; empty unless this is the rest of a `ConfigError`.
    """

    settings: Settings
    sources: Mapping[str, SetBy]
    warnings: tuple[str, ...]
    wrong: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def value(self, path: str) -> Any:
        """A key's value as it would stand in the file."""
        return self.values.get(path, key_of(path).default)

    def set_by(self, path: str) -> SetBy:
        """Who has set a key."""
        return self.sources.get(path, NOBODY)

    def wrong_among(self, *paths: str) -> list[str]:
        """Which of these keys, or of the keys in these blocks, are wrong."""
        return sorted(
            wrong
            for wrong in self.wrong
            if any(
                f"{path}.".startswith(f"{wrong}.") or wrong.startswith(f"{path}.") for path in paths
            )
        )


class ConfigError(Exception):
    """The service must not start like this.

    :ivar problems: a sentence for each, with the key, where its value came from and the remedy.
    :ivar rest: the configuration without the wrong values, for a report on everything else; None
        when a whole level of it could not be read.
    """

    def __init__(self, problems: Sequence[str], rest: Loaded | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.rest = rest


def load(environ: Mapping[str, str], directory: Path | None = None) -> Loaded:
    """Read the configuration file, lay the environment over it, validate.

    :param environ: the environment variables (an empty or blank one counts as not set).
    :param directory: where the file's path starts from; the working directory by default.
    :raises ConfigError: when the service must not start like this.
    """
    named = environ.get(CONFIG_PATH_VARIABLE, "").strip()
    path = (directory or Path()) / (named or DEFAULT_CONFIG_PATH)
    draft = Draft()
    _lay_object(draft, _read_file(path, required=bool(named)), path)
    below = _spell_out_url(draft)
    _lay_environment(draft, environ)
    if not _spell_out_url(draft):
        _warn_of_overruled_parts(draft, below)
    try:
        lay_superset(draft, environ)
    except SupersetError as error:
        problem = f"{draft.named('supersetConfig')}: {error}"
        raise ConfigError([*draft.problems.values(), problem]) from None
    check_whole(draft)
    loaded = Loaded(
        draft.settings(),
        draft.sources,
        tuple(draft.warnings),
        frozenset(draft.problems),
        draft.right_values(),
    )
    if draft.problems:
        raise ConfigError(list(draft.problems.values()), loaded)
    return loaded


# --- the file ------------------------------------------------------------------------------------


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    def error(problem: str) -> ConfigError:
        return ConfigError([f"configuration file {path}{problem}"])

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise error(
            " does not exist: create it from config.example.json or correct " + CONFIG_PATH_VARIABLE
        ) from None
    except json.JSONDecodeError as bad:
        raise error(
            f", line {bad.lineno}, column {bad.colno}: not valid JSON ({bad.msg}); compare with "
            "config.example.json"
        ) from None
    # The last two: a number or a nesting beyond all measure.
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as bad:
        raise error(f" can't be read: {bad}") from None
    if not isinstance(document, dict):
        raise error(": the top level must be an object {…}")
    return document


def _lay_object(draft: Draft, document: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    """Take the values of the whole file, or of one block."""
    here = [key for key in keys() if key.path == prefix + key.name]
    known = {key.name: key for key in here} | {key.alias: key for key in here if key.alias}
    inner = () if prefix else tuple(blocks())
    for name, raw in document.items():
        key = known.get(name)
        if name in inner:
            if isinstance(raw, dict):
                _lay_object(draft, raw, path, f"{name}.")
            else:
                draft.reject(name, f"{path}: {name} must be an object {{…}}")
        elif key and name == key.alias and key.name in document:
            draft.warnings.append(
                f"{path}: {name} is the old name of {key.path}, which is also set and wins"
            )
        elif key:
            _lay_value(draft, key, raw, SetBy(Kind.FILE, str(path)))
    unknown = [name for name in document if name not in known and name not in inner]
    _warn_unknown(draft, unknown, [*known, *inner], str(path), prefix)


def _lay_value(draft: Draft, key: Key, raw: Any, source: SetBy) -> None:
    draft.sources[key.path] = source
    try:
        draft.values[key.path] = from_json(key, raw)
    except BadValue as error:
        draft.reject(key.path, f"{draft.named(key.path)} {error}")


def _warn_unknown(
    draft: Draft, unknown: list[str], known: list[str], source: str, prefix: str
) -> None:
    foreign = STATSD_FOREIGN_OPTIONS.intersection(unknown) if prefix == "statsd." else ()
    if foreign:
        draft.warnings.append(
            f"{source}: options of statsd without effect here: {', '.join(sorted(foreign))}"
        )
    for name in unknown:
        if name not in foreign:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            draft.warnings.append(f"{source}: unknown key {prefix}{name} is ignored{hint}")


# --- the environment -----------------------------------------------------------------------------


def _lay_environment(draft: Draft, environ: Mapping[str, str]) -> None:
    for key in keys():
        text = environ.get(key.env, "") if key.env else ""
        if not text.strip():
            continue
        if not key.secret:  # Superset's HMAC takes the secret to the byte
            text = text.strip()
        source = SetBy(Kind.ENVIRONMENT, str(key.env))
        try:
            draft.put(key.path, from_text(key, text), source)
        except BadValue as error:
            below = draft.set_by(key.path)
            draft.warnings.append(
                f"{source}={shown(text, key.secret)} is ignored ({error}); {key.path} stays at the "
                f"value of {below}{kubernetes_hint(text, str(key.env))}"
            )


# --- the URL of Redis ----------------------------------------------------------------------------


def _spell_out_url(draft: Draft) -> Mapping[str, Any]:
    """Put what `redis.url` says into the keys that it stands for, over their values so far.

    Called at each level (file, environment) that a URL may come from.

    :returns: what it has set, by dotted key; nothing without a URL.
    """
    url = draft.values.pop("redis.url", "").strip()
    if not url:
        return {}
    where, source = draft.named("redis.url"), draft.sources["redis.url"]
    try:
        parts, ignored = parse_url(url)
    except BadValue as error:
        draft.reject("redis.url", f"{where} {error}")
        return {}
    said = {redis_key(name): value for name, value in parts.items()}
    said |= {"redis.sentinels": (), "redis.sentinelMaster": ""}
    overruled = [
        path
        for path, value in said.items()
        if draft.values.get(path) != value
        and draft.set_by(path).kind not in (Kind.DEFAULT, Kind.URL)
    ]
    if overruled:
        draft.warnings.append(f"{where} wins over {draft.all_named(sorted(overruled))}")
    if ignored:
        draft.warnings.append(f"{where}: options without effect here: {', '.join(sorted(ignored))}")
    for path, value in said.items():
        draft.put(path, value, SetBy(Kind.URL, "redis.url", str(source)))
    return said


def _warn_of_overruled_parts(draft: Draft, said: Mapping[str, Any]) -> None:
    """Half of an address from here and half from there is rarely meant.

    :param said: what a URL of the file has set before the environment came.
    """
    overruling = sorted(path for path, value in said.items() if draft.values[path] != value)
    if overruling:
        draft.warnings.append(
            f"{draft.named('redis.url')} is overruled in parts by {draft.all_named(overruling)}"
        )
