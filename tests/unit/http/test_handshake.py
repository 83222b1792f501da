# SPDX-License-Identifier: Apache-2.0
"""The decision about an opening handshake: which requests are one, and the answer to each kind."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import accept_key

from wsgi_ws.http.auth.authenticator import Authenticator
from wsgi_ws.http.handshake import (
    Admission,
    Admitted,
    accept_value,
    asked_for,
    check_request,
    wants_upgrade,
)
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.superset.token import RealtimeSigner
from wsgi_ws.transport import Transport

SECRET = "an-example-secret-that-is-long-enough-for-every-HMAC-there-is-0123456789"
NOW = 1_700_000_000  # seconds since the epoch
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


def request(**changes: str | None) -> dict[str, Any]:
    """The environ of a correct handshake, with changes; None leaves a variable out."""
    environ: dict[str, str | None] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/ws",
        "QUERY_STRING": "",
        "HTTP_HOST": "example.org",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
    }
    return {name: value for name, value in (environ | changes).items() if value is not None}


def cookie(secret: str = SECRET, **claims: Any) -> str:
    return "async-token=" + jwt.encode({"channel": "c1", "sub": None} | claims, secret)


def realtime_cookie(**claims: Any) -> str:
    return RealtimeSigner(SECRET).cookie("user:42", exp=NOW + 60, **claims)


def always_open(transport: Transport | None) -> None:
    """Everybody is admitted at present."""


def decide(admission: Admission, **changes: str | None) -> Admitted:
    return admission.decide(request(**changes), NOW, always_open)


@pytest.fixture
def admission() -> Admission:
    authenticator = Authenticator(SECRET, ["HS256"], "async-token", "channel")
    return Admission(authenticator, allowed_origins=["https://elsewhere.org"], trusted_proxies=[])


# --- is it one? ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["websocket", "WebSocket", " websocket ", "h2c, websocket"])
def test_an_upgrade_header_that_names_websocket_makes_it_a_handshake(value: str) -> None:
    assert wants_upgrade(request(HTTP_UPGRADE=value))


@pytest.mark.parametrize("value", [None, "", "h2c", "websockets", "web socket"])
def test_any_other_upgrade_header_leaves_it_plain_http(value: str | None) -> None:
    assert not wants_upgrade(request(HTTP_UPGRADE=value))


@pytest.mark.parametrize("path", ["/", "/ws", "/health", "/a/b?c"])
def test_a_handshake_is_one_on_any_path(path: str) -> None:
    assert wants_upgrade(request(PATH_INFO=path))


# --- is it correct? ------------------------------------------------------------------------------


def test_the_rfcs_own_example_gets_the_rfcs_answer() -> None:
    assert check_request(request()) == ACCEPT


@pytest.mark.parametrize("value", ["upgrade", "keep-alive, Upgrade", "Upgrade,keep-alive"])
def test_upgrade_may_be_one_of_several_connection_options(value: str) -> None:
    assert check_request(request(HTTP_CONNECTION=value)) == ACCEPT


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"REQUEST_METHOD": "POST"}, "POST"),
        ({"REQUEST_METHOD": "HEAD"}, "HEAD"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "HTTP/1.0"),
        ({"CONTENT_LENGTH": "5"}, "body"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, "body"),
        ({"HTTP_HOST": None}, "Host"),
        ({"HTTP_HOST": ""}, "Host"),
        ({"HTTP_HOST": "a.org,b.org"}, "Host"),
        ({"HTTP_CONNECTION": None}, "Connection"),
        ({"HTTP_CONNECTION": "close"}, "proxy"),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, "Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "short"}, "16 bytes"),
    ],
)
def test_a_malformed_handshake_is_answered_with_400_and_says_why(
    changes: dict[str, str | None], word: str
) -> None:
    with pytest.raises(Refusal, match=word) as caught:
        check_request(request(**changes))
    assert (caught.value.kind.status, caught.value.reason) == (
        "400 Bad Request",
        "malformed_handshake",
    )


@pytest.mark.parametrize("version", [None, "", "8", "0", "14", "13, 8", "thirteen"])
def test_another_version_is_answered_with_426_and_the_one_spoken_here(version: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        check_request(request(HTTP_SEC_WEBSOCKET_VERSION=version))
    assert caught.value.kind.status == "426 Upgrade Required"
    assert ("Sec-WebSocket-Version", "13") in caught.value.kind.headers


# --- the key -------------------------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16))
def test_the_accept_value_agrees_with_another_implementation(nonce: bytes) -> None:
    key = base64.b64encode(nonce).decode()
    assert accept_value(key) == accept_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "=",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQ",  # padding is missing
        "dGhlIHNhbXBsZSBub25jZQ!=",
        "dGhlIHNhbXBs ZSBub25jZQ==",
        base64.b64encode(b"x" * 15).decode(),
        base64.b64encode(b"x" * 17).decode(),
        "é" * 24,
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(key: str) -> None:
    with pytest.raises(Refusal):
        accept_value(key)


@given(st.text(st.characters(max_codepoint=255)))
def test_any_key_is_accepted_or_refused_and_never_an_error(key: str) -> None:
    try:
        result = accept_value(key)
    except Refusal as refusal:
        result = refusal.kind.status
    assert len(result) == 28 or result == "400 Bad Request"


# --- who is it? ----------------------------------------------------------------------------------


def test_a_valid_cookie_is_admitted_to_its_channel(admission: Admission) -> None:
    assert decide(admission, HTTP_COOKIE=cookie()).identity.channel == "c1"


def test_an_admitted_client_gets_its_accept_value(admission: Admission) -> None:
    assert decide(admission, HTTP_COOKIE=cookie()).accept == ACCEPT


def test_an_admitted_client_brings_its_last_id(admission: Admission) -> None:
    admitted = decide(admission, HTTP_COOKIE=cookie(), QUERY_STRING="last_id=5-1")
    assert admitted.last_id == "5-1"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no_cookie"),
        ("other=1", "no_cookie"),
        ("async-token=abc", "malformed_token"),
        (cookie(secret=SECRET[::-1]), "bad_signature"),
        (cookie(exp=1), "expired"),
        (cookie(channel=None), "no_channel"),
    ],
)
def test_a_client_without_a_valid_token_is_answered_with_401(
    admission: Admission, header: str | None, reason: str
) -> None:
    with pytest.raises(Refusal) as caught:
        decide(admission, HTTP_COOKIE=header)
    assert (caught.value.kind.status, caught.value.reason) == ("401 Unauthorized", reason)


def test_a_malformed_handshake_is_told_so_before_its_cookie_is_looked_at(
    admission: Admission,
) -> None:
    with pytest.raises(Refusal) as caught:
        decide(admission, HTTP_CONNECTION="close", HTTP_COOKIE="async-token=abc")
    assert caught.value.kind.status == "400 Bad Request"


@pytest.mark.parametrize(
    "page", [None, "https://example.org", "http://example.org:8088", "https://elsewhere.org"]
)
def test_a_page_of_this_host_or_an_allowed_one_is_admitted(
    admission: Admission, page: str | None
) -> None:
    assert decide(admission, HTTP_COOKIE=cookie(), HTTP_ORIGIN=page).identity.channel == "c1"


@pytest.mark.parametrize("header", [None, cookie()])
def test_a_page_of_a_foreign_origin_is_answered_with_403_whatever_its_cookie(
    admission: Admission, header: str | None
) -> None:
    with pytest.raises(Refusal) as caught:
        decide(admission, HTTP_COOKIE=header, HTTP_ORIGIN="https://evil.example")
    assert (caught.value.kind.status, caught.value.reason) == ("403 Forbidden", "foreign_origin")


def test_a_client_is_not_told_what_is_wrong_with_its_token(admission: Admission) -> None:
    with pytest.raises(Refusal) as caught:
        decide(admission, HTTP_COOKIE=cookie(secret=SECRET[::-1]))
    assert "signature" in str(caught.value)
    assert "signature" not in caught.value.advice


@pytest.mark.parametrize(
    "header", [cookie(secret=SECRET[::-1]), cookie(exp=1), cookie(channel=None)]
)
def test_a_refusals_message_never_contains_the_token(admission: Admission, header: str) -> None:
    with pytest.raises(Refusal) as caught:
        decide(admission, HTTP_COOKIE=header)
    parts = header.removeprefix("async-token=").split(".")
    assert not any(part in str(caught.value) for part in parts)


# --- where did it stop? --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("a=b", None),
        ("last_id=", None),
        ("last_id=1700000000000-0", "1700000000000-0"),
        ("a=b&last_id=5-1&c=d", "5-1"),
        ("last_id=5%2D1", "5-1"),
        ("last_id=5-1&last_id=6-1", "5-1"),
        ("LAST_ID=5-1", None),
        ("last_id=null", "null"),
    ],
)
def test_last_id_is_taken_from_the_query(query: str, expected: str | None) -> None:
    assert asked_for(query).last_id == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("tab_id=", None),
        ("tab_id=3", "3"),
        ("tab_id=aZ_-09", "aZ_-09"),
        ("tab_id=" + "x" * 64, "x" * 64),
        ("tab_id=" + "x" * 65, None),
        ("tab_id=a%20b", None),
        ("tab_id=3%0A", None),
        ("tab_id=3:4", None),
        ("tab_id=%C3%A9", None),
        ("tab_id=%D9%A3", None),  # a digit of another alphabet
        ("tab_id=3&tab_id=4", "3"),
        ("tab_id=:&tab_id=4", None),
        ("TAB_ID=3", None),
        ("a=b&tab_id=3&c=d", "3"),
    ],
)
def test_a_tab_id_of_few_letters_is_taken_from_the_query(query: str, expected: str | None) -> None:
    assert asked_for(query).tab_id == expected


@pytest.mark.parametrize(
    ("query", "transport"),
    [
        ("", None),
        ("a=b", None),
        ("last_id=5-1", Transport.STREAMS),
        ("last_id=", Transport.STREAMS),
        ("tab_id=3", Transport.REALTIME),
        ("tab_id=", Transport.REALTIME),
        ("tab_id=:", Transport.REALTIME),
        ("tab_id=3&last_id=5-1", Transport.STREAMS),
    ],
)
def test_the_query_says_which_transport_a_page_asks_for(
    query: str, transport: Transport | None
) -> None:
    assert asked_for(query).transport is transport


@given(st.text(st.characters(max_codepoint=255)))
def test_no_query_is_an_error(query: str) -> None:
    assert asked_for(query).last_id is None or "last_id" in query


# --- which transport? ----------------------------------------------------------------------------

BOTH_COOKIES = f"{cookie()}; {realtime_cookie()}"


@pytest.mark.parametrize(
    ("query", "channel"), [("", "c1"), ("last_id=5-1", "c1"), ("tab_id=3", "user:42")]
)
def test_a_browser_with_both_cookies_gets_what_it_asks_for(
    admission: Admission, query: str, channel: str
) -> None:
    admitted = decide(admission, HTTP_COOKIE=BOTH_COOKIES, QUERY_STRING=query)
    assert admitted.identity.channel == channel


def test_a_client_of_superset_7_brings_its_tab(admission: Admission) -> None:
    assert decide(admission, HTTP_COOKIE=realtime_cookie(), QUERY_STRING="tab_id=3").tab_id == "3"


# --- is it open? ---------------------------------------------------------------------------------


def only(closed: Transport | None) -> Callable[[Transport | None], Refusal | None]:
    return lambda transport: Refusal("closed", "a reason") if transport is closed else None


def refused(admission: Admission, closed: Transport | None, **changes: str | None) -> Refusal:
    """The refusal when a transport (None: everything) is closed."""
    with pytest.raises(Refusal) as caught:
        admission.decide(request(**changes), NOW, only(closed))
    return caught.value


def test_a_closed_service_admits_nobody_and_looks_at_no_cookie(admission: Admission) -> None:
    refusal = refused(admission, None, HTTP_COOKIE="async-token=abc")
    assert (refusal.reason, str(refusal)) == ("closed", "a reason")


def test_a_closed_transport_admits_nobody(admission: Admission) -> None:
    assert refused(admission, Transport.REALTIME, HTTP_COOKIE=realtime_cookie()).reason == "closed"


def test_a_closed_transport_tells_its_reason_to_who_may_know_only(admission: Admission) -> None:
    expired = realtime_cookie() + "x"
    refusal = refused(admission, Transport.REALTIME, HTTP_COOKIE=expired)
    assert refusal.reason == "bad_signature"


def test_a_closed_transport_leaves_the_other_one_open(admission: Admission) -> None:
    environ = request(HTTP_COOKIE=cookie())
    decided = admission.decide(environ, NOW, only(Transport.REALTIME))
    assert decided.identity.transport is Transport.STREAMS


# --- which refusals are explained by one line ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("REQUEST_METHOD", ("POST", "X1")),
        ("SERVER_PROTOCOL", ("HTTP/1.0", "HTTP/7")),
        ("HTTP_SEC_WEBSOCKET_VERSION", ("8", "x")),
        ("HTTP_ORIGIN", ("https://a.example", "https://b.example")),
        ("HTTP_COOKIE", ("a=1", "b=2")),
        ("HTTP_COOKIE", ("async-token=x", "async-token=y")),
    ],
)
def test_what_a_client_sends_makes_no_line_of_its_own(
    admission: Admission, name: str, values: tuple[str, str]
) -> None:
    refusals = []
    for value in values:
        with pytest.raises(Refusal) as caught:
            decide(admission, **{name: value})
        refusals.append(caught.value.alike)
    assert refusals[0] == refusals[1]
