# SPDX-License-Identifier: Apache-2.0
"""Every reason for a refused handshake: its answer, its line with the remedy, its count."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from websockets.sync.client import connect

from testbed import realtime
from testbed.http_client import ask, forged, metrics, upgrade
from testbed.ports import free_port
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, Server, eventually
from testbed.superset import cookie, token

StartServer = Callable[..., Server]

# Reason → status, headers of the request, words of the line in the log.
REFUSALS: dict[str, tuple[int, dict[str, str], list[str]]] = {
    "no_cookie": (
        401,
        upgrade(Cookie="session=1; other=2"),
        [
            "no cookie named async-token or superset-ws-token (cookies: other, session)",
            "embedded in another site only with GLOBAL_ASYNC_QUERIES_JWT_COOKIE_SAMESITE",
            "inside FEATURE_FLAGS",
        ],
    ),
    "bad_signature": (
        401,
        upgrade(Cookie=cookie("c", "y" * 40)),
        [
            "signature is wrong",
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET in Superset",
            "another Superset on this host name",
            "give one of the two another GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME",
        ],
    ),
    "bad_algorithm": (
        401,
        upgrade(Cookie="async-token=" + jwt.encode({"channel": "c"}, "z" * 64, "HS512")),
        ["not one of jwtAlgorithms", "Superset signs with HS256"],
    ),
    "expired": (401, upgrade(Cookie=forged(exp=1)), ["has expired", "compare the clocks"]),
    "not_yet_valid": (
        401,
        upgrade(Cookie=forged(nbf=int(time.time()) + 3600)),
        ["is not valid yet", "Compare the clocks"],
    ),
    "malformed_token": (
        401,
        upgrade(Cookie="async-token=x"),
        ["is not a JSON Web Token", "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME"],
    ),
    "no_channel": (
        401,
        upgrade(Cookie="async-token=" + jwt.encode({"sub": "1"}, SECRET)),
        ["has no channel", "jwtChannelIdKey"],
    ),
    "unconfirmed_identity": (
        401,
        upgrade(Cookie=realtime.cookie("user:42", sub="43")),
        ["channel is not what its principal_type and sub say", "Superset signs no such token"],
    ),
    "wrong_transport": (
        401,
        upgrade(Cookie=f"superset-ws-token={token('c')}"),
        ["has no aud, so it is not for realtime", "reload the page"],
    ),
    "foreign_origin": (
        403,
        upgrade(Origin="https://evil.example.org"),
        ["https://evil.example.org", "allowedOrigins", "proxy_set_header Host $host"],
    ),
    "no_upgrade": (
        404,
        {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"},
        ["without Upgrade: websocket", "A proxy in front", "proxy_http_version 1.1"],
    ),
    "malformed_handshake": (
        400,
        upgrade(Sec_WebSocket_Key="short"),
        ["Sec-WebSocket-Key is not 16 bytes", "look at the proxy"],
    ),
    "bad_version": (
        426,
        upgrade(Sec_WebSocket_Version="8"),
        ["only Sec-WebSocket-Version 13", "not 8"],
    ),
}


@pytest.fixture(scope="module")
def shared_server(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all: each reason is asked for by one test."""
    server = Server(
        tmp_path_factory.mktemp("server"),
        redis_server.port,
        prefix="refusals-",
        environ={"METRICS_PORT": str(free_port())},
    )
    yield server
    server.stop()


def count(server: Server, reason: str) -> float:
    """What `/metrics` says."""
    text = metrics(server)
    name = f'wsgi_ws_handshakes_refused_total{{reason="{reason}"}} '
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_answered_explained_and_counted(shared_server: Server, reason: str) -> None:
    status, headers, words = REFUSALS[reason]
    asked_as = f"request-{reason}"
    before = count(shared_server, reason)
    answer, answer_headers, body = ask(
        shared_server, path="/ws?secret=1", headers=headers | {"X-Request-ID": asked_as}
    )
    assert (answer, answer_headers["x-request-id"]) == (status, asked_as)
    assert body.startswith(str(status).encode())

    def logged(level: str) -> str:
        """The line that came with the request."""
        lines = eventually(
            lambda: [
                line
                for line in shared_server.log_text().splitlines()
                if f"request {asked_as}" in line and f" {level} " in line
            ],
            f"the refusal is logged as {level}",
        )
        (line,) = lines
        return line

    access, warning = logged("INFO"), logged("WARNING")
    assert f"INFO [{shared_server.pids()[0]}] handshake from 127.0.0.1: /ws {status} " in access
    assert f" {reason}, " in access
    assert [word for word in words if word not in warning] == []
    assert count(shared_server, reason) == before + 1


def test_a_stopped_service_says_so(start_server: StartServer) -> None:
    server = start_server(
        redis_port=free_port(),
        wait=False,
        environ={"REDIS_DOWN_POLICY": "refuse", "METRICS_PORT": str(free_port())},
    )
    eventually(server.is_ready, "it answers")
    assert ask(server, headers=upgrade())[0] == 503
    eventually(lambda: "redisDownPolicy" in server.log_text(), "the log says why")
    assert count(server, "closed") == 1


def test_a_full_service_says_so(start_server: StartServer) -> None:
    server = start_server(
        environ={"MAX_CONNECTIONS_PER_CHANNEL": "1", "METRICS_PORT": str(free_port())}
    )
    browser = {"Cookie": realtime.cookie("user:42")}
    with connect(server.url(), additional_headers=browser):
        answer, _, body = ask(server, headers=upgrade(**browser))
    assert (answer, b"maxConnectionsPerChannel is reached: 1 per worker" in body) == (503, True)
    eventually(lambda: "MAX_CONNECTIONS_PER_CHANNEL in" in server.log_text(), "so does the log")
    assert count(server, "limit") == 1


