# SPDX-License-Identifier: Apache-2.0
"""The demo's buttons obey its own page only."""

from __future__ import annotations

import pytest

from wsgi_ws.demo.guard import refusal_of_caller, refusal_of_token


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8081", None),  # an address that is typed in
        ("localhost:8081", "http://localhost:8081"),
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("localhost", "http://localhost"),
        ("localhost:9000", "http://localhost:9000"),  # through a tunnel
    ],
)
def test_the_page_itself_passes(host: str, origin: str | None) -> None:
    assert refusal_of_caller(host, origin) is None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8081", "localhost.evil.example:8081", "192.168.1.7:8081", ""),
        *("localhost:8081@evil.example", "0.0.0.0:8081"),
    ],
)
def test_a_foreign_name_for_this_machine_is_refused(host: str) -> None:
    assert refusal_of_caller(host, None)


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "", "https://localhost:8081"),
        "http://localhost:3000",  # another program's page on this machine
        "http://127.0.0.1:8081",  # for a browser another origin
    ],
)
def test_a_foreign_page_is_refused(origin: str) -> None:
    assert refusal_of_caller("localhost:8081", origin)


def test_only_this_starts_token_passes() -> None:
    assert refusal_of_token("right", "right") is None
    assert refusal_of_token("", "right")
    assert refusal_of_token("wrong", "right")
    assert refusal_of_token("ä", "right")
