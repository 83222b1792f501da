# SPDX-License-Identifier: Apache-2.0
"""With `supersetConfig`, Superset's own settings are the level below the file: one source of truth.

`superset.settings` reads them, this decides which of our keys they set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import ADDRESS_KEYS, key_of
from wsgi_ws.config.meanings import certificate_requirement, only_around, shown
from wsgi_ws.config.set_by import Kind, SetBy
from wsgi_ws.superset.settings import (
    ALGORITHM,
    CHANNEL_KEY,
    COOKIE_NAME,
    PREFIX,
    REDIS_CONFIG,
    REDIS_HOST,
    REDIS_PORT,
    SECRET,
    SENTINELS,
    UNKNOWN,
    Place,
    Said,
    SupersetSettings,
    Unknown,
    read,
    redis_setting,
    surprises,
    target_of,
)

_Table = Sequence[tuple[str, str, Callable[[Any], Any], Any]]
# Half of an address from here and half from there leads nowhere.
_ADDRESS = (*ADDRESS_KEYS, "redis.sentinelMaster", "redis.sentinelPassword")


def lay_superset(draft: Draft, environ: Mapping[str, str]) -> None:
    """Set every key that neither file nor environment has set and that Superset's settings know.

    :raises SupersetError: when they can't be read: then nobody knows what they would set.
    """
    target = draft.values.get("supersetConfig", "").strip()
    if not target:
        return
    superset = read(target_of(target, environ), environ)
    said = own_values(superset)
    if _has_other_address(draft, said):
        chosen = draft.all_named([path for path in _ADDRESS if path in draft.sources])
        draft.warnings.append(f"{chosen} wins over Superset's {said[_address_kind(said)]}")
        said = {path: value for path, value in said.items() if path not in _ADDRESS}
    else:
        draft.warnings.extend(surprises(superset))
    for path, value in said.items():
        if path in draft.sources:
            _compare(draft, path, value)
        elif isinstance(value.value, Unknown):
            draft.reject(
                path,
                f"{path} can't be taken from Superset's {value}, which is made with something "
                "that is not installed here: set it here too",
            )
        else:
            draft.put(path, value.value, SetBy(Kind.SUPERSET, value.setting, str(value.where)))


def _compare(draft: Draft, path: str, said: Said) -> None:
    """Warn when our value differs from Superset's; ours wins."""
    if path in draft.problems or _agree(draft.values[path], said.value):
        return
    wrapping = only_around(draft.values[path], said.value)
    if wrapping:
        draft.warnings.append(
            f"{draft.named(path)} differs from Superset's {said} only in the {wrapping} around it, "
            "and wins: write both alike"
        )
        return
    how = "differs from" if key_of(path).secret else f"is {shown(draft.values[path])}, unlike"
    rotation = ""
    if path == "jwtSecret" and said.value == draft.values.get("previousJwtSecret"):
        rotation = "; that one is previousJwtSecret, which admits too: a rotation is under way"
    draft.warnings.append(f"{draft.named(path)} {how} Superset's {said}, and wins{rotation}")


def _has_other_address(draft: Draft, said: Mapping[str, Said]) -> bool:
    """Whether file or environment name an address of another kind than Superset."""
    for path in ("redis.sentinels", "redis.unixSocketPath", "redis.host"):
        if draft.values.get(path):
            return path != _address_kind(said)
    return False


def _address_kind(said: Mapping[str, Said]) -> str:
    path = said.get("redis.unixSocketPath")
    if "redis.sentinels" in said:
        return "redis.sentinels"
    return "redis.unixSocketPath" if path and path.value else "redis.host"


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return set(theirs) <= set(ours)  # more algorithms than Superset's do no harm
    return isinstance(theirs, Unknown) or bool(ours == theirs)


# --- as values of our keys -----------------------------------------------------------------------


def own_values(superset: SupersetSettings) -> dict[str, Said]:
    """Superset's settings as values of our keys, in the file's form, by dotted key.

    A value is `UNKNOWN` when it can't be known here or has the wrong type.
    """
    values = dict(_redis_values(superset))
    values["redisStreamPrefix"] = superset.said(PREFIX)
    values["jwtCookieName"] = superset.said(COOKIE_NAME)
    values["jwtSecret"] = superset.said(SECRET)
    values["jwtAlgorithms"] = Said((ALGORITHM,), "signature", Place("fixed in Superset"))
    values["jwtChannelIdKey"] = Said(CHANNEL_KEY, "channel claim", Place("fixed in Superset"))
    for key in ("redisStreamPrefix", "jwtCookieName", "jwtSecret"):
        values[key] = _typed(values[key], str)
    return values


