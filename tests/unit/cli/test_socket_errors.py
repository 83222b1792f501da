# SPDX-License-Identifier: Apache-2.0
"""Which URLs browsers take, and what a refusal means."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.socket_client import Refused
from wsgi_ws.cli.socket_errors import bad_url, explain_refused
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import Loaded


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ws://bi.example.org/ws", None),
        ("wss://bi.example.org:8443", None),
        ("http://bi.example.org:8080/", "write ws://bi.example.org:8080/"),
        ("bi.example.org:8080", "must begin with ws://"),
        ("ws:///ws", "must begin with ws://"),
        ("ws://bi:99999/", "no URL"),
    ],
)
def test_addresses_that_browsers_take(url: str, words: str | None) -> None:
    problem = bad_url(url)
    assert (problem is None) if words is None else (problem is not None and words in problem)


FOREIGN = Refused(403, {"content-type": "text/plain"}, "403 Forbidden")
URL = "ws://ws.example.org:8080/ws"


def about(refusal: Refused, page: str) -> str:
    return explain_refused(refusal, URL, Loaded(Settings(), {}, ()), page=page)


def test_a_foreign_page_of_the_same_host_is_the_proxys_doing() -> None:
    assert "proxy_set_header Host $host" in about(FOREIGN, "https://WS.example.org")


def test_a_foreign_page_of_another_host_needs_a_cookie_for_both() -> None:
    text = about(FOREIGN, "https://bi.example.org")
    assert "proxy" not in text
    assert "use one host name" in text
    assert "add https://bi.example.org to allowedOrigins" in text
    assert "JWT_COOKIE_DOMAIN" in text
