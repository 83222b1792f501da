# SPDX-License-Identifier: Apache-2.0
"""What single values of the configuration can't tell: whether they make sense together, and whether
the files that they name can be used."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from wsgi_ws.redis_address import BadAddress, split_address
from wsgi_ws.settings import ConfigError, RedisSettings, Settings, redis_key, shown

SECRET_MIN_BYTES = 32  # the seed's rule: a shorter HMAC secret can be guessed offline
UNIX_PATH_MAX_BYTES = 107  # what the kernel takes as a socket's address


def check_whole(settings: Settings, sources: Mapping[str, str], warnings: list[str]) -> None:
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
    if settings.metrics_port == settings.port:
        raise ConfigError(
            f"metricsPort (from {sources.get('metricsPort')}) is {settings.metrics_port}, the port "
            "of the service itself: choose another, or 0 for none"
        )
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
                f"trustedProxies (from {sources.get('trustedProxies')}) contains {shown(text)}: "
                "write addresses or networks, like 127.0.0.1 or 10.0.0.0/8"
            ) from None


def _check_redis(redis: RedisSettings, sources: Mapping[str, str], warnings: list[str]) -> None:
    def source(name: str) -> str:
        return sources.get(redis_key(name), "the defaults")

    def warn_of(names: Iterable[str], why: str) -> None:
        """One line about the keys among these that were changed in vain."""
        default = RedisSettings()
        vain = [n for n in names if getattr(redis, n) != getattr(default, n)]
        if vain:
            keys = ", ".join(f"{redis_key(n)} (from {source(n)})" for n in vain)
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
                f"redis.sentinels (from {source('sentinels')}) contains {shown(text)}, which "
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
                f"{redis_key(name)} (from {source(name)}): {path} can't be read "
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
