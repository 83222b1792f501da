# SPDX-License-Identifier: Apache-2.0
"""Superset's own settings: does it publish, to a Redis, and may browsers have a cookie? No I/O.

The values that this server must have too are compared in `values`; what browsers need on top is in
`browser`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsgi_ws.cli.checks.words import (
    SUPERSET,
    Finding,
    change,
    green,
    is_followed,
    red,
    unknown,
    yellow,
)
from wsgi_ws.config.from_superset import names_redis
from wsgi_ws.config.load import Loaded
from wsgi_ws.superset import names
from wsgi_ws.superset.names import SECRET_MIN_CHARACTERS, SEVEN, SIX, Generation
from wsgi_ws.superset.settings import (
    Said,
    SupersetSettings,
    Unknown,
    generations,
    redis_setting,
    surprises,
)
from wsgi_ws.transport import Transport
from wsgi_ws.wording import counted

RENEWED_AT = 0.6  # of its token's lifetime a page of Superset 7 renews its socket
HIDDEN_TAB_DELAY = 60  # seconds by which browsers hold up the timers of a tab that is not looked at
# What took the place of settings that Superset 7 doesn't read any more.
SUCCESSORS = {
    names.TRANSPORT: names.ENABLE,
    names.CACHE_BACKEND: names.COORDINATION,
    names.REDIS_CONFIG: names.COORDINATION,
    SIX.url: SEVEN.url,
    SIX.secret: SEVEN.secret,
    SIX.cookie_name: SEVEN.cookie_name,
    SIX.cookie_secure: SEVEN.cookie_secure,
    SIX.cookie_samesite: SEVEN.cookie_samesite,
    SIX.cookie_domain: SEVEN.cookie_domain,
}


def compared(superset: SupersetSettings) -> tuple[Generation, ...]:
    """The generations that are looked at.

    Without its TRANSPORT, Superset up to 6.1 has no WebSocket: its other settings are remains of
    an upgrade then.
    """
    present = generations(superset)
    if len(present) == 2 and not superset.is_set(names.TRANSPORT):
        return (SEVEN,)
    return present


def transport_of(generation: Generation) -> Transport:
    """Which transport a Superset uses."""
    return Transport.STREAMS if generation is SIX else Transport.REALTIME


def check_superset(superset: SupersetSettings, loaded: Loaded) -> list[Finding]:
    """All that the settings tell by themselves."""
    looked_at = compared(superset)
    findings = [*check_reading(superset), *check_flag(superset, looked_at)]
    if SIX in looked_at:
        findings += check_transport(superset)
        findings += check_redis_setting(superset)
    if SEVEN in looked_at:
        findings += check_enabled(superset)
        findings += check_coordination(superset)
        findings += check_remains(superset)
        findings += check_lifetime(superset)
    findings += check_surprises(superset, loaded)
    for generation in looked_at:
        findings += check_followed(generation, looked_at, loaded)
        findings += check_secret(superset, generation)
    findings += check_result_cache(superset)
    return findings


def check_reading(superset: SupersetSettings) -> Iterator[Finding]:
    """Superset's settings were read, perhaps without packages that are missing here."""
    if not superset.missing:
        yield green(SUPERSET, f"{superset.file} was read")
        return
    be = "is" if len(superset.missing) == 1 else "are"
    without = (
        f"{superset.file} was read without {', '.join(superset.missing)}, which {be} not installed "
        "here"
    )
    if superset.is_complete:
        yield green(SUPERSET, f"{without}; nothing that is compared depends on it")
    else:
        yield yellow(
            SUPERSET,
            f"{without}: values that depend on it are unknown or guessed; --python names "
            "Superset's own interpreter, which has it",
        )


def check_flag(superset: SupersetSettings, looked_at: tuple[Generation, ...]) -> Iterator[Finding]:
    """Without its feature flag Superset up to 6.1 sets no cookie and writes no events.

    Superset 7 does, of other things than charts.
    """
    on = superset.item("FEATURE_FLAGS", names.FLAG)
    if on is None:
        on = superset.item("DEFAULT_FEATURE_FLAGS", names.FLAG)
    if on is None and superset.flag_in_environment.lower() in ("1", "true", "y", "yes", "t", "on"):
        on = True
    if isinstance(on, Unknown):
        yield yellow(SUPERSET, unknown("FEATURE_FLAGS"))
    elif on:
        yield green(SUPERSET, f"{names.FLAG} is on in FEATURE_FLAGS")
    elif looked_at == (SEVEN,):
        yield yellow(SUPERSET, _about_flag(superset, on, "no chart waits for a message"))
    else:
        consequence = "Superset sets no cookie and writes no events"
        yield red(SUPERSET, _about_flag(superset, on, consequence))


