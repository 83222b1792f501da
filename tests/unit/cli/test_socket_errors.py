# SPDX-License-Identifier: Apache-2.0
"""Which URLs browsers take."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.socket_errors import bad_url


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
