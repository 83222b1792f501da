# SPDX-License-Identifier: Apache-2.0
"""The head of a request: strict form, hard limits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.http.request import (
    MAX_FIELDS,
    MAX_LINE_BYTES,
    BadHead,
    Request,
    check_protocol,
    end_of_head,
    is_tls,
    origin_form,
)

GET = b"GET /ws?last_id=1-0 HTTP/1.1\r\n"


MAX_BYTES = 16384


def parsed(data: bytes, peer: str | None = None) -> Request:
    return Request(data, peer, MAX_BYTES)


def environ(fields: bytes, request_line: bytes = GET) -> dict[str, str]:
    return parsed(request_line + fields + b"\r\n").environ


def status_of_refusal(head: bytes) -> str:
    with pytest.raises(BadHead) as refused:
        parsed(head)
    return refused.value.status[:3]


# --- where it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"])
def test_an_empty_line_ends_the_head(end: bytes) -> None:
    assert end_of_head(b"GET / HTTP/1.1" + end + b"\x81\x80") == 14 + len(end)


@pytest.mark.parametrize("data", [b"", b"GET", GET, GET + b"Host: h\r\n", GET + b"\r"])
def test_without_an_empty_line_it_has_no_end(data: bytes) -> None:
    assert end_of_head(data) is None


@given(st.binary(max_size=50), st.sampled_from([b"\r\n\r\n", b"\n\n"]), st.integers(0, 60))
def test_the_end_is_found_wherever_the_bytes_were_cut(text: bytes, end: bytes, cut: int) -> None:
    data = text.replace(b"\n", b"-") + end
    assert end_of_head(data, min(cut, len(data) - 1)) == len(data)


# --- the request line ----------------------------------------------------------------------------


def test_the_request_line_gets_its_wsgi_names() -> None:
    assert environ(b"") == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/ws",
        "QUERY_STRING": "last_id=1-0",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }


@pytest.mark.parametrize("peer", ["192.0.2.1", None])
def test_the_peers_address_is_there_unless_a_unix_socket_is_between(peer: str | None) -> None:
    assert parsed(GET + b"\r\n", peer).environ.get("REMOTE_ADDR") == peer


@pytest.mark.parametrize(("sent", "told"), [(b"a-1", "a-1"), (b"a b", None), (b"", None)])
def test_a_proxys_name_for_it_is_told_when_it_may_be_repeated(
    sent: bytes, told: str | None
) -> None:
    assert parsed(GET + b"X-Request-ID: " + sent + b"\r\n\r\n").id == told


def test_lines_may_end_without_a_carriage_return() -> None:
    assert parsed(b"GET /a HTTP/1.1\nHost: b\n\n").environ["HTTP_HOST"] == "b"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / HTTP/1.1 x",
        b"GET  / HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET /\t HTTP/1.1",
        b"GET /\r HTTP/1.1",
    ],
)
def test_a_malformed_request_line_is_refused(line: bytes) -> None:
    assert status_of_refusal(line + b"\r\n\r\n") == "400"


@pytest.mark.parametrize("data", [b"\x16\x03", b"\x16\x03\x01\x02\x00"])
def test_a_tls_handshake_is_known_by_its_first_bytes(data: bytes) -> None:
    assert is_tls(data)


@pytest.mark.parametrize("data", [GET, b"\x15\x03", b"\x16\x02"])
def test_anything_else_is_no_tls(data: bytes) -> None:
    assert not is_tls(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x16\x03\x01\x02\x00", "tls"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET + b"\r\n", "proxy_protocol"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"),
        (b"PROXY UNKNOWN\r\n" + GET + b"\r\n", "proxy_protocol"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + GET + b"\r\n", "proxy_protocol"),
    ],
)
def test_another_protocol_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(BadHead) as refused:
        check_protocol(data)
    assert (refused.value.kind, refused.value.status[:3]) == (kind, "400")


@pytest.mark.parametrize("data", [GET + b"\r\n", b"PROXY / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b""])
def test_what_may_be_http_is_not_taken_for_another_protocol(data: bytes) -> None:
    check_protocol(data)


def test_a_long_url_is_answered_with_414() -> None:
    assert status_of_refusal(b"GET /" + b"x" * MAX_LINE_BYTES + b" HTTP/1.1\r\n\r\n") == "414"


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://a.example/ws?last_id=1-0", "a.example", "/ws", "last_id=1-0"),
        (b"WSS://a.example:8080/", "a.example:8080", "/", ""),
        (b"https://[::1]", "[::1]", "/", ""),
        (b"http://a.example?b", "a.example", "/", "b"),
    ],
)
def test_a_host_in_the_request_line_counts_instead_of_the_fields(
    target: bytes, host: str, path: str, query: str
) -> None:
    head = b"GET %b HTTP/1.1\r\nA: b\r\nhOst: other\r\n\r\n" % target
    found = parsed(origin_form(head)).environ
    assert (found["HTTP_HOST"], found["PATH_INFO"], found["QUERY_STRING"]) == (host, path, query)
    assert found["HTTP_A"] == "b"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"Host: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"GET http:///a HTTP/1.1\r\n\r\n",
        b"GET http://user@a/ HTTP/1.1\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\n\r\n",
        b"GET http://a",
    ],
)
def test_any_other_head_stays_as_it_is(head: bytes) -> None:
    assert origin_form(head) == head


# --- the fields ----------------------------------------------------------------------------------


def test_fields_get_their_wsgi_names_whatever_their_case() -> None:
    assert environ(b"sEc-WebSocket-key: k\r\n")["HTTP_SEC_WEBSOCKET_KEY"] == "k"


@pytest.mark.parametrize("name", ["Cookie", "cookie", "COOKIE", "cooKIE"])
def test_a_field_counts_as_repeated_whatever_its_case(name: str) -> None:
    assert environ(f"Cookie: a=1\r\n{name}: b=2\r\n".encode())["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize("line", [b"Host", b"host", b"X-Other"])
def test_a_name_without_a_colon_is_refused_however_usual(line: bytes) -> None:
    with pytest.raises(BadHead, match="not of the form"):
        environ(line + b"\n")


def test_the_length_of_a_body_is_no_http_variable() -> None:
    found = environ(b"Content-Type: t\r\nContent-Length: 0\r\n")
    assert (found["CONTENT_LENGTH"], [n for n in found if n.startswith("HTTP_")]) == ("0", [])


def test_a_name_that_could_pass_for_another_is_dropped() -> None:
    assert environ(b"X_Forwarded-Host: evil\r\n") == environ(b"")


def test_white_space_around_a_value_is_not_part_of_it() -> None:
    assert environ(b"Host: \t a b \t\r\n")["HTTP_HOST"] == "a b"


def test_repeated_fields_are_joined_with_commas() -> None:
    assert environ(b"Connection: a\r\nconnection: b\r\n")["HTTP_CONNECTION"] == "a,b"


def test_repeated_cookies_are_joined_as_cookies() -> None:
    assert environ(b"Cookie: a=1\r\nCookie: b=2\r\n")["HTTP_COOKIE"] == "a=1; b=2"


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
        b"Content-Length: x",
        b"Content-Length: -1",
        b"Content-Length: " + b"1" * 5000,
        b"Content-Length: 1\r\nContent-Length: 1",
    ],
)
def test_malformed_lines_are_refused(line: bytes) -> None:
    assert status_of_refusal(GET + line + b"\r\n\r\n") == "400"


@pytest.mark.parametrize("head", [b"GET", GET, GET + b"Host: a", GET + b"Host: a\r\n"])
def test_an_end_within_the_head_is_refused(head: bytes) -> None:
    assert status_of_refusal(head) == "400"


@pytest.mark.parametrize(
    "text",
    [
        b"A: " + b"x" * MAX_BYTES + b"\r\n",
        (b"A: " + b"x" * 1000 + b"\r\n") * (MAX_BYTES // 1000 + 1),
        b"A: b\r\n" * (MAX_FIELDS + 1),
    ],
    ids=["a long line", "many bytes", "many fields"],
)
def test_too_much_is_answered_with_431(text: bytes) -> None:
    assert status_of_refusal(GET + text + b"\r\n") == "431"


def test_a_line_may_be_as_long_as_the_whole_head() -> None:
    head = GET + b"Cookie: " + b"x" * (MAX_BYTES - len(GET) - 12) + b"\r\n\r\n"
    assert len(head) == MAX_BYTES
    assert parsed(head).environ["HTTP_COOKIE"].startswith("x")


def test_of_too_many_bytes_the_limit_and_the_part_of_cookies_are_told() -> None:
    head = GET + b"A: b\r\ncookie: " + b"x" * MAX_BYTES + b"\r\n\r\n"
    with pytest.raises(BadHead, match="16384 bytes of header fields, 16393 of them cookies"):
        parsed(head)


def test_as_many_fields_as_allowed_are_read() -> None:
    assert environ(b"A: b\r\n" * MAX_FIELDS)["HTTP_A"].count("b") == MAX_FIELDS


@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused(garbage: bytes) -> None:
    with contextlib.suppress(BadHead):
        parsed(garbage)


@given(st.binary(max_size=300))
def test_garbage_behind_a_request_line_is_read_or_refused(garbage: bytes) -> None:
    with contextlib.suppress(BadHead):
        parsed(GET + garbage + b"\r\n\r\n")
