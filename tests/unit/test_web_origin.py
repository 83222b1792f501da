# SPDX-License-Identifier: Apache-2.0
"""Origins of pages, and the entries of `allowedOrigins` that can match one."""

from __future__ import annotations

import pytest

from wsgi_ws.web_origin import WebOrigin, parse_origin, problem_with


@pytest.mark.parametrize("text", ["https://a", "https://A:443", "HTTPS://a.", "https://a/path"])
def test_an_origin_has_one_normal_form(text: str) -> None:
    assert parse_origin(text) == WebOrigin("https", "a", 443)


@pytest.mark.parametrize(
    "text", ["", "null", "a", "a.example.org:8088", "//a", "file://", "https://", "https://["]
)
def test_a_text_without_scheme_or_host_is_no_origin(text: str) -> None:
    assert parse_origin(text) is None


@pytest.mark.parametrize(
    "entry", ["*", "null", "https://a.example.org", "http://10.0.0.1:8088", "https://[::1]:1"]
)
def test_an_entry_that_can_match_a_page_has_no_problem(entry: str) -> None:
    assert problem_with(entry) is None


@pytest.mark.parametrize(
    ("entry", "form"),
    [
        ("bi.example.com", "https://bi.example.com"),
        ("bi.example.com:8088", "https://bi.example.com:8088"),
        ("//bi.example.com", "https://bi.example.com"),
        ('"https://bi.example.com"', "https://bi.example.com"),
        ("'https://bi.example.com'", "https://bi.example.com"),
        ('["https://bi.example.com"]', "https://bi.example.com"),
        ('["https://bi.example.com"', "https://bi.example.com"),
        ("https://*.example.com", "https://a.example.com"),
        ("wss://bi.example.com", "https://bi.example.com"),
        ("ws://bi.example.com:8088", "http://bi.example.com:8088"),
        ("", "https://a.example.org"),
        ('""', "https://a.example.org"),
        ("https://", "https://a.example.org"),
    ],
)
def test_an_entry_that_can_match_nothing_is_told_with_the_right_form(entry: str, form: str) -> None:
    problem = problem_with(entry)
    assert problem is not None
    assert f"{form}" in problem.replace(",", " ").split()
