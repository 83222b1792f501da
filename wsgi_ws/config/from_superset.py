# SPDX-License-Identifier: Apache-2.0
"""With `supersetConfig`, Superset's own settings are the level below the file: one source of truth.

`superset.settings` reads them, this decides which of our keys they set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wsgi_ws.addresses import is_loopback
from wsgi_ws.config.checks import SECRET_MIN_BYTES
from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import ADDRESS_KEYS, key_of
from wsgi_ws.config.meanings import certificate_requirement, only_around, shown
from wsgi_ws.config.set_by import Kind, SetBy
from wsgi_ws.superset.names import (
    ALGORITHM,
    CHANNEL_KEY,
    CHANNEL_PREFIX,
    DEFAULTS,
    PREFIX,
    REDIS_CONFIG,
    REDIS_HOST,
    REDIS_PORT,
    SENTINELS,
    SEVEN,
    SIX,
    Generation,
)
from wsgi_ws.superset.settings import (
    UNKNOWN,
    Place,
    Said,
    SupersetSettings,
    Unknown,
    generations,
    read,
    redis_setting,
    surprises,
    target_of,
)
from wsgi_ws.transport import Transport, cookie_name

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
    _let_both_secrets_admit(draft, said)
    draft.warnings.extend(conflicts(superset))
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


def _let_both_secrets_admit(draft: Draft, said: dict[str, Said]) -> None:
    """Where jwtSecret is set here to one of Superset's two secrets, the other one is left."""
    other = said.get("previousJwtSecret")
    if other and draft.values.get("jwtSecret") == other.value:
        said["previousJwtSecret"], said["jwtSecret"] = said["jwtSecret"], other


def _compare(draft: Draft, path: str, said: Said) -> None:
    """Warn when our value differs from Superset's; ours wins."""
    if path in draft.problems or agree(path, draft.values[path], said.value):
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
    if _address_kind(said) not in said:
        return False
    for path in ("redis.sentinels", "redis.unixSocketPath", "redis.host"):
        if draft.values.get(path):
            return path != _address_kind(said)
    return False


def _address_kind(said: Mapping[str, Said]) -> str:
    path = said.get("redis.unixSocketPath")
    if "redis.sentinels" in said:
        return "redis.sentinels"
    return "redis.unixSocketPath" if path and path.value else "redis.host"


def agree(path: str, ours: Any, theirs: Any) -> bool:
    """Whether a key's value here serves a Superset that has the other one."""
    if isinstance(theirs, Unknown):
        return True
    if path == "jwtAlgorithms":
        return set(theirs) <= set(ours)  # more algorithms than Superset's do no harm
    if path == "jwtCookieName":
        return cookie_name(Transport.STREAMS, ours) == cookie_name(Transport.STREAMS, theirs)
    return bool(ours == theirs)


# --- as values of our keys -----------------------------------------------------------------------


def own_values(superset: SupersetSettings) -> dict[str, Said]:
    """Superset's settings as values of our keys, in the file's form, by dotted key.

    A value is `UNKNOWN` when it can't be known here or has the wrong type. Of a file for both
    generations each key has one value: the newer one's, but for what only the older one has set.
    """
    present = generations(superset)
    if len(present) == 1:
        return values_of(superset, present[0])
    old, new = (values_of(superset, generation) for generation in present)
    values = old | new
    if names_redis(superset, SIX) or not names_redis(superset, SEVEN):
        values = {path: said for path, said in values.items() if not path.startswith("redis.")}
        values |= {path: said for path, said in old.items() if path.startswith("redis.")}
    if not superset.is_set(SEVEN.secret):
        values["jwtSecret"] = old["jwtSecret"]
    elif superset.is_set(SIX.secret) and _admits_too(old["jwtSecret"], new["jwtSecret"]):
        values["previousJwtSecret"] = old["jwtSecret"]
    if new["jwtCookieName"].value == DEFAULTS[SEVEN.cookie_name]:
        values["jwtCookieName"] = old["jwtCookieName"]
    return values


def values_of(superset: SupersetSettings, generation: Generation) -> dict[str, Said]:
    """Likewise, as one generation of Superset uses its settings."""
    own = {"jwtCookieName": generation.cookie_name, "jwtSecret": generation.secret}
    own |= {"redisStreamPrefix": PREFIX} if generation is SIX else _OF_SEVEN
    values = dict(_redis_values(superset, generation))
    values |= {path: _typed(superset.said(name), str) for path, name in own.items()}
    values["jwtAlgorithms"] = Said((ALGORITHM,), "signature", Place("fixed in Superset"))
    if generation is SIX:
        values["jwtChannelIdKey"] = Said(CHANNEL_KEY, "channel claim", Place("fixed in Superset"))
    return values


def names_redis(superset: SupersetSettings, generation: Generation) -> bool:
    """Whether the settings say where the Redis of a generation is."""
    name = redis_setting(superset, generation)
    return bool(superset.is_set(name) and superset.get(name))


