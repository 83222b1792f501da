# SPDX-License-Identifier: Apache-2.0
"""The URL of a Redis, read as redis-py reads it. Pure.

Knows neither settings nor redis-py, which must not be imported before gevent has patched. No part
of a URL appears in an error: it may contain a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from wsgi_ws.config.meanings import (
    REDIS_HOST,
    REDIS_PORT,
    BadValue,
    certificate_requirement,
    valid_port,
)

SCHEMES = ("redis", "rediss", "unix")
# Options of redis-py that are this server's own business.
FOREIGN_OPTIONS = frozenset(
    "client_name decode_responses encoding encoding_errors health_check_interval legacy_responses "
    "lib_name lib_version max_connections protocol retry_on_error retry_on_timeout "
    "socket_connect_timeout socket_keepalive socket_read_size socket_timeout timeout".split()
)


def parse_url(url: str) -> tuple[dict[str, Any], list[str]]:
    """What a URL says, as fields of the settings' `redis` block, and its options without effect.

    Host, port, database and TLS are always said, username and password only when they are there.

    :raises BadValue: when it is no URL of a Redis; the text follows a name: `must begin with …`.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Its text may quote what is half of a password.
        raise BadValue(
            "has no valid host and port; in a password, write / as %2F, ? as %3F, # as %23, "
            "@ as %40 and % as %25"
        ) from None
    if parts.scheme not in SCHEMES:
        raise BadValue(
            "must begin with redis://, rediss:// (TLS) or unix:// (for Sentinel, set "
            "redis.sentinels and redis.sentinelMaster)"
        )
    if parts.fragment:
        raise BadValue("contains a #: in a password, write it as %23")
    fields, ignored = _options(parts.query)
    if parts.scheme == "unix":
        fields = {"unix_socket_path": _socket_path(parts), "ssl": False, "db": 0} | fields
    else:
        fields = {
            "unix_socket_path": "",
            "host": unquote(parts.hostname or REDIS_HOST),
            "port": valid_port(port, REDIS_PORT),
            "ssl": parts.scheme == "rediss",
            "db": _database(unquote(parts.path)),
        } | fields
    if parts.username:
        fields["username"] = unquote(parts.username)
    if parts.password:
        fields["password"] = unquote(parts.password)
    if "password" in fields:
        fields.setdefault("username", "default")
    return fields, ignored


def _socket_path(parts: SplitResult) -> str:
    if parts.hostname or not parts.path:
        raise BadValue("needs three slashes and an absolute path: unix:///run/redis.sock")
    return unquote(parts.path)


def _database(path: str) -> int:
    if not re.fullmatch(r"/?[0-9]*/?", path):
        raise BadValue(
            "has a path that is no database number, like the 0 in redis://host:6379/0; in a "
            "password, write / as %2F"
        )
    return int(path.strip("/") or 0)


# --- options behind the ? ------------------------------------------------------------------------


def _options(query: str) -> tuple[dict[str, Any], list[str]]:
    fields: dict[str, Any] = {}
    ignored: list[str] = []
    for name, values in parse_qs(query).items():
        if name in FOREIGN_OPTIONS:
            ignored.append(name)
            continue
        if name not in _OPTIONS:
            raise BadValue("has an unknown option behind ?; in a password, write ? as %3F")
        field, parse = _OPTIONS[name]
        try:
            fields[field] = parse(values[0])
        except ValueError:
            raise BadValue(f"has an option {name} with a value that is not allowed") from None
    return fields, ignored


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise ValueError
    return int(text)


def _boolean(text: str) -> bool:
    return text.upper() not in ("0", "F", "FALSE", "N", "NO")  # redis-py's list


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "db": ("db", _number),
    "username": ("username", str),
    "password": ("password", str),
    "ssl_ca_certs": ("ssl_ca_certs", str),
    "ssl_certfile": ("ssl_certfile", str),
    "ssl_keyfile": ("ssl_keyfile", str),
    "ssl_cert_reqs": ("ssl_cert_reqs", certificate_requirement),
    "ssl_check_hostname": ("validate_hostname", _boolean),
}
