# SPDX-License-Identifier: Apache-2.0
"""Superset's settings against this server's, value by value, and which line to change. No I/O.

What browsers need on top of equal values is in `browser`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsgi_ws.addresses import is_loopback
from wsgi_ws.cli.checks.words import Finding, change, green, red, yellow
from wsgi_ws.config.from_superset import own_values
from wsgi_ws.config.keys import ADDRESS_KEYS, key_of
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.meanings import around, only_around
from wsgi_ws.superset import settings as names
from wsgi_ws.superset.settings import Said, SupersetSettings, Unknown
from wsgi_ws.wording import counted

WHAT = "superset"
WHY = {
    "redis.host": "no Redis can be found under such a name",
    "redis.db": "events would be written where nobody reads them, and charts load for ever",
    "redisStreamPrefix": "events would be written to streams that nobody reads",
    "jwtCookieName": "every browser would be refused for want of a cookie",
    "jwtSecret": "every browser would be refused for its signature",
    "jwtAlgorithms": "every browser would be refused for its token's algorithm",
    "jwtChannelIdKey": "no token would have a channel",
}


def check_superset(
    superset: SupersetSettings, loaded: Loaded, *, one_redis: bool | None
) -> list[Finding]:
    """All comparisons.

    :param one_redis: whether both addresses lead to the same Redis, if it could be found out.
    """
    findings = [*check_reading(superset), *check_flag(superset), *check_transport(superset)]
    findings += check_redis_setting(superset, loaded)
    findings += check_values(superset, loaded, one_redis=one_redis)
    findings += check_secret(superset)
    findings += check_result_cache(superset)
    return findings


def check_reading(superset: SupersetSettings) -> Iterator[Finding]:
    """Superset's settings were read, perhaps without packages that are missing here."""
    if not superset.missing:
        yield green(WHAT, f"{superset.file} was read")
        return
    be = "is" if len(superset.missing) == 1 else "are"
    without = (
        f"{superset.file} was read without {', '.join(superset.missing)}, which {be} not installed "
        "here"
    )
    if superset.is_complete:
        yield green(WHAT, f"{without}; nothing that is compared depends on it")
    else:
        yield yellow(
            WHAT,
            f"{without}: values that depend on it are unknown or guessed; --python names "
            "Superset's own interpreter, which has it",
        )


def check_flag(superset: SupersetSettings) -> Iterator[Finding]:
    """Without its feature flag Superset sets no cookie and writes no events."""
    on = superset.item("FEATURE_FLAGS", names.FLAG)
    if on is None:
        on = superset.item("DEFAULT_FEATURE_FLAGS", names.FLAG)
    if on is None and superset.flag_in_environment.lower() in ("1", "true", "y", "yes", "t", "on"):
        on = True
    if isinstance(on, Unknown):
        yield yellow(WHAT, _unknown("FEATURE_FLAGS"))
    elif on:
        yield green(WHAT, f"{names.FLAG} is on in FEATURE_FLAGS")
    else:
        yield red(WHAT, _about_flag(superset, on))


def _about_flag(superset: SupersetSettings, value: Any) -> str:
    remedy = f'write FEATURE_FLAGS = {{"{names.FLAG}": True}}'
    if superset.is_set("FEATURE_FLAGS"):  # the other flags must stay
        remedy = f'add "{names.FLAG}": True to FEATURE_FLAGS ({superset.where("FEATURE_FLAGS")})'
    consequence = "Superset sets no cookie and writes no events"
    if superset.is_set(names.FLAG):
        return (
            f"{names.FLAG} is a variable of its own ({superset.where(names.FLAG)}), where Superset "
            f"does not look for it, so {consequence}: {remedy}"
        )
    dropped = superset.lines("FEATURE_FLAGS", names.FLAG)
    whole = superset.lines("FEATURE_FLAGS")
    if value is None and dropped and whole and whole[-1] > dropped[-1]:
        return (
            f"FEATURE_FLAGS in line {dropped[-1]} has {names.FLAG}, but line {whole[-1]} assigns "
            f"FEATURE_FLAGS anew without it, so {consequence}: put all flags into one dictionary"
        )
    where = superset.where("FEATURE_FLAGS", names.FLAG)
    if value is not None:
        remedy = "write True there"
    return f"{names.FLAG} is off in FEATURE_FLAGS ({where}), so {consequence}: {remedy}"


def check_transport(superset: SupersetSettings) -> Iterator[Finding]:
    """With another transport than `ws` browsers poll Superset and never connect here."""
    said = superset.said(names.TRANSPORT)
    if isinstance(said.value, Unknown):
        yield yellow(WHAT, _unknown(said.setting))
    elif said.value == "ws":
        yield green(WHAT, f'{names.TRANSPORT} is "ws"')
    else:
        yield red(
            WHAT,
            f"{names.TRANSPORT} is {said.value!r} ({said.where}), so browsers poll Superset and "
            f'never connect here: {names.TRANSPORT} = "ws"',
        )


