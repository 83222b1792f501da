# SPDX-License-Identifier: Apache-2.0
"""Which pages may connect, and whose word counts for the host that was asked for."""

from __future__ import annotations

import pytest

from wsgi_ws.config.meanings import networks
from wsgi_ws.http.origin import asked_host, client_address, is_allowed

HERE = "bi.example.com:8080"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://bi.example.com", HERE),
        ("http://bi.example.com:8088", HERE),
        ("http://BI.Example.com", HERE),
        ("http://bi.example.com.", HERE),
        ("http://[::1]:8088", "[::1]:8080"),
        ("http://localhost:8088", "localhost"),
    ],
)
def test_a_page_of_the_same_host_name_may_connect(origin: str, host: str) -> None:
    assert is_allowed(origin, host, [])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example.com", HERE),
        ("https://bi.example.com.evil.org", HERE),
        ("https://evil.org/bi.example.com", HERE),
        ("https://bi.example.com@evil.org", HERE),
        ("http://127.0.0.1:8088", "localhost:8080"),
        ("null", HERE),
        ("null", ""),
        ("file://", ""),
        ("https://[", HERE),
        ("nonsense", "nonsense"),
    ],
)
def test_a_page_of_another_host_name_may_not_connect(origin: str, host: str) -> None:
    assert not is_allowed(origin, host, [])


def test_a_program_that_sends_no_origin_may_connect() -> None:
    assert is_allowed("", HERE, [])


@pytest.mark.parametrize(
    "entry", ["https://app.example.org", "https://APP.example.org", "https://app.example.org:443"]
)
def test_a_configured_origin_may_connect(entry: str) -> None:
    assert is_allowed("https://app.example.org", HERE, [entry])


@pytest.mark.parametrize(
    "entry", ["http://app.example.org", "https://app.example.org:444", "https://example.org"]
)
def test_a_configured_origin_is_meant_exactly(entry: str) -> None:
    assert not is_allowed("https://app.example.org", HERE, [entry])


@pytest.mark.parametrize("origin", ["null", "file://", "nonsense"])
@pytest.mark.parametrize("entry", ["bi.example.com", "", '"https://a"', '["https://a"]', "//a"])
def test_a_page_without_a_host_is_not_let_in_by_a_malformed_entry(origin: str, entry: str) -> None:
    assert not is_allowed(origin, HERE, [entry])


def test_only_the_literal_null_lets_in_a_page_without_a_host() -> None:
    assert is_allowed("null", HERE, ["null"])


def test_a_star_lets_every_page_connect() -> None:
    assert is_allowed("https://evil.org", HERE, ["*"])


FORWARDED = {"HTTP_HOST": "10.0.0.7:8080", "HTTP_X_FORWARDED_HOST": "bi.example.com, inner"}


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_trusted_proxy_says_which_host_was_asked_for(peer: str) -> None:
    environ = FORWARDED | {"REMOTE_ADDR": peer}
    assert asked_host(environ, networks(["10.0.0.0/8"])) == "bi.example.com"


def test_a_proxy_behind_a_unix_socket_is_trusted_when_any_proxy_is() -> None:
    assert asked_host(FORWARDED, networks(["127.0.0.1"])) == "bi.example.com"


@pytest.mark.parametrize("trusted", [[], ["192.168.0.1"], ["2001:db8::/32"]])
def test_nobody_else_s_word_counts(trusted: list[str]) -> None:
    environ = FORWARDED | {"REMOTE_ADDR": "10.1.2.3"}
    assert asked_host(environ, networks(trusted)) == "10.0.0.7:8080"


# --- where from? ---------------------------------------------------------------------------------

PROXIES = networks(["10.0.0.0/8", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        pytest.param("203.0.113.7", "", "203.0.113.7", id="nobody between"),
        pytest.param("203.0.113.7", "198.51.100.1", "203.0.113.7", id="invented by the client"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("10.0.0.1", "203.0.113.7", "203.0.113.7", id="one proxy"),
        pytest.param("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7", id="two proxies"),
        pytest.param("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7", id="invented in front"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", id="a client inside"),
        pytest.param("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2", id="a hop that hides"),
        pytest.param("10.0.0.1", "x\x1b[31m", "10.0.0.1", id="nonsense"),
        pytest.param("10.0.0.1", "fe80::1%\x1b[2Jx", "fe80::1", id="nonsense behind a scope"),
        pytest.param("10.0.0.1", "203.0.113.7:50123", "203.0.113.7", id="with a port"),
        pytest.param("10.0.0.1", "[2001:db8::1]:50123", "2001:db8::1", id="IPv6 with a port"),
        pytest.param("10.0.0.1", "2001:db8::1", "2001:db8::1", id="IPv6"),
        pytest.param("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7", id="IPv4 mapped by a proxy"),
        pytest.param("::ffff:203.0.113.7", "", "203.0.113.7", id="IPv4 at a dual-stack listener"),
        pytest.param("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7", id="a proxy at one"),
        pytest.param(None, "", "a Unix socket", id="a Unix socket"),
        pytest.param(None, "203.0.113.7", "203.0.113.7", id="a proxy at a Unix socket"),
    ],
)
def test_the_clients_address_is_the_right_most_that_no_trusted_proxy_has(
    peer: str | None, forwarded_for: str, expected: str
) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert client_address("127.0.0.1", "203.0.113.7", ()) == "127.0.0.1"
