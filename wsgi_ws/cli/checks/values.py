# SPDX-License-Identifier: Apache-2.0
"""The values that Superset's settings and this server's must have in common. No I/O.

Each generation of Superset is compared by itself: its own names, its own secret and cookie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsgi_ws.addresses import is_loopback
from wsgi_ws.cli.checks.words import SUPERSET, Finding, change, green, red, unknown, yellow
from wsgi_ws.config.from_superset import agree, values_of
from wsgi_ws.config.keys import ADDRESS_KEYS, USUAL_USER, key_of
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.meanings import around, only_around
from wsgi_ws.superset.names import SEVEN, SIX, Generation, must_be_changed
from wsgi_ws.superset.settings import UNKNOWN, Said, SupersetSettings, Unknown

WHY = {
    "redis.host": "no Redis can be found under such a name",
    "redis.db": "events would be written where nobody reads them, and charts load for ever",
    "redisStreamPrefix": "events would be written to streams that nobody reads",
    "realtimeChannelPrefix": (
        "messages would be published to a channel that nobody follows: every page connects, and "
        "nothing ever arrives"
    ),
    "jwtCookieName": "every browser would be refused for want of a cookie",
    "jwtSecret": "every browser would be refused for its signature",
    "jwtAlgorithms": "every browser would be refused for its token's algorithm",
    "jwtChannelIdKey": "no token would have a channel",
}


def check_values(
    superset: SupersetSettings,
    loaded: Loaded,
    generation: Generation,
    *,
    one_redis: bool | None,
) -> Iterator[Finding]:
    """The values that must be equal on both sides; keys that are wrong here are skipped.

    :param one_redis: whether both addresses lead to the same Redis, if it could be found out.
    """
    said = values_of(superset, generation)
    equal = []
    if not said.keys().isdisjoint(ADDRESS_KEYS) and not loaded.wrong_among(
        "redis.url", *ADDRESS_KEYS
    ):
        address = _address_findings(said, loaded, generation, one_redis=one_redis)
        yield from address
        equal = [path for path in said if path in ADDRESS_KEYS and not address]
    for path, value in said.items():
        if path in ADDRESS_KEYS or not _matters(path, said, loaded) or loaded.wrong_among(path):
            continue
        if isinstance(value.value, Unknown):
            yield yellow(SUPERSET, unknown(str(value)))
        elif agree(path, loaded.value(path), value.value):
            equal.append(path)
        elif path == "jwtSecret" and _must_be_changed(value.value, generation):
            continue  # a finding of its own: to copy it would be wrong
        elif path == "jwtSecret" and _is_previous_secret(value.value, loaded):
            if not _is_of_both(superset, loaded):
                yield yellow(SUPERSET, _about_rotation(value, loaded))
        elif path == "jwtSecret" and _has_the_others_secret(superset, generation, loaded):
            yield red(SUPERSET, _about_second_secret(value, loaded))
        else:
            yield red(SUPERSET, mismatch(path, value, loaded))
    if equal:
        yield green(SUPERSET, f"equal on both sides: {', '.join(sorted(equal))}")


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


def _must_be_changed(theirs: Any, generation: Generation) -> bool:
    return isinstance(theirs, str) and must_be_changed(theirs, generation)


def _is_previous_secret(theirs: Any, loaded: Loaded) -> bool:
    return bool(theirs and theirs == loaded.settings.previous_jwt_secret)


def _has_the_others_secret(
    superset: SupersetSettings, generation: Generation, loaded: Loaded
) -> bool:
    """Whether jwtSecret is that of Superset's other generation, in a file for both."""
    other = SIX if generation is SEVEN else SEVEN
    return bool(superset.get(other.secret) == loaded.settings.jwt_secret)


def _about_second_secret(said: Said, loaded: Loaded) -> str:
    return (
        f"jwtSecret (from {loaded.set_by('jwtSecret')}) is the secret of only one of Superset's "
        f"two generations, and differs from {said}: {WHY['jwtSecret']} there; "
        f"{change('previousJwtSecret', loaded, said.value)}, or write one secret into both"
    )


