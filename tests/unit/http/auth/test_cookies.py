# SPDX-License-Identifier: Apache-2.0
"""The `Cookie` header: what browsers mean by it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.http.auth.cookies import cookies_of, named, values_of


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
    assert list(cookies_of(header)) == cookies


def test_a_name_in_utf8_is_read() -> None:
    assert list(cookies_of("Jos\xc3\xa9=1")) == [("José", "1")]


@given(st.text(st.characters(max_codepoint=255)))
def test_a_cookie_of_ours_is_found_behind_any_other(other: str) -> None:
    assert ("token", "x") in cookies_of(f"a={other}; token=x")


@given(st.lists(st.sampled_from(["token", "to", "ken", "=", ";", " ", "\t", '"', "x"])))
def test_the_values_of_a_name_are_those_of_its_cookies(parts: list[str]) -> None:
    header = "".join(parts)
    parts = [part for part in header.split(";") if "=" in part]
    wanted = [value for name, value in cookies_of(";".join(parts)) if name == "token"]
    assert list(values_of(header, named("token"))) == wanted


def test_a_name_means_itself() -> None:
    assert list(values_of("axb=1; a.b=2; Jos\xc3\xa9=3", named("a.b"))) == ["2"]
    assert list(values_of("Jos\xc3\xa9=3", named("José"))) == ["3"]
