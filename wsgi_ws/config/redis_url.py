# SPDX-License-Identifier: Apache-2.0
"""Where a Redis is, in text form: URLs, read as redis-py reads them, and a Sentinel's host:port.

Pure; knows neither settings nor redis-py, which must not be imported before gevent has patched. No
part of an address appears in an error: it may contain a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
SCHEMES = ("redis", "rediss", "unix")
# Options of redis-py that are this server's own business.
FOREIGN_OPTIONS = frozenset(
    "client_name decode_responses encoding encoding_errors health_check_interval legacy_responses "
    "lib_name lib_version max_connections protocol retry_on_error retry_on_timeout "
    "socket_connect_timeout socket_keepalive socket_read_size socket_timeout timeout".split()
)
_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<name>[^:\[\]\s/@]+))(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<bare>[^\[\]]+)"  # an IPv6 address without port
)


class BadAddress(Exception):
    """The text follows a name: "<name> has no scheme …", without anything of the address itself."""


def parse_url(url: str) -> tuple[dict[str, Any], list[str]]:
    """What a URL says, as fields of the settings' `redis` block, and its options without effect.

    Host, port, database and TLS are always said, username and password only when they are there.

    :raises BadAddress: when it is no URL of a Redis.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Its text may quote what is half of a password.
        raise BadAddress(
            "has no valid host and port; in a password, write / as %2F, ? as %3F, # as %23, "
            "@ as %40 and % as %25"
        ) from None
    if parts.scheme not in SCHEMES:
        raise BadAddress(
            "must begin with redis://, rediss:// (TLS) or unix:// (for Sentinel, set "
            "redis.sentinels and redis.sentinelMaster)"
        )
    if parts.fragment:
        raise BadAddress("contains a #: in a password, write it as %23")
    fields, ignored = _options(parts.query)
    if parts.scheme == "unix":
        fields = {"unix_socket_path": _socket_path(parts), "ssl": False, "db": 0} | fields
    else:
        fields = {
            "unix_socket_path": "",
            "host": unquote(parts.hostname or DEFAULT_HOST),
            "port": _valid_port(port, DEFAULT_PORT),
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


def split_address(text: str, default_port: int = DEFAULT_SENTINEL_PORT) -> tuple[str, int]:
    """Host and port of `host:port`, `host`, `[IPv6]:port` or an IPv6 address.

    :raises BadAddress: when it is none of these.
    """
    found = _HOST_AND_PORT.fullmatch(text)
    if not found:
        raise BadAddress("is not of the form host:port")
    host = found["name"] or found["bracketed"] or found["bare"]
    if not found["name"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise BadAddress("is not of the form host:port") from None
    port = found["port"]
    return host, _valid_port(int(port) if port else None, default_port)


def _socket_path(parts: SplitResult) -> str:
    if parts.hostname or not parts.path:
        raise BadAddress("needs three slashes and an absolute path: unix:///run/redis.sock")
    return unquote(parts.path)


def _database(path: str) -> int:
    if not re.fullmatch(r"/?[0-9]*/?", path):
        raise BadAddress(
            "has a path that is no database number, like the 0 in redis://host:6379/0; in a "
            "password, write / as %2F"
        )
    return int(path.strip("/") or 0)


def _valid_port(port: int | None, default: int) -> int:
    if port is None:
        return default
    if not 1 <= port <= 65535:
        raise BadAddress("has a port that is not between 1 and 65535")
    return port


# --- options behind the ? ------------------------------------------------------------------------


def _options(query: str) -> tuple[dict[str, Any], list[str]]:
    fields: dict[str, Any] = {}
    ignored: list[str] = []
    for name, values in parse_qs(query).items():
        if name in FOREIGN_OPTIONS:
            ignored.append(name)
            continue
        if name not in _OPTIONS:
            raise BadAddress("has an unknown option behind ?; in a password, write ? as %3F")
        field, parse = _OPTIONS[name]
        try:
            fields[field] = parse(values[0])
        except ValueError:
            raise BadAddress(f"has an option {name} with a value that is not allowed") from None
    return fields, ignored


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise ValueError
    return int(text)


def _boolean(text: str) -> bool:
    return text.upper() not in ("0", "F", "FALSE", "N", "NO")  # redis-py's list


def _requirement(text: str) -> str:
    """`none` or `required`; Celery spells them CERT_NONE. `optional` is the same for a client."""
    word = text.lower().removeprefix("cert_")
    if word not in ("none", "optional", "required"):
        raise ValueError
    return "none" if word == "none" else "required"


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "db": ("db", _number),
    "username": ("username", str),
    "password": ("password", str),
    "ssl_ca_certs": ("ssl_ca_certs", str),
    "ssl_certfile": ("ssl_certfile", str),
    "ssl_keyfile": ("ssl_keyfile", str),
    "ssl_cert_reqs": ("ssl_cert_reqs", _requirement),
    "ssl_check_hostname": ("validate_hostname", _boolean),
}