def check_redis_setting(superset: SupersetSettings, loaded: Loaded) -> Iterator[Finding]:
    """Superset has an old and a new setting for Redis's address, and ignores parts of both."""
    for sentence in names.surprises(superset):
        if sentence not in loaded.warnings:  # where they are if supersetConfig is set
            yield yellow(WHAT, sentence)
    if names.redis_setting(superset) == names.REDIS_CONFIG:
        return
    backend = superset.where(names.CACHE_BACKEND)
    kind = superset.item(names.CACHE_BACKEND, "CACHE_TYPE")
    if kind not in ("RedisCache", "RedisSentinelCache") and not isinstance(kind, Unknown):
        yield red(
            WHAT,
            f"{names.CACHE_BACKEND} ({backend}) has CACHE_TYPE {kind!r}: only RedisCache and "
            "RedisSentinelCache carry events",
        )
    elif superset.is_set(names.REDIS_CONFIG):
        yield yellow(
            WHAT,
            f"{names.REDIS_CONFIG} ({superset.where(names.REDIS_CONFIG)}) has no effect beside "
            f"{names.CACHE_BACKEND} ({backend}), which is compared here: remove it, unless this "
            "Superset is older than 5.0",
        )


def check_values(
    superset: SupersetSettings, loaded: Loaded, *, one_redis: bool | None
) -> Iterator[Finding]:
    """The values that must be equal on both sides; keys that are wrong here are skipped."""
    said = own_values(superset)
    equal = []
    if not loaded.wrong_among("redis.url", *ADDRESS_KEYS):
        address = _address_findings(said, loaded, one_redis=one_redis)
        yield from address
        equal = [path for path in said if path in ADDRESS_KEYS and not address]
    for path, value in said.items():
        if path in ADDRESS_KEYS or not _matters(path, said, loaded) or loaded.wrong_among(path):
            continue
        if isinstance(value.value, Unknown):
            yield yellow(WHAT, _unknown(str(value)))
        elif _is_equal(path, value.value, loaded.value(path)):
            equal.append(path)
        elif path == "jwtSecret" and _is_previous_secret(value.value, loaded):
            yield yellow(WHAT, _about_rotation(value, loaded))
        else:
            yield red(WHAT, mismatch(path, value, loaded))
    if equal:
        yield green(WHAT, f"equal on both sides: {', '.join(sorted(equal))}")


def mismatch(path: str, said: Said, loaded: Loaded) -> str:
    """The sentence about one differing value; a secret is not shown."""
    source = loaded.set_by(path)
    why = WHY.get(path, "this server can't read what Superset writes")
    here = loaded.value(path)
    wrapping = only_around(here, said.value)
    if wrapping:
        place = f"here (in {source})" if around(here) else f"in {_line(said)}"
        return (
            f"{path} (from {source}) differs from {said} only in the {wrapping} around it: {why}; "
            f"write it without {place}"
        )
    remedy = f"{change(path, loaded, said.value)} here, or change {_line(said)}"
    if key_of(path).secret:
        return f"{path} (from {source}) differs from {said}: {why}; {remedy}"
    return (
        f"{path} is {_shown(here)} (from {source}), but {_shown(said.value)} in Superset ({said}): "
        f"{why}; {remedy}"
    )


def _is_previous_secret(theirs: Any, loaded: Loaded) -> bool:
    return bool(theirs and theirs == loaded.settings.previous_jwt_secret)


def _about_rotation(said: Said, loaded: Loaded) -> str:
    return (
        f"Superset signs with previousJwtSecret (from {loaded.set_by('previousJwtSecret')}), which "
        f"admits beside jwtSecret (from {loaded.set_by('jwtSecret')}): a rotation is under way; "
        f"when every server has both, change {_line(said)} to the value of jwtSecret"
    )


def check_secret(superset: SupersetSettings) -> Iterator[Finding]:
    """Superset wants a secret of at least 32 characters."""
    said = superset.said(names.SECRET)
    if isinstance(said.value, str) and len(said.value) < 32:
        yield red(
            WHAT,
            f"{names.SECRET} ({said.where}) has {counted(len(said.value), 'character')}, and "
            "Superset refuses to start async queries with fewer than 32: set a long random one on "
            "both sides",
        )