def _about_flag(superset: SupersetSettings, value: Any, consequence: str) -> str:
    remedy = f'write FEATURE_FLAGS = {{"{names.FLAG}": True}}'
    if superset.is_set("FEATURE_FLAGS"):  # the other flags must stay
        remedy = f'add "{names.FLAG}": True to FEATURE_FLAGS ({superset.where("FEATURE_FLAGS")})'
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
        yield yellow(SUPERSET, unknown(said.setting))
    elif said.value == "ws":
        yield green(SUPERSET, f'{names.TRANSPORT} is "ws"')
    else:
        yield red(
            SUPERSET,
            f"{names.TRANSPORT} is {said.value!r} ({said.where}), so browsers poll Superset and "
            f'never connect here: {names.TRANSPORT} = "ws"',
        )


def check_surprises(superset: SupersetSettings, loaded: Loaded) -> Iterator[Finding]:
    """Superset ignores parts of the settings for Redis's address."""
    for sentence in surprises(superset):
        if sentence not in loaded.warnings:  # where they are if supersetConfig is set
            yield yellow(SUPERSET, sentence)


def check_redis_setting(superset: SupersetSettings) -> Iterator[Finding]:
    """Superset up to 6.1 has an old and a new setting for Redis's address."""
    if redis_setting(superset, SIX) == names.REDIS_CONFIG:
        return
    backend = superset.where(names.CACHE_BACKEND)
    kind = superset.item(names.CACHE_BACKEND, "CACHE_TYPE")
    if _is_no_redis(kind):
        yield red(
            SUPERSET,
            f"{names.CACHE_BACKEND} ({backend}) has CACHE_TYPE {kind!r}: only RedisCache and "
            "RedisSentinelCache carry events",
        )
    elif superset.is_set(names.REDIS_CONFIG):
        yield yellow(
            SUPERSET,
            f"{names.REDIS_CONFIG} ({superset.where(names.REDIS_CONFIG)}) has no effect beside "
            f"{names.CACHE_BACKEND} ({backend}), which is compared here: remove it, unless this "
            "Superset is older than 5.0",
        )


def check_enabled(superset: SupersetSettings) -> Iterator[Finding]:
    """Superset 7 has one switch for its sockets."""
    said = superset.said(names.ENABLE)
    if isinstance(said.value, Unknown):
        yield yellow(SUPERSET, unknown(said.setting))
    elif said.value:
        yield green(
            SUPERSET,
            f"{names.ENABLE} is on; who has no role with can_read on Realtime (Gamma has it) gets "
            "no cookie all the same, and polls without an error",
        )
    else:
        yield red(
            SUPERSET,
            f"{names.ENABLE} is {said.value!r} ({said.where}), so Superset 7 sets no cookie, and "
            f"browsers never connect here: {names.ENABLE} = True",
        )


def check_coordination(superset: SupersetSettings) -> Iterator[Finding]:
    """Without a Redis to publish to Superset 7 publishes nothing, and says nothing about it."""
    where = superset.where(names.COORDINATION)
    kind = superset.item(names.COORDINATION, "CACHE_TYPE")
    if not names_redis(superset, SEVEN):
        yield red(
            SUPERSET,
            f"{names.COORDINATION} is not set ({where}), so Superset 7 publishes nothing and logs "
            "nothing: browsers connect, and nothing ever arrives; write "
            f'{names.COORDINATION} = {{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "…"}}, with '
            "the Redis of here",
        )
    elif _is_no_redis(kind):
        yield red(
            SUPERSET,
            f"{names.COORDINATION} ({where}) has CACHE_TYPE {kind!r}, with which Superset 7 "
            "publishes nothing: write RedisCache or RedisSentinelCache",
        )


