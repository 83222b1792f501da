# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP and refused handshakes, byte for byte, at the running server."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from testbed.http_client import ask, forged, upgrade
from testbed.servers import DEADLINE, SECRET, RedisServer, Server, eventually
from testbed.superset import cookie


@pytest.fixture(scope="module")
def shared_server(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all: nothing here changes it."""
    server = Server(tmp_path_factory.mktemp("server"), redis_server.port, prefix="http-tests-")
    yield server
    server.stop()


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


def test_cookies_of_other_applications_may_take_30_kib(shared_server: Server) -> None:
    value = f"other={'x' * 30_000}; {cookie('channel')}"
    assert ask(shared_server, headers=upgrade(Cookie=value))[0] == 101
    assert ask(shared_server, path="/health", headers={"Cookie": value})[0] == 200


def test_beyond_the_limit_the_log_says_what_to_do(shared_server: Server) -> None:
    value = f"other={'x' * 33_000}; {cookie('channel')}"
    status, _, body = ask(shared_server, headers=upgrade(Cookie=value))
    assert status == 431
    assert b"maxHeaderBytes" in body
    eventually(lambda: "raise maxHeaderBytes" in shared_server.log_text(), "it is logged")


def test_a_host_in_the_request_line_is_taken(shared_server: Server) -> None:
    assert ask(shared_server, path=shared_server.http("/health"))[0] == 200
    assert ask(shared_server, path=shared_server.http("/ws"), headers=upgrade())[0] == 101


def test_no_token_is_ever_logged(shared_server: Server) -> None:
    bad = cookie("channel", "w" * 40)
    ask(shared_server, headers=upgrade(Cookie=bad))
    ask(shared_server, "GET", f"/?token={bad}", headers=upgrade(Cookie=bad))
    eventually(lambda: "signature is wrong" in shared_server.log_text(), "the refusal is logged")
    assert bad.split("=", 1)[1][:20] not in shared_server.log_text()


# --- how requests arrive -------------------------------------------------------------------------

HEALTH = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"


def exchange(server: Server, *pieces: bytes) -> bytes:
    """All that comes back until the server closes, when a request is sent in these pieces."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.002)  # each as a segment of its own, as far as one can tell
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(4096):
                answer += chunk
        return answer


def bytes_of(head: bytes) -> list[bytes]:
    return [head[i : i + 1] for i in range(len(head))]


def test_a_plain_request_may_come_byte_by_byte(shared_server: Server) -> None:
    assert exchange(shared_server, *bytes_of(HEALTH)).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_handshake_may_come_byte_by_byte(shared_server: Server) -> None:
    fields = {"Host": "h", **upgrade(Cookie=None)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    answer = exchange(shared_server, *bytes_of(f"GET / HTTP/1.1\r\n{head}\r\n".encode()))
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_plain_request_is_the_last_of_its_connection(shared_server: Server) -> None:
    answer = exchange(shared_server, HEALTH + HEALTH)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("pieces", [(b"ab", b"cd"), (b"abcd",)], ids=["two pieces", "one piece"])
def test_the_body_of_a_plain_request_is_read(
    shared_server: Server, pieces: tuple[bytes, ...]
) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"
    answer = exchange(shared_server, head + pieces[0], *pieces[1:])
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_clients_beyond_the_capacity_wait_for_those_before_them(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    server = Server(
        tmp_path,
        redis_server.port,
        environ={"HANDSHAKE_TIMEOUT_MS": "1000"},
        arguments=["--worker-connections", "5"],
    )
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        for _ in range(5):  # nothing is ever said on these
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        start = time.monotonic()
        assert ask(server, path="/health")[0] == 200
        assert time.monotonic() - start > 0.5