def check_result_cache(superset: SupersetSettings) -> Iterator[Finding]:
    """After the event browsers fetch the result from one cache by a query in another: without
    either (Superset's default) they get 422. Workers and web servers must share both."""
    for name in ("CACHE_CONFIG", "DATA_CACHE_CONFIG"):
        kind = superset.item(name, "CACHE_TYPE")
        if not isinstance(kind, Unknown) and _is_no_cache(kind):
            yield red(
                WHAT,
                f"{name} ({superset.where(name)}) is no cache that Superset and its workers share: "
                "events arrive, but the results that they announce can't be fetched (422), and no "
                f'chart is drawn; write {name} = {{"CACHE_TYPE": "RedisCache", '
                '"CACHE_REDIS_URL": "redis://…"}',
            )


def _is_no_cache(kind: Any) -> bool:
    return kind in (None, "", "null", "NullCache", "SimpleCache")


def _matters(path: str, said: dict[str, Said], loaded: Loaded) -> bool:
    redis = loaded.settings.redis
    if path == "redis.username":
        return bool(redis.password or said["redis.password"].value)
    if path == "redis.sentinelPassword":
        return bool(redis.sentinels)
    if path == "redis.sentinelMaster":
        return bool(redis.sentinels)
    return not path.startswith("redis.ssl") or path == "redis.ssl"


def _is_equal(path: str, theirs: Any, ours: Any) -> bool:
    if path == "jwtAlgorithms":
        return set(theirs) <= set(ours)
    return bool(theirs == ours)


def _address_findings(
    said: dict[str, Said], loaded: Loaded, *, one_redis: bool | None
) -> list[Finding]:
    """Host and port, or the Sentinels: different texts may mean one server."""
    redis = loaded.settings.redis
    theirs = _address(said)
    ours: Any
    if redis.sentinels:
        ours, path = tuple(sorted(loaded.value("redis.sentinels"))), "redis.sentinels"
    elif redis.unix_socket_path:
        ours, path = redis.unix_socket_path, "redis.unixSocketPath"
    else:
        ours, path = (_host(redis.host), redis.port), "redis.host"
    main = said.get("redis.sentinels") or said["redis.host"]
    if isinstance(theirs, Unknown):
        return [yellow(WHAT, _unknown(str(main)))]
    if ours == theirs or one_redis:
        return []
    if path == "redis.host" and only_around(redis.host, main.value):
        return [red(WHAT, mismatch(path, main, loaded))]
    shown = (
        f"Redis is {_address_text(ours)} here ({path} from {loaded.set_by(path)}), but "
        f"{_address_text(theirs)} in Superset ({main})"
    )
    remedy = f"{_address_change(said, loaded, ours, theirs)} here, or change {_line(main)}"
    if one_redis is None and (not isinstance(ours, tuple) or ours[0] != theirs[0]):
        return [
            yellow(
                WHAT,
                f"{shown}, and from here it can't be told whether that is the same server: if it "
                f"is another, {remedy}",
            )
        ]
    return [red(WHAT, f"{shown}: events would be written to a Redis that nobody reads; {remedy}")]


def _address(said: dict[str, Said]) -> Any:
    if "redis.sentinels" in said:
        sentinels = said["redis.sentinels"].value
        return sentinels if isinstance(sentinels, Unknown) else tuple(sorted(sentinels))
    path = said.get("redis.unixSocketPath")
    if path and path.value and not isinstance(path.value, Unknown):
        return path.value
    host, port = said["redis.host"].value, said["redis.port"].value
    if isinstance(host, Unknown) or isinstance(port, Unknown):
        return names.UNKNOWN
    return (_host(host), port)


def _host(host: str) -> str:
    return "127.0.0.1" if is_loopback(host) else host.lower()


def _address_text(address: Any) -> str:
    if isinstance(address, str):
        return address
    if len(address) == 2 and isinstance(address[1], int):
        return f"{address[0]}:{address[1]}"
    return f"the Sentinels {', '.join(address)}"


def _address_change(said: dict[str, Said], loaded: Loaded, ours: Any, theirs: Any) -> str:
    if "redis.sentinels" in said:
        return change("redis.sentinels", loaded, said["redis.sentinels"].value)
    if isinstance(theirs, str):
        return change("redis.unixSocketPath", loaded, theirs)
    changes = []
    if not isinstance(ours, tuple) or ours[0] != theirs[0]:
        changes.append(change("redis.host", loaded, said["redis.host"].value))
    if isinstance(ours, tuple) and ours[1:] != theirs[1:]:
        changes.append(change("redis.port", loaded, theirs[1]))
    return " and ".join(changes)


def _line(said: Said) -> str:
    """The line of Superset's settings that must be changed."""
    return said.where.line_text or f"{said.setting} in superset_config.py"


def _unknown(setting: str) -> str:
    return (
        f"{setting} can't be known here, since it is made with something that is not installed: "
        "compare it by hand, or name Superset's own interpreter with --python"
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "empty"