def _admits_too(old: Said, new: Said) -> bool:
    """Whether the older generation's secret has to be, and may be, a second one here."""
    return isinstance(old.value, str) and old.value != new.value and not _is_short(old.value)


def _is_short(secret: str) -> bool:
    return len(secret.encode("utf-8", "surrogateescape")) < SECRET_MIN_BYTES


def _redis_values(superset: SupersetSettings, generation: Generation) -> Iterator[tuple[str, Said]]:
    name = redis_setting(superset, generation)
    if name == REDIS_CONFIG:
        yield from _fields(superset, name, _PLAIN)
        return
    if generation is SEVEN and not names_redis(superset, SEVEN):
        return  # it publishes nowhere
    kind = superset.item(name, "CACHE_TYPE")
    if kind == "RedisSentinelCache":
        said = superset.said(name, "CACHE_REDIS_SENTINELS", list(SENTINELS))
        yield "redis.sentinels", Said(_addresses(said.value), said.setting, said.where)
    yield from _fields(superset, name, _SENTINEL if kind == "RedisSentinelCache" else _CACHE)
    if generation is SEVEN:
        return  # no database: messages know none
    said = superset.said(name, "CACHE_REDIS_DB", 0)
    if kind == "RedisSentinelCache":
        # Superset makes the client that writes events without CACHE_REDIS_DB: `surprises` says so.
        yield "redis.db", Said(0, said.setting, Place("which Superset ignores with Sentinel"))
    else:
        yield from _fields(superset, name, _DATABASE)


# --- two generations in one file -----------------------------------------------------------------


def conflicts(superset: SupersetSettings) -> Iterator[str]:
    """What one configuration here can't have in common with both generations."""
    if len(generations(superset)) < 2:
        return
    old, new = values_of(superset, SIX), values_of(superset, SEVEN)
    chosen = own_values(superset)
    yield from _conflict_of_cookies(old["jwtCookieName"], new["jwtCookieName"], chosen)
    yield from _conflict_of_secrets(superset, old["jwtSecret"], new["jwtSecret"])
    if names_redis(superset, SIX) and names_redis(superset, SEVEN):
        yield from _conflict_of_servers(old, new)


def _conflict_of_cookies(old: Said, new: Said, chosen: Mapping[str, Said]) -> Iterator[str]:
    value = chosen["jwtCookieName"].value
    if agree("jwtCookieName", value, old.value) and agree("jwtCookieName", value, new.value):
        return
    yield (
        f"Superset's cookie is {shown(old.value)} ({old}), but {shown(new.value)} ({new}): here "
        f"one name counts for both transports, and that is {shown(value)}; give both that name"
    )


def _conflict_of_secrets(superset: SupersetSettings, old: Said, new: Said) -> Iterator[str]:
    both = superset.is_set(SIX.secret) and superset.is_set(SEVEN.secret)
    if both and isinstance(old.value, str) and old.value != new.value and _is_short(old.value):
        yield (
            f"{old} has fewer than {SECRET_MIN_BYTES} bytes, and is not taken beside {new}: no "
            "token of Superset up to 6.1 is admitted; set a longer one, or remove it"
        )


def _conflict_of_servers(old: Mapping[str, Said], new: Mapping[str, Said]) -> Iterator[str]:
    ours, theirs = _server(old), _server(new)
    if UNKNOWN in (*ours, *theirs) or ours == theirs:
        return
    yield (
        f"Superset's events go to {_server_text(old)}, but its messages to {_server_text(new)}: "
        "here one Redis is followed, that of the events, and no message would arrive; write the "
        "same server into both, or run one of these servers for each, with its own redis.host and "
        "transports"
    )


def _server(values: Mapping[str, Said]) -> tuple[Any, ...]:
    """What says together which server it is."""
    if "redis.sentinels" in values:
        return (values["redis.sentinels"].value, values["redis.sentinelMaster"].value)
    path = values.get("redis.unixSocketPath")
    if path and path.value:
        return (path.value,)
    host = values["redis.host"].value
    local = isinstance(host, str) and is_loopback(host)
    return (REDIS_HOST if local else host, values["redis.port"].value)


def _server_text(values: Mapping[str, Said]) -> str:
    said = values.get("redis.sentinels") or values["redis.host"]
    name = said.setting.partition("[")[0]
    first, *rest = _server(values)
    address = ", ".join(first) if isinstance(first, tuple) else ":".join(map(str, [first, *rest]))
    return f"{address} ({name}, {said.where})"


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


# Our key, and the setting that only Superset 7 has.
_OF_SEVEN = {"realtimeChannelPrefix": CHANNEL_PREFIX}
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
    *_TLS,
)
_DATABASE: _Table = (("redis.db", "CACHE_REDIS_DB", int, 0),)
_SENTINEL: _Table = (
    ("redis.sentinelMaster", "CACHE_REDIS_SENTINEL_MASTER", str, "mymaster"),
    ("redis.sentinelPassword", "CACHE_REDIS_SENTINEL_PASSWORD", str, ""),
    ("redis.password", "CACHE_REDIS_PASSWORD", str, ""),
    *_TLS,
)