def _redis_values(superset: SupersetSettings) -> Iterator[tuple[str, Said]]:
    name = redis_setting(superset)
    if name == REDIS_CONFIG:
        yield from _fields(superset, name, _PLAIN)
        return
    kind = superset.item(name, "CACHE_TYPE")
    if kind != "RedisSentinelCache":
        yield from _fields(superset, name, _CACHE)
        return
    said = superset.said(name, "CACHE_REDIS_SENTINELS", list(SENTINELS))
    yield "redis.sentinels", Said(_addresses(said.value), said.setting, said.where)
    yield from _fields(superset, name, _SENTINEL)
    # Superset makes the client that writes events without CACHE_REDIS_DB: `surprises` says so.
    said = superset.said(name, "CACHE_REDIS_DB", 0)
    yield "redis.db", Said(0, said.setting, Place("which Superset ignores with Sentinel"))


def _fields(superset: SupersetSettings, name: str, table: _Table) -> Iterator[tuple[str, Said]]:
    for own, key, kind, default in table:
        said = superset.said(name, key, default)
        value = default if said.value in (None, "") else said.value  # 0 is ssl.CERT_NONE
        yield own, _typed(Said(value, said.setting, said.where), kind)


def _typed(said: Said, kind: Callable[[Any], Any]) -> Said:
    """Superset often has numbers as texts, from the environment; its client converts them."""
    value = said.value
    if isinstance(value, Unknown) or not isinstance(value, str | int | float | None):
        return Said(UNKNOWN, said.setting, said.where)
    try:
        return Said(kind(value), said.setting, said.where)
    except (TypeError, ValueError):
        return Said(UNKNOWN, said.setting, said.where)


def _addresses(value: Any) -> Any:
    if not isinstance(value, list):
        return UNKNOWN
    try:
        return tuple(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in value
        )
    except (TypeError, ValueError):
        return UNKNOWN


def _requirement(value: Any) -> str:
    """`none` or `required`, from redis-py's word or ssl's constant."""
    word = str(value)
    try:
        return certificate_requirement("none" if word == "0" else word)
    except ValueError:
        return "required"


# Our key, Superset's key, its conversion, and what stands for an empty value.
_PLAIN: _Table = (
    ("redis.host", "host", str, REDIS_HOST),
    ("redis.port", "port", int, REDIS_PORT),
    ("redis.username", "username", str, "default"),
    ("redis.password", "password", str, ""),
    ("redis.db", "db", int, 0),
    ("redis.ssl", "ssl", bool, False),
    ("redis.sslCaCerts", "ssl_ca_certs", str, ""),
    ("redis.sslCertfile", "ssl_certfile", str, ""),
    ("redis.sslKeyfile", "ssl_keyfile", str, ""),
    ("redis.sslCertReqs", "ssl_cert_reqs", _requirement, "required"),
    ("redis.unixSocketPath", "unix_socket_path", str, ""),
)
_TLS: _Table = (
    ("redis.ssl", "CACHE_REDIS_SSL", bool, False),
    ("redis.sslCaCerts", "CACHE_REDIS_SSL_CA_CERTS", str, ""),
    ("redis.sslCertfile", "CACHE_REDIS_SSL_CERTFILE", str, ""),
    ("redis.sslKeyfile", "CACHE_REDIS_SSL_KEYFILE", str, ""),
    ("redis.sslCertReqs", "CACHE_REDIS_SSL_CERT_REQS", _requirement, "required"),
)
_CACHE: _Table = (
    ("redis.host", "CACHE_REDIS_HOST", str, REDIS_HOST),
    ("redis.port", "CACHE_REDIS_PORT", int, REDIS_PORT),
    ("redis.username", "CACHE_REDIS_USER", str, "default"),
    ("redis.password", "CACHE_REDIS_PASSWORD", str, ""),
    ("redis.db", "CACHE_REDIS_DB", int, 0),
    *_TLS,
)
_SENTINEL: _Table = (
    ("redis.sentinelMaster", "CACHE_REDIS_SENTINEL_MASTER", str, "mymaster"),
    ("redis.sentinelPassword", "CACHE_REDIS_SENTINEL_PASSWORD", str, ""),
    ("redis.password", "CACHE_REDIS_PASSWORD", str, ""),
    *_TLS,
)
