# SPDX-License-Identifier: Apache-2.0
"""What a value of the file means: networks, addresses, seconds. Pure.

Each function takes a value as it stands in the file and returns what the service uses, or raises
`BadValue`: the conversion is the check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from wsgi_ws.web_origin import problem_with

REDIS_HOST = "127.0.0.1"
REDIS_PORT = 6379
SENTINEL_PORT = 26379
# `optional` is no third one: a client either verifies the server's certificate or doesn't.
CERTIFICATE_REQUIREMENTS = ("required", "none")

Network = IPv4Network | IPv6Network

_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<name>[^:\[\]\s/@]+))(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<bare>[^\[\]]+)"  # an IPv6 address without port
)


class BadValue(ValueError):
    """Its text follows the key: `must be true or false, not 5`. No secret is in it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    :ivar text: as it was written, for messages.
    """

    host: str
    port: int
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


def shown(value: Any, secret: bool = False) -> str:
    """A value in a message, as it would stand in the file, and not too long."""
    if secret:
        return "(secret)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def around(text: str) -> str:
    """What is around a text and rarely meant as a part of it, in words; empty when nothing is.

    An env file is no shell: `NAME="value"` there often has the quotation marks in it.
    """
    found = ["quotation marks"] if _is_quoted(text.strip()) else []
    if text.strip() not in ("", text):
        found.append("white space")
    return " and ".join(found)


def only_around(ours: Any, theirs: Any) -> str:
    """What is around one of two texts that are equal but for that, in words; else nothing."""
    if not isinstance(ours, str) or not isinstance(theirs, str) or ours == theirs:
        return ""
    return around(ours) or around(theirs) if _bare(ours) == _bare(theirs) else ""


def without_quotes(text: str) -> str:
    """A remedy for the end of a sentence about a wrong value in quotation marks, else nothing."""
    return "; write it without the quotation marks" if _is_quoted(text.strip()) else ""


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if _is_quoted(text) else text


def seconds(milliseconds: int) -> float:
    """
    :raises BadValue: for a number that no time can be.
    """
    try:
        return milliseconds / 1000
    except OverflowError:
        raise BadValue("is longer than any time") from None


def host(text: str) -> str:
    """A name or address of a host, as Python's resolver takes it: others raise at each look-up, in
    a way that no caller expects.

    :raises BadValue: when it can't even be looked up.
    """
    try:
        text.encode("idna")
    except UnicodeError:
        raise BadValue(
            f"is {shown(text)}, which no host can be called: a part of it is empty, longer than 63 "
            "characters or has a character that no name has"
        ) from None
    return text


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """
    :param texts: addresses or networks in CIDR notation; `10.0.0.7/8` is `10.0.0.0/8`.
    """
    return tuple(map(_network, texts))


def origins(texts: Iterable[str]) -> tuple[str, ...]:
    """
    :param texts: origins of pages, as `https://bi.example.com`; see `web_origin.problem_with`.
    """
    found = tuple(texts)
    for text in found:
        problem = problem_with(text)
        if problem:
            raise BadValue(f"contains {shown(text)}, which matches no page: it {problem}")
    return found


def sentinels(texts: Iterable[str]) -> tuple[Address, ...]:
    """
    :param texts: `host:port`, `host`, `[IPv6]:port` or an IPv6 address.
    """
    return tuple(map(_sentinel, texts))


def valid_port(port: int | None, default: int) -> int:
    """A port that may be left out."""
    if port is None:
        return default
    if not 1 <= port <= 65535:
        raise BadValue("has a port that is not between 1 and 65535")
    return port


def certificate_requirement(word: str) -> str:
    """`none` or `required`, from redis-py's word or from ssl's (`CERT_NONE`), in any case."""
    plain = word.lower().removeprefix("cert_")
    if plain not in (*CERTIFICATE_REQUIREMENTS, "optional"):
        raise BadValue("is neither none nor required")
    return "none" if plain == "none" else "required"


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise BadValue(
            f"contains {shown(text)}: write addresses or networks, like 127.0.0.1 or 10.0.0.0/8"
        ) from None


def _sentinel(text: str) -> Address:
    try:
        host, port = _split(text)
    except BadValue as error:
        raise BadValue(
            f"contains {shown(text)}, which {error}: write host:port, like sentinel-1:26379"
        ) from None
    return Address(host, port, text)


def _split(text: str) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(text)
    if not found:
        raise BadValue("is not of the form host:port")
    name = host(found["name"] or found["bracketed"] or found["bare"])
    if not found["name"]:
        try:
            IPv6Address(name)
        except ValueError:
            raise BadValue("is not of the form host:port") from None
    port = found["port"]
    return name, valid_port(int(port) if port else None, SENTINEL_PORT)
