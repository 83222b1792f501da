# SPDX-License-Identifier: Apache-2.0
"""The `Cookie` header: what browsers mean by it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.http.cookies import cookies_of


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", []),
        ("a=1", [("a", "1")]),
        ("a=1; b=2", [("a", "1"), ("b", "2")]),
        ("a=1;b=2", [("a", "1"), ("b", "2")]),
        ("a=1; a=2", [("a", "1"), ("a", "2")]),
        ("a=b=c", [("a", "b=c")]),
        ('a="x"; b="', [("a", "x"), ("b", '"')]),
        ('a="x; b=2', [("a", '"x'), ("b", "2")]),
        ('a="x;y"; b=2', [("a", '"x'), ('y"', ""), ("b", "2")]),
        ("nameless; =lost; b=2", [("nameless", ""), ("b", "2")]),
        (";;; ", []),
    ],
)
def test_a_semicolon_ends_a_cookie_whatever_is_in_it(
    header: str, cookies: list[tuple[str, str]]
) -> None:
    assert cookies_of(header) == cookies


def test_a_name_in_utf8_is_read() -> None:
    assert cookies_of("Jos\xc3\xa9=1") == [("José", "1")]


@given(st.text(st.characters(max_codepoint=255)))
def test_a_cookie_of_ours_is_found_behind_any_other(other: str) -> None:
    assert ("token", "x") in cookies_of(f"a={other}; token=x")