def _is_of_both(superset: SupersetSettings, loaded: Loaded) -> bool:
    """Whether the two secrets are those of Superset's two generations, which need both."""
    secrets = {superset.get(generation.secret) for generation in (SIX, SEVEN)}
    return secrets == {loaded.settings.jwt_secret, loaded.settings.previous_jwt_secret}


def _about_rotation(said: Said, loaded: Loaded) -> str:
    return (
        f"Superset signs with previousJwtSecret (from {loaded.set_by('previousJwtSecret')}), which "
        f"admits beside jwtSecret (from {loaded.set_by('jwtSecret')}): a rotation is under way; "
        f"when every server has both, change {_line(said)} to the value of jwtSecret"
    )


def _matters(path: str, said: dict[str, Said], loaded: Loaded) -> bool:
    redis = loaded.settings.redis
    if path in ("redis.username", "redis.password") and _has_own_user(said, loaded):
        return False
    if path == "redis.username":
        return bool(redis.password or said["redis.password"].value)
    if path == "redis.sentinelPassword":
        return bool(redis.sentinels)
    if path == "redis.sentinelMaster":
        return bool(redis.sentinels)
    return not path.startswith("redis.ssl") or path == "redis.ssl"


def _has_own_user(said: dict[str, Said], loaded: Loaded) -> bool:
    """Whether this server logs in as another user than Superset, who may do less: whether that is
    enough the check of Redis tells."""
    login = said.get("redis.username")  # Superset has none with Sentinels
    theirs = login.value if login and said["redis.password"].value else USUAL_USER
    redis = loaded.settings.redis
    return bool(redis.password) and redis.user != theirs and not isinstance(theirs, Unknown)


def _address_findings(
    said: dict[str, Said], loaded: Loaded, generation: Generation, *, one_redis: bool | None
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
        return [yellow(SUPERSET, unknown(str(main)))]
    if ours == theirs or one_redis:
        return []
    if path == "redis.host" and only_around(redis.host, main.value):
        return [red(SUPERSET, mismatch(path, main, loaded))]
    if _only_port_differs(ours, theirs):
        path, main = "redis.port", said["redis.port"]
    shown = (
        f"Redis is {_address_text(ours)} here ({path} from {loaded.set_by(path)}), but "
        f"{_address_text(theirs)} in Superset ({main})"
    )
    remedy = f"{_address_change(said, loaded, ours, theirs)} here, or change {_line(main)}"
    if one_redis is None and (not isinstance(ours, tuple) or ours[0] != theirs[0]):
        return [
            yellow(
                SUPERSET,
                f"{shown}, and from here it can't be told whether that is the same server: if it "
                f"is another, {remedy}",
            )
        ]
    lost = "events would be written to a Redis that nobody reads"
    if generation is SEVEN:
        lost = "messages would be published in a Redis where nobody follows: nothing ever arrives"
    return [red(SUPERSET, f"{shown}: {lost}; {remedy}")]


def _only_port_differs(ours: Any, theirs: Any) -> bool:
    """Whether both addresses have a host, and it is the same."""
    return all(map(_has_host, (ours, theirs))) and bool(ours[0] == theirs[0])


def _has_host(address: Any) -> bool:
    """Whether an address is a host and its port, and not Sentinels or a path."""
    return isinstance(address, tuple) and len(address) == 2 and isinstance(address[1], int)


def _address(said: dict[str, Said]) -> Any:
    if "redis.sentinels" in said:
        sentinels = said["redis.sentinels"].value
        return sentinels if isinstance(sentinels, Unknown) else tuple(sorted(sentinels))
    path = said.get("redis.unixSocketPath")
    if path and path.value and not isinstance(path.value, Unknown):
        return path.value
    host, port = said["redis.host"].value, said["redis.port"].value
    if isinstance(host, Unknown) or isinstance(port, Unknown):
        return UNKNOWN
    return (_host(host), port)


def _host(host: str) -> str:
    return "127.0.0.1" if is_loopback(host) else host.lower()


def _address_text(address: Any) -> str:
    if isinstance(address, str):
        return address
    if _has_host(address):
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


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "empty"
