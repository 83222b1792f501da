# SPDX-License-Identifier: Apache-2.0
"""Host names, IP addresses and default ports."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from wsgi_ws.addresses import is_loopback, is_loopback_address, port_of, unmapped, unmapped_text


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://bi", 80),
        ("https://bi", 443),
        ("ws://bi", 80),
        ("wss://bi", 443),
        ("wss://bi:8443", 8443),
        ("redis://bi", None),
        ("", None),
    ],
)
def test_a_url_without_a_port_has_its_schemes(url: str, port: int | None) -> None:
    assert port_of(urlsplit(url)) == port


def test_what_is_no_port_is_an_error() -> None:
    with pytest.raises(ValueError, match="Port"):
        port_of(urlsplit("http://bi:99999"))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "127.1", "127.0.1"),
        *("::1", "::ffff:127.0.0.1", "::FFFF:7f00:1"),
    ],
)
def test_names_of_the_very_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("redis", "10.0.0.1", "localhost.example.org", "127.example.org", "127.1.example.org"),
        *("::2", "::ffff:10.0.0.1", "127", "127.", "127.0.0.1.5", ""),
    ],
)
def test_names_of_other_machines(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_addresses_of_the_loopback(text: str) -> None:
    assert is_loopback_address(text)


@pytest.mark.parametrize("text", ["localhost", "127.1", "10.0.0.1", "::ffff:10.0.0.1", ""])
def test_what_is_no_address_of_the_loopback(text: str) -> None:
    assert not is_loopback_address(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::10.0.0.1", "::a00:1"),  # IPv4-compatible, which is something else
    ],
)
def test_a_mapped_address_is_the_one_of_ipv4(address: str, expected: str) -> None:
    assert unmapped(ip_address(address)) == ip_address(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_a_mapped_addresss_text_is_the_one_of_ipv4(text: str, expected: str) -> None:
    assert unmapped_text(text) == expected
