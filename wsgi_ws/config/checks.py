# SPDX-License-Identifier: Apache-2.0
"""Checks of the whole configuration: its values fit together, and the files that they name can be
used."""

from __future__ import annotations

import importlib.util
import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import (
    JWT_ALGORITHMS,
    SYMMETRIC_ALGORITHMS,
    USUAL_USER,
    RedisSettings,
    Settings,
    keys,
    redis_key,
)
from wsgi_ws.config.meanings import BadValue, around
from wsgi_ws.config.set_by import Kind
from wsgi_ws.superset.names import SEVEN, SIX

SECRET_MIN_BYTES = 32  # the seed's rule: a shorter HMAC secret can be guessed offline
_THEIRS = f"{SIX.secret} ({SEVEN.secret} from Superset 7 on)"
UNIX_PATH_MAX_BYTES = 107  # what the kernel takes as a socket's address


def check_whole(draft: Draft) -> None:
    """Record every problem and every doubt of a draft that has all its levels."""
    by_sentinel = bool(draft.right_values().get("redis.sentinels"))  # even if none is an address
    _check_meanings(draft)
    _check_wrapping(draft)
    settings = draft.settings()
    _check_secret(draft, settings.jwt_secret)
    if settings.previous_jwt_secret:
        _check_previous_secret(draft, settings)
    _check_algorithms(draft, settings.jwt_algorithms)
    if settings.metrics_port == settings.port and "port" not in draft.problems:
        draft.reject(
            "metricsPort",
            f"{draft.named('metricsPort')} is {settings.metrics_port}, the port of the service "
            "itself: choose another, or 0 for none",
        )
    _check_redis(draft, settings.redis, by_sentinel=by_sentinel)
    if not settings.redis_stream_prefix:
        draft.reject(
            "redisStreamPrefix",
            "redisStreamPrefix is empty: it must be Superset's "
            "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX, by default async-events-",
        )


def _check_meanings(draft: Draft) -> None:
    """Convert each value once. Only the level that wins is asked: the others have no effect."""
    for key in keys():
        if key.path in draft.values:
            try:
                key.meaning(draft.values[key.path])
            except BadValue as error:
                draft.reject(key.path, f"{draft.named(key.path)} {error}")


def _check_wrapping(draft: Draft) -> None:
    """Warn of texts with quotation marks or white space around them, which nobody sees."""
    for key in keys():
        value = draft.right_values().get(key.path)
        wrapped = around(value) if isinstance(value, str) else ""
        if wrapped and draft.set_by(key.path).kind is not Kind.SUPERSET:  # both sides have it
            unless = ", unless the other side has it so too" if key.secret else ""
            draft.warnings.append(
                f"{draft.named(key.path)} has {wrapped} around it, as a part of the value: write "
                f"it without{unless} (an env file is no shell)"
            )


def _check_algorithms(draft: Draft, algorithms: Sequence[str]) -> None:
    where = draft.named("jwtAlgorithms")
    unknown = [name for name in algorithms if name not in JWT_ALGORITHMS]
    asymmetric = [name for name in algorithms if name not in SYMMETRIC_ALGORITHMS]
    problem = ""
    if not algorithms:
        problem = f"{where} is empty: name at least one algorithm, usually HS256"
    elif any(name.lower() == "none" for name in algorithms):
        problem = f"{where} contains none, which would admit forged cookies: remove it"
    elif unknown:
        problem = f"{where} contains {', '.join(unknown)}: allowed are {', '.join(JWT_ALGORITHMS)}"
    elif asymmetric and importlib.util.find_spec("cryptography") is None:
        problem = (
            f"{where} contains {', '.join(asymmetric)}, which need a library that is not "
            "installed: pip install cryptography"
        )
    if problem:
        draft.reject("jwtAlgorithms", problem)


def _check_redis(draft: Draft, redis: RedisSettings, *, by_sentinel: bool) -> None:
    def warn_of(names: Iterable[str], why: str) -> None:
        """Warn in one line of those keys that somebody has set without effect.

        Says nothing while a key of Redis is wrong: the effect of the others isn't known.
        """
        default = RedisSettings()
        vain = [redis_key(n) for n in names if getattr(redis, n) != getattr(default, n)]
        if vain and not any(path.startswith("redis") for path in draft.problems):
            draft.warnings.append(f"without effect {why}: {draft.all_named(vain)}")

    _check_login(draft, "username", "password")
    names = [f.name for f in fields(redis)]
    if by_sentinel:
        _check_master(draft, redis.sentinel_master)
        _check_login(draft, "sentinel_username", "sentinel_password")
        warn_of(("host", "port", "unix_socket_path"), "beside redis.sentinels")
        tls = redis.ssl or redis.sentinel_ssl
    else:
        warn_of((n for n in names if n.startswith("sentinel_")), "without sentinels")
        if redis.unix_socket_path:
            _check_socket_path(draft, redis.unix_socket_path)
            warn_of(("host", "port", "ssl"), "beside redis.unixSocketPath")
        tls = redis.ssl and not redis.unix_socket_path
    if tls:
        _check_tls(draft, redis)
    else:
        warn_of((n for n in names if n.startswith("ssl_")), "without redis.ssl")


