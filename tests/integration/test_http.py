# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP and refused handshakes, byte for byte, at the running server."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.servers import DEADLINE, SECRET, RedisServer, Server, eventually
from tests.superset import cookie, token

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture(scope="module")
def shared_server(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all: nothing here changes it."""
    server = Server(tmp_path_factory.mktemp("server"), redis_server.port, prefix="http-tests-")
    yield server
    server.stop()


def ask(
    server: Server, method: str = "GET", path: str = "/", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        body = b"" if response.status == 101 else response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, body
    finally:
        connection.close()


def upgrade(**changes: str | None) -> dict[str, str]:
    """The headers of a good handshake, with some replaced or (None) removed."""
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Cookie": cookie("channel"),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def test_health_answers_get(shared_server: Server) -> None:
    assert ask(shared_server, path="/health")[::2] == (200, b"OK")


def test_health_answers_head(shared_server: Server) -> None:
    assert ask(shared_server, "HEAD", "/health")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/ws"), ("POST", "/health"), ("OPTIONS", "/health"), ("PUT", "/x")],
)
def test_anything_else_is_not_found(shared_server: Server, method: str, path: str) -> None:
    assert ask(shared_server, method, path)[::2] == (404, b"Not Found")


def test_a_good_handshake_switches_protocols(shared_server: Server) -> None:
    status, headers, _ = ask(shared_server, headers=upgrade())
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


def forged(**claims: Any) -> str:
    return "async-token=" + token("channel", **claims)


UNAUTHORIZED = {
    "no cookie": None,
    "another cookie": "session=1",
    "no token": "async-token=x",
    "wrong secret": cookie("channel", "y" * 40),
    "expired": forged(exp=int(time.time()) - 10),
    "too early": forged(nbf=int(time.time()) + 3600),
    "no channel": "async-token=" + jwt.encode({"sub": "1"}, SECRET),
    "empty channel": cookie(""),
    "algorithm none": "async-token=" + jwt.encode({"channel": "c"}, "", "none"),
    "other algorithm": "async-token=" + jwt.encode({"channel": "c"}, "z" * 64, "HS512"),
}


@pytest.mark.parametrize("value", UNAUTHORIZED.values(), ids=UNAUTHORIZED.keys())
def test_a_bad_cookie_is_refused_with_401(shared_server: Server, value: str | None) -> None:
    status, headers, body = ask(shared_server, headers=upgrade(Cookie=value))
    assert (status, headers["connection"]) == (401, "close")
    assert body.startswith(b"401 Unauthorized")


@pytest.mark.parametrize("claims", [{"sub": None}, {"sub": "1"}, {"exp": int(time.time()) + 3600}])
def test_superset_s_tokens_are_admitted(shared_server: Server, claims: dict[str, Any]) -> None:
    assert ask(shared_server, headers=upgrade(Cookie=forged(**claims)))[0] == 101


def test_a_token_without_sub_is_admitted(shared_server: Server) -> None:
    value = "async-token=" + jwt.encode({"channel": "c"}, SECRET)
    assert ask(shared_server, headers=upgrade(Cookie=value))[0] == 101


MALFORMED = {
    "no key": upgrade(Sec_WebSocket_Key=None),
    "a key that is no base64": upgrade(Sec_WebSocket_Key="!" * 24),
    "a short key": upgrade(Sec_WebSocket_Key="c2hvcnQ="),
    "no Connection header": upgrade(Connection="keep-alive"),
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_handshake_is_refused_with_400(
    shared_server: Server, headers: dict[str, str]
) -> None:
    assert ask(shared_server, headers=headers)[0] == 400


@pytest.mark.parametrize("version", [None, "8", "14", "x"])
def test_another_version_is_answered_with_426_and_the_right_one(
    shared_server: Server, version: str | None
) -> None:
    status, headers, _ = ask(shared_server, headers=upgrade(Sec_WebSocket_Version=version))
    assert (status, headers["sec-websocket-version"]) == (426, "13")


def test_no_token_is_ever_logged(shared_server: Server) -> None:
    bad = cookie("channel", "w" * 40)
    ask(shared_server, headers=upgrade(Cookie=bad))
    ask(shared_server, "GET", f"/?token={bad}", headers=upgrade(Cookie=bad))
    eventually(lambda: "signature is wrong" in shared_server.log_text(), "the refusal is logged")
    assert bad.split("=", 1)[1][:20] not in shared_server.log_text()