def check_lifetime(superset: SupersetSettings) -> Iterator[Finding]:
    """How long Superset 7's tokens last, and the cookies that they are in."""
    said = superset.said(names.LIFETIME)
    seconds = said.value
    if isinstance(seconds, Unknown):
        yield yellow(SUPERSET, unknown(said.setting))
    elif not isinstance(seconds, int | float):
        yield red(
            SUPERSET,
            f"{names.LIFETIME} is {seconds!r} ({said.where}), with which Superset 7 can't sign a "
            f"token: write a number of seconds, by default {names.DEFAULTS[names.LIFETIME]}",
        )
    elif seconds <= 0:
        yield red(
            SUPERSET,
            f"{names.LIFETIME} is {seconds} ({said.where}), so each cookie has expired when it is "
            "set, and every browser is refused: write a number of seconds, by default "
            f"{names.DEFAULTS[names.LIFETIME]}",
        )
    elif seconds * (1 - RENEWED_AT) < HIDDEN_TAB_DELAY:
        yield yellow(SUPERSET, _about_short_life(said))


def _about_short_life(said: Said) -> str:
    return (
        f"{said.setting} is {said.value} ({said.where}): every page asks Superset and renews its "
        f"socket each {said.value * RENEWED_AT:g} s, and is without one meanwhile; Superset renews "
        "the cookie only when less than half of that time is left, and browsers hold up the timers "
        "of hidden tabs for up to a minute, so sockets are closed with 1008 before, and an idle "
        "page is then refused until somebody clicks; clocks may not differ by "
        f"{said.value:g} s either: write {names.DEFAULTS[names.LIFETIME]}, the default"
    )


def check_remains(superset: SupersetSettings) -> Iterator[Finding]:
    """Settings that only Superset up to 6.1 reads, and what to write in their place."""
    old = sorted(name for name in superset.values if name.startswith(names.OF_SIX))
    missing = {SUCCESSORS[name] for name in old if name in SUCCESSORS} - set(superset.values)
    if not old:
        return
    first = f"{old[0]} ({superset.where(old[0])})"
    rest = f" and {counted(len(old) - 1, 'other setting')} like it" if len(old) > 1 else ""
    have = "have" if rest else "has"
    instead = f"write {', '.join(sorted(missing))} too, and " if missing else ""
    yield yellow(
        SUPERSET,
        f"{first}{rest} {have} no effect in Superset 7: {instead}remove what is old when no "
        "Superset up to 6.1 reads this file any more",
    )


def check_followed(
    generation: Generation, looked_at: tuple[Generation, ...], loaded: Loaded
) -> Iterator[Finding]:
    """This server must follow the transport that Superset has."""
    transport = transport_of(generation)
    if is_followed(transport, loaded):
        return
    both = len(looked_at) == 2
    make = yellow if both else red
    yield make(
        SUPERSET,
        f"transports is {loaded.settings.transports} (from {loaded.set_by('transports')}), so "
        f"nothing of {generation.version} is followed, whose transport is {transport.value}: "
        f"{change('transports', loaded, 'both' if both else transport.value)}",
    )


def _is_no_redis(kind: Any) -> bool:
    return kind not in ("RedisCache", "RedisSentinelCache") and not isinstance(kind, Unknown)


def check_secret(superset: SupersetSettings, generation: Generation) -> Iterator[Finding]:
    """Superset wants a secret of at least 32 characters, and none that everybody knows."""
    said = superset.said(generation.secret)
    if not isinstance(said.value, str):
        return
    if names.is_placeholder(said.value, generation):
        yield red(
            SUPERSET,
            f"{generation.secret} ({said.where}) is a public placeholder, with which Superset 7 "
            "does not start: set a long random one on both sides",
        )
    elif names.must_be_changed(said.value, generation):
        yield red(
            SUPERSET,
            f"{generation.secret} ({said.where}) has {counted(len(said.value), 'character')}, and "
            f"Superset refuses to start async queries with fewer than {SECRET_MIN_CHARACTERS}: set "
            "a long random one on both sides",
        )


def check_result_cache(superset: SupersetSettings) -> Iterator[Finding]:
    """After the event browsers fetch the result from one cache by a query in another: without
    either (Superset's default) they get 422. Workers and web servers must share both."""
    for name in ("CACHE_CONFIG", "DATA_CACHE_CONFIG"):
        kind = superset.item(name, "CACHE_TYPE")
        if not isinstance(kind, Unknown) and _is_no_cache(kind):
            yield red(
                SUPERSET,
                f"{name} ({superset.where(name)}) is no cache that Superset and its workers share: "
                "events arrive, but the results that they announce can't be fetched (422), and no "
                f'chart is drawn; write {name} = {{"CACHE_TYPE": "RedisCache", '
                '"CACHE_REDIS_URL": "redis://…"}',
            )


def _is_no_cache(kind: Any) -> bool:
    return kind in (None, "", "null", "NullCache", "SimpleCache")