def _check_login(draft: Draft, user: str, password: str) -> None:
    """A user is used together with a password only, as in the seed."""
    path, needed = redis_key(user), redis_key(password)
    values = draft.right_values()
    name = values.get(path, USUAL_USER)
    if name in ("", USUAL_USER) or values.get(needed) or needed in draft.problems:
        return
    draft.warnings.append(
        f"{draft.named(path)} is {name}, without effect without {needed}: the service does not log "
        f"in, so its user is {USUAL_USER}; set the password too, or leave out the name"
    )


def _check_master(draft: Draft, name: str) -> None:
    if not name:
        draft.reject(
            "redis.sentinelMaster",
            f"{draft.named('redis.sentinels')} needs redis.sentinelMaster: the name after "
            "`sentinel monitor` in the Sentinels' configuration, often mymaster",
        )


def _check_socket_path(draft: Draft, path: str) -> None:
    if len(os.fsencode(path)) > UNIX_PATH_MAX_BYTES:
        draft.reject(
            "redis.unixSocketPath",
            f"{draft.named('redis.unixSocketPath')} is longer than {UNIX_PATH_MAX_BYTES} bytes, "
            "which no socket can be: shorten it, in Redis's `unixsocket` too",
        )


def _check_tls(draft: Draft, redis: RedisSettings) -> None:
    """Load the files once, so that a wrong one stops the start instead of every connection."""
    if redis.ssl_cert_reqs == "none":
        draft.warnings.append(
            f"{draft.named('redis.sslCertReqs')} is none: any server is believed to be Redis; name "
            "its certificate's CA in redis.sslCaCerts instead"
        )
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = getattr(redis, name)
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            draft.reject(
                redis_key(name),
                f"{draft.named(redis_key(name))}: {path} can't be read ({error.strerror}): name a "
                "file in PEM form that this process may read",
            )
    if redis.ssl_keyfile and not redis.ssl_certfile:
        draft.reject(
            "redis.sslKeyfile",
            f"{draft.named('redis.sslKeyfile')} needs redis.sslCertfile: the certificate that "
            "belongs to the key",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if redis.ssl_ca_certs:
            context.load_verify_locations(redis.ssl_ca_certs)
    except OSError:
        draft.reject(
            "redis.sslCaCerts",
            f"{draft.named('redis.sslCaCerts')}: {redis.ssl_ca_certs} holds no certificates in PEM "
            "form: name the file of the CA that signed Redis's",
        )
    try:
        if redis.ssl_certfile and "redis.sslKeyfile" not in draft.problems:
            # The empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(redis.ssl_certfile, redis.ssl_keyfile or None, password="")
    except OSError as error:
        draft.reject(
            "redis.sslCertfile",
            f"{draft.named('redis.sslCertfile')}: {redis.ssl_certfile} can't be used ({error}): it "
            "must be a certificate in PEM form, and redis.sslKeyfile, or the same file, its key, "
            "not encrypted",
        )


def _check_secret(draft: Draft, secret: str) -> None:
    size = _bytes_of(draft, "jwtSecret", secret)
    source = draft.sources.get("jwtSecret")
    if size is not None and size < SECRET_MIN_BYTES:
        found = f"{_has_bytes(size)} (from {source})" if source else "is not set"
        draft.reject(
            "jwtSecret",
            f"jwtSecret {found} and needs at least {SECRET_MIN_BYTES} bytes: set JWT_SECRET or "
            f"jwtSecret to the value of {_THEIRS} in Superset",
        )
    if _is_public(secret):
        draft.warnings.append(
            f"{draft.named('jwtSecret')} is the example's: anybody can forge cookies with it; "
            f"set the same long random value here and in Superset's {_THEIRS}"
        )


def _check_previous_secret(draft: Draft, settings: Settings) -> None:
    """It admits like the current one, so no less is asked of it."""
    secret, path = settings.previous_jwt_secret, "previousJwtSecret"
    size = _bytes_of(draft, path, secret)
    if size is not None and size < SECRET_MIN_BYTES:
        draft.reject(
            path,
            f"{path} {_has_bytes(size)} (from {draft.set_by(path)}) and needs at least "
            f"{SECRET_MIN_BYTES} bytes: set it to the value that {_THEIRS} had in Superset before, "
            "or leave it empty",
        )
    if secret == settings.jwt_secret:
        draft.warnings.append(
            f"{draft.named(path)} is the same as jwtSecret and does nothing: set it to the value "
            f"that {_THEIRS} had in Superset before, or remove it"
        )
    elif _is_public(secret):
        draft.warnings.append(
            f"{draft.named(path)} is the example's: anybody can forge cookies with it, as long as "
            "it is set; remove it"
        )


def _bytes_of(draft: Draft, path: str, secret: str) -> int | None:
    try:
        return len(secret.encode())
    except UnicodeEncodeError:
        draft.reject(path, f"{draft.named(path)} is not valid UTF-8")
        return None


def _has_bytes(size: int) -> str:
    return f"has {size} byte{'' if size == 1 else 's'}"


def _is_public(secret: str) -> bool:
    """Whether it is the value of `config.example.json`, as far as people change that."""
    return secret.strip("\"' ").upper().startswith("CHANGE-ME")