def test_a_transport_that_redis_forbids_is_no_outage(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    user = f"user-{prefix}"
    acl = ("ACL", "SETUSER", user, "on", ">word", "resetchannels", f"~{prefix}*", "+@all")
    redis_server.client.execute_command(*acl)
    environ = {"REDIS_USERNAME": user, "REDIS_PASSWORD": "word", "METRICS_PORT": str(free_port())}
    server = start_server(environ=environ | {"REALTIME_CHANNEL_PREFIX": prefix})
    answer, headers, body = ask(server, headers=upgrade(Cookie=realtime.cookie("user:42")))
    assert (answer, headers["retry-after"]) == (503, "5")
    assert b"switched off" in body
    assert b"ACL" not in body
    refused = "the transport realtime is switched off, since user"
    eventually(lambda: refused in server.log_text(), "the line says why")
    (line,) = [line for line in server.log_text().splitlines() if refused in line]
    assert f"ACL SETUSER {user} &{prefix}realtime +subscribe +ping" in line
    assert "by itself" not in line
    assert (count(server, "transport_off"), count(server, "closed")) == (1, 0)


def test_every_reason_is_tried_here() -> None:
    from wsgi_ws.http.refusals import REFUSALS as KINDS

    assert set(REFUSALS) | {"closed", "limit", "transport_off"} == set(KINDS)


def test_a_reason_is_explained_once_a_minute(server: Server) -> None:
    for _ in range(5):
        assert ask(server, headers=upgrade(Cookie="a=1"))[0] == 401
        assert ask(server, headers=upgrade(Cookie=cookie("c", "y" * 40)))[0] == 401
    eventually(lambda: server.log_text().count(" 401 ") == 10, "every access is logged")
    assert server.log_text().count("no cookie named") == 1
    assert server.log_text().count("signature is wrong") == 1


def test_each_transport_and_each_problem_is_explained(server: Server) -> None:
    seven = "/ws?tab_id=1"
    for path, cookies in (
        ("/ws?last_id=1-1", "a=1"),
        (seven, "a=1"),
        (seven, "a=1; async-token=x"),
        (seven, "b=2"),
    ):
        assert ask(server, path=path, headers=upgrade(Cookie=cookies))[0] == 401
    eventually(lambda: server.log_text().count(" 401 ") == 4, "every access is logged")
    explained = [line for line in server.log_text().splitlines() if "no cookie named" in line]
    named = ("async-token (", "superset-ws-token (", "but async-token, which")
    assert [name in line for name, line in zip(named, explained, strict=True)] == [True] * 3


def test_an_end_without_access_lines(start_server: StartServer) -> None:
    server = start_server(environ={"ACCESS_LOG": "false"})
    for _ in range(3):
        assert ask(server, headers=upgrade(Cookie=None))[0] == 401
    eventually(lambda: "no cookie named" in server.log_text(), "the refusal is explained")
    assert " 401 " not in server.log_text()


def test_bad_requests_are_logged_once_a_minute_and_counted(start_server: StartServer) -> None:
    server = start_server(environ={"METRICS_PORT": str(free_port())})
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
            client.sendall(b"\x16\x03\x01 garbage\x1b[31m\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
    eventually(lambda: "bad request from 127.0.0.1" in server.log_text(), "it is logged")
    assert server.log_text().count("bad request") == 1
    assert "\x1b" not in server.log_text()
    assert "wsgi_ws_bad_requests_total 5.0" in metrics(server)


def test_what_a_client_writes_can_not_forge_a_line(server: Server) -> None:
    headers = upgrade(Cookie="a\x1b[2J=1", Origin="http://127.0.0.1\x1b[2J")
    ask(server, path="/%0aINFO%1b", headers=headers | {"X-Request-ID": "a b\tc"})
    ask(server, headers=upgrade(Cookie="\x1b[2J=1; \x9b=2"))
    eventually(lambda: server.log_text().count("handshake from") >= 4, "all is logged")
    assert not set(server.log_text()) & {"\x1b", "\x9b"}
    assert "a b" not in server.log_text()


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_plain_paths_are_no_handshakes(shared_server: Server, path: str) -> None:
    headers = {"Sec-WebSocket-Key": "x"}
    assert ask(shared_server, path=path, headers=headers)[0] == 200


def test_the_number_of_lines_held_back_is_told(start_server: StartServer) -> None:
    conf: Any = ROOT / "tests" / "behaviour" / "operating" / "observed_conf.py"
    server = start_server(arguments=["-c", str(conf)])

    def refuse() -> None:
        assert ask(server, headers=upgrade(Cookie="a=1"))[0] == 401

    for _ in range(3):
        refuse()

    def told() -> bool:
        refuse()
        return "more since the last such line]" in server.log_text()

    eventually(told, "the next line stands for those held back")


def test_secrets_that_differ_only_in_quotation_marks_are_said_to(
    start_server: StartServer,
) -> None:
    server = start_server(environ={"JWT_SECRET": f'"{SECRET}"'})
    status, _, _ = ask(server, path="/", headers=upgrade(Cookie=cookie("c")))
    assert status == 401
    words = "only in the quotation marks or the white space around it"
    eventually(lambda: words in server.log_text(), "the line says so")
    assert SECRET not in server.log_text()
