# SPDX-License-Identifier: Apache-2.0
"""What a value of the file means."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from wsgi_ws.config.meanings import (
    BadValue,
    certificate_requirement,
    host,
    networks,
    seconds,
    sentinels,
)


def test_a_duration_is_used_in_seconds() -> None:
    assert seconds(1500) == 1.5


# --- hosts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["redis", "redis.", "redis_1", "10.0.0.1", "::1", "fe80::1%eth0", "", "bücher.example"]
)
def test_a_name_or_address_that_can_be_looked_up(text: str) -> None:
    assert host(text) == text


@pytest.mark.parametrize("text", ["redis..svc", ".redis", "x" * 64, "\udcff"])
def test_a_name_that_makes_the_resolver_raise_is_none(text: str) -> None:
    with pytest.raises(UnicodeError):
        socket.getaddrinfo(text, 1)
    with pytest.raises(BadValue, match="which no host can be called"):
        host(text)


# --- trusted proxies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("127.0.0.1", "127.0.0.1/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.7/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_an_address_or_network_of_a_proxy(text: str, network: str) -> None:
    assert networks([text]) == (ip_network(network),)


def test_what_is_no_address_is_named() -> None:
    with pytest.raises(BadValue, match=r'contains "proxy\.local"'):
        networks(["127.0.0.1", "proxy.local"])


# --- certificates --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["none", "NONE", "CERT_NONE"])
def test_words_for_no_verification(word: str) -> None:
    assert certificate_requirement(word) == "none"


@pytest.mark.parametrize("word", ["required", "optional", "CERT_REQUIRED", "cert_optional"])
def test_words_for_a_verification(word: str) -> None:
    assert certificate_requirement(word) == "required"


@pytest.mark.parametrize("word", ["", "no", "0", "cert_"])
def test_any_other_word_for_a_verification_is_refused(word: str) -> None:
    with pytest.raises(BadValue):
        certificate_requirement(word)


# --- Sentinels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h", ("h", 26379)),
        ("h:1", ("h", 1)),
        ("sentinel-0.example.org:26380", ("sentinel-0.example.org", 26380)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:1", ("::1", 1)),
        ("[::1]", ("::1", 26379)),
        ("::1", ("::1", 26379)),
    ],
)
def test_an_address_of_a_sentinel(text: str, address: tuple[str, int]) -> None:
    (found,) = sentinels([text])
    assert (found.host, found.port, str(found)) == (*address, text)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "h:", "h:x", "h:0", "h:65536", "h 1", "redis://h:1", "u@h:1", "[h]:1", "a:1:2"],
)
def test_what_is_no_address_of_a_sentinel_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        sentinels([text])


def test_a_number_that_no_time_can_be_is_named() -> None:
    with pytest.raises(BadValue, match="longer than any time"):
        seconds(10**400)
