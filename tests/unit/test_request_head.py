# SPDX-License-Identifier: Apache-2.0
"""The header section of a request: strict form, hard limits."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.request_head import MAX_FIELDS, MAX_LINE_BYTES, MAX_TOTAL_BYTES, BadHead, RequestHead


def head(text: bytes) -> RequestHead:
    return RequestHead(io.BytesIO(text + b"\r\n"))


def test_names_are_case_insensitive() -> None:
    assert head(b"HoSt: a\r\n").get("hOsT") == "a"


def test_a_missing_field_is_none() -> None:
    assert head(b"").get("host") is None


def test_white_space_around_a_value_is_not_part_of_it() -> None:
    assert head(b"Host: \t a b \t\r\n").get("host") == "a b"


def test_repeated_fields_are_joined_with_commas() -> None:
    assert head(b"Connection: a\r\nConnection: b\r\n").get("connection") == "a,b"


def test_repeated_cookies_are_joined_as_cookies() -> None:
    assert head(b"Cookie: a=1\r\nCookie: b=2\r\n").get("cookie") == "a=1; b=2"


def test_fields_get_their_wsgi_names() -> None:
    fields = b"Sec-WebSocket-Key: k\r\nContent-Type: t\r\nContent-Length: 0\r\n"
    assert head(fields).environ() == {"HTTP_SEC_WEBSOCKET_KEY": "k"}


def test_a_name_that_could_pass_for_another_is_dropped() -> None:
    assert head(b"X_Forwarded-Host: evil\r\n").environ() == {}


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b": no name",
        b"space : before the colon",
        b" folded",
        b"na\xefve: x",
        b"Host: a\0b",
        b"Host: a\rb",
    ],
)
def test_malformed_lines_are_refused(line: bytes) -> None:
    with pytest.raises(BadHead) as refused:
        head(line + b"\r\n")
    assert refused.value.status.startswith("400 ")


def test_an_end_within_the_section_is_refused() -> None:
    with pytest.raises(BadHead, match="ends within"):
        RequestHead(io.BytesIO(b"Host: a"))


@pytest.mark.parametrize(
    "text",
    [
        b"A: " + b"x" * MAX_LINE_BYTES + b"\r\n",
        (b"A: " + b"x" * 1000 + b"\r\n") * (MAX_TOTAL_BYTES // 1000 + 1),
        b"A: b\r\n" * (MAX_FIELDS + 1),
    ],
    ids=["a long line", "many bytes", "many fields"],
)
def test_too_much_is_answered_with_431(text: bytes) -> None:
    with pytest.raises(BadHead) as refused:
        head(text)
    assert refused.value.status.startswith("431 ")


@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused(garbage: bytes) -> None:
    with contextlib.suppress(BadHead):
        head(garbage)
