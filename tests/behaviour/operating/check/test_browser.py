# SPDX-License-Identifier: Apache-2.0
"""What browsers make of a real superset_config.py."""

from __future__ import annotations

import pytest

from testbed.check import COOKIE, URL, SupersetConfig, assert_named, sentences
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level

WRONG: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the session's cookie": (
        {COOKIE + "NAME": '"session"'},
        ("as is the session's cookie",),
    ),
    "http in the URL": ({URL: '"https://bi.example.org/ws"'}, ("write wss://bi.example.org/ws",)),
    "ws on a page of https": (
        {"SESSION_COOKIE_SECURE": "True"},
        ("browsers refuse ws:// on a page of https (SESSION_COOKIE_SECURE is True",),
    ),
    "a Secure cookie over ws": (
        {COOKIE + "SECURE": "True"},
        ("send the cookie over TLS only, not to ws://bi.example.org/ws",),
    ),
    "SameSite None without Secure": (
        {COOKIE + "SAMESITE": '"None"'},
        ('SAMESITE is "None" (superset_config.py line 9)', "unless it is Secure"),
    ),
    "SameSite misspelt": ({COOKIE + "SAMESITE": '"lax"'}, ("SAMESITE is 'lax'", '"Lax"')),
    "a foreign cookie domain": (
        {COOKIE + "DOMAIN": '"example.com"'},
        ("DOMAIN is example.com", "do not send such a cookie to bi.example.org"),
    ),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_browsers_do_not_follow(
    environ: dict[str, str],
    superset: SupersetConfig,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write(**changed)))
    assert_named(report, Level.RED, *words)


DOUBTFUL: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the loopback in the URL": (
        {URL: '"ws://127.0.0.1:8080/"'},
        ("has the host 127.0.0.1", "not under localhost"),
    ),
    "a container's name in the URL": (
        {URL: '"ws://superset-websocket/ws"'},
        ("name of a container that no browser can look up",),
    ),
    "another port in the URL": (
        {URL: '"ws://bi.example.org:9999/"'},
        ("has port 9999, this server",),
    ),
    "a policy that forbids the port": (
        {URL: '"ws://bi.example.org:9999/"'},
        ("Content Security Policy", "connect-src"),
    ),
    "an embedded Superset": (
        {"SESSION_COOKIE_SAMESITE": '"None"'},
        ('SESSION_COOKIE_SAMESITE is "None" (superset_config.py line 9)', "embedded"),
    ),
}


@pytest.mark.parametrize(("changed", "words"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_what_browsers_may_not_follow(
    environ: dict[str, str],
    superset: SupersetConfig,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = check_all(environ, CheckOptions(superset=superset.write(**changed)))
    assert_named(report, Level.YELLOW, *words)


@pytest.mark.parametrize(
    ("page", "url", "words"),
    [
        ("http://localhost:8088/", "ws://127.0.0.1:8080/", ("users open localhost", "two hosts")),
        ("http://127.0.0.1:8088/", "ws://localhost:8080/", ("users open 127.0.0.1", "two hosts")),
        ("https://bi.example.org/", "ws://bi.example.org/ws", ("browsers refuse ws://",)),
        ("https://bi.example.org/", "wss://ws.example.org/", ("does not send bi.example.org's",)),
        ("http://bi.example.org/", "ws://bi.example.org:8080/", ("Content Security Policy",)),
    ],
)
def test_the_address_that_users_open(
    environ: dict[str, str], superset: SupersetConfig, page: str, url: str, words: tuple[str, ...]
) -> None:
    path = superset.write(GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL=repr(url))
    assert_named(check_all(environ, CheckOptions(superset=path, page=page)), Level.RED, *words)


def test_what_goes_with_a_wrong_address_is_not_named_beside_it(
    environ: dict[str, str], superset: SupersetConfig
) -> None:
    """Neither policy nor origin matter for an address that will be corrected."""
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL=repr(f"ws://127.0.0.1:{environ['PORT']}/")
    )
    report = check_all(environ, CheckOptions(superset=path, page="http://localhost:8088/"))
    assert len(sentences(report).splitlines()) == 1
    assert_named(report, Level.RED, "two hosts")


def test_one_domain_for_two_hosts(environ: dict[str, str], superset: SupersetConfig) -> None:
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL='"wss://ws.example.org/"',
        GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN='".example.org"',
        TALISMAN_ENABLED="False",
    )
    report = check_all(environ, CheckOptions(superset=path, page="https://bi.example.org/"))
    assert_named(report, Level.RED, "refuses pages of https://bi.example.org", "ALLOWED_ORIGINS")
    environ["ALLOWED_ORIGINS"] = "https://bi.example.org"
    report = check_all(environ, CheckOptions(superset=path, page="https://bi.example.org/"))
    assert sentences(report) == ""
