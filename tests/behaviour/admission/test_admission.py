# SPDX-License-Identifier: Apache-2.0
"""Who is let in, for how long and how many: origins, limits, expiry, bad HTTP, slow handshakes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish, token

StartServer = Callable[..., Server]


def open_tab(server: Server, channel: str = "c", **headers: str) -> ClientConnection:
    own = {"Cookie": cookie(channel)} | {n.replace("_", "-"): v for n, v in headers.items()}
    return connect(server.url(), additional_headers=own)


def status_of_refusal(server: Server, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        open_tab(server, **headers)
    return refused.value.response.status_code


def close_of(client: ClientConnection) -> tuple[int, str]:
    """Code and reason of the server's close frame."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=DEADLINE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.fixture
def statsd() -> Iterator[Callable[[], str]]:
    """A listener; calling it returns all that has come so far."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    lines: list[str] = []

    def so_far() -> str:
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(listener.recv(2000).decode())
        return "\n".join(lines)

    so_far.port = listener.getsockname()[1]  # type: ignore[attr-defined]
    yield so_far
    listener.close()


# --- origin --------------------------------------------------------------------------------------


def test_a_foreign_page_is_refused_and_the_log_names_the_setting(server: Server) -> None:
    assert status_of_refusal(server, Origin="https://evil.example.org") == 403
    eventually(lambda: "allowedOrigins" in server.log_text(), "the log names the setting")


def test_a_page_of_the_same_host_name_is_admitted(server: Server) -> None:
    with open_tab(server, Origin="http://127.0.0.1:8088"):
        pass


@pytest.mark.parametrize("entry", ["bi.example.com", '["https://bi.example.com"]', "https://*.org"])
def test_an_entry_that_matches_no_page_stops_the_start_with_the_right_form(
    start_server: StartServer, entry: str
) -> None:
    server = start_server(environ={"ALLOWED_ORIGINS": entry}, wait=False)
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.log_text().splitlines()
    assert "allowedOrigins (from environment variable ALLOWED_ORIGINS)" in line
    assert "write https://" in line or "like https://" in line


def test_a_sandboxed_frame_of_any_site_is_refused(server: Server) -> None:
    assert status_of_refusal(server, Origin="null") == 403


def test_a_configured_origin_is_admitted(start_server: StartServer) -> None:
    server = start_server(environ={"ALLOWED_ORIGINS": "https://a.example.org, https://b.example"})
    with open_tab(server, Origin="https://b.example"):
        pass


def test_the_forwarded_host_counts_from_a_trusted_proxy_only(start_server: StartServer) -> None:
    page = {"Origin": "https://bi.example.com", "X_Forwarded_Host": "bi.example.com"}
    assert status_of_refusal(start_server(), **page) == 403
    with open_tab(start_server(environ={"TRUSTED_PROXIES": "127.0.0.0/8"}), **page):
        pass


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "other_channel_is_full"),
    [("MAX_TOTAL_CONNECTIONS", True), ("MAX_CONNECTIONS_PER_CHANNEL", False)],
)
def test_over_a_limit_a_client_is_closed_with_1013(
    start_server: StartServer, statsd: Any, variable: str, other_channel_is_full: bool
) -> None:
    server = start_server(
        environ={variable: "2", "STATSD_PORT": str(statsd.port), "MAX_MESSAGE_BYTES": "4096"}
    )
    with open_tab(server, "a"), open_tab(server, "a"):
        with open_tab(server, "a") as third:
            code, reason = close_of(third)
            assert (code, "is reached" in reason) == (1013, True)
        with open_tab(server, "b") as other:
            if other_channel_is_full:
                assert close_of(other)[0] == 1013
            else:
                assert other.ping().wait(DEADLINE)
    eventually(lambda: "ws_connection_rejected:1|c|#" in statsd(), "it is counted")


def test_a_place_that_was_left_is_free_again(start_server: StartServer) -> None:
    server = start_server(environ={"MAX_TOTAL_CONNECTIONS": "1"})

    def admitted() -> bool:
        with open_tab(server) as client, contextlib.suppress(ConnectionClosed):
            return client.ping().wait(DEADLINE)
        return False

    for _ in range(3):
        eventually(admitted, "there is a place")


def test_a_refusal_is_counted_with_its_reason(start_server: StartServer, statsd: Any) -> None:
    server = start_server(environ={"STATSD_PORT": str(statsd.port)})
    assert status_of_refusal(server, Origin="https://evil.example.org") == 403
    eventually(lambda: "ws_upgrade_rejected:1|c|#" in statsd(), "it is counted")
    assert "reason:foreign_origin" in statsd()


def test_a_socket_is_closed_when_its_token_expires(server: Server) -> None:
    value = "async-token=" + token("c", exp=int(time.time()) + 2)
    with connect(server.url(), additional_headers={"Cookie": value}) as client:
        assert close_of(client) == (1008, "the token has expired")


def test_a_flood_is_closed_with_1008(server: Server) -> None:
    with open_tab(server) as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1000):
                client.send("x")
        assert close_of(client)[0] == 1008


# --- bad HTTP ------------------------------------------------------------------------------------


def answer_to(server: Server, request: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(4096):
                answer += chunk
        return answer


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
BAD_REQUESTS = {
    "garbage": (b"\x16\x03\x01 garbage\r\n\r\n", b"400"),
    "a long URL": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
    "a long header": (UPGRADE + b"X: " + b"x" * 33000 + b"\r\n\r\n", b"431"),
    "many headers": (UPGRADE + b"X: x\r\n" * 200 + b"\r\n", b"431"),
    "a body": (UPGRADE + b"Content-Length: 3\r\n\r\nabc", b"400"),
    "a chunked body": (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    "two hosts": (UPGRADE + b"Host: i\r\n\r\n", b"400"),
    "a bad content length": (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
    "a length of many digits": (
        b"GET /health HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"400",
    ),
    "a hundred headers": (b"GET /health HTTP/1.1\r\n" + b"X: x\r\n" * 100 + b"\r\n", b"431"),
    "a bad chunk": (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", b"411"),
    "a body of HEAD": (b"HEAD /health HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"400"),
    "a folded header": (UPGRADE + b"X: a\r\n b\r\n\r\n", b"400"),
}


@pytest.mark.parametrize(("request_", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_bad_http_is_answered_and_leaves_no_traceback(
    server: Server, request_: bytes, status: bytes
) -> None:
    answer = answer_to(server, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    log = server.log_text()
    assert "Traceback" not in log
    assert "gevent" not in log  # which has lines of its own for what it can't parse


@pytest.mark.parametrize(
    "start", [b"", b"GET / HT", UPGRADE], ids=["nothing", "half a line", "half a head"]
)
def test_a_handshake_that_does_not_end_is_cut(start_server: StartServer, start: bytes) -> None:
    server = start_server(environ={"HANDSHAKE_TIMEOUT_MS": "500"})
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
        client.sendall(start)
        client.setblocking(False)
        end = time.monotonic() + DEADLINE
        while True:  # drip, as a slow-loris does
            assert time.monotonic() < end
            try:
                chunk = client.recv(1000)
            except BlockingIOError:
                time.sleep(0.05)
                if start:
                    with contextlib.suppress(OSError):
                        client.send(b"x")
                continue
            except ConnectionResetError:
                break
            if not chunk:
                break


# --- slow readers --------------------------------------------------------------------------------


def test_a_client_that_does_not_read_is_cut_and_delays_nobody(
    start_server: StartServer, redis_server: RedisServer, prefix: str, statsd: Any
) -> None:
    server = start_server(
        environ={"MAX_SOCKET_BUFFER_BYTES": "100000", "STATSD_PORT": str(statsd.port)}
    )
    channel = new_channel()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(_deaf_client(server, channel)) for _ in range(5)]
        reader = stack.enter_context(open_tab(server, channel))
        for number in range(200):
            publish(redis_server.client, prefix, channel, job_id=f"{number}", errors=["x" * 50_000])
            assert f'"job_id": "{number}"' in str(reader.recv(timeout=DEADLINE))
        eventually(
            lambda: statsd().count("ws_client_backpressure_disconnect:1|c") == len(idle),
            "every deaf client is cut",
        )
    assert server.log_text().count("maxSocketBufferBytes") == 1


@contextlib.contextmanager
def _deaf_client(server: Server, channel: str) -> Iterator[socket.socket]:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    client.sendall(UPGRADE + b"Cookie: " + cookie(channel).encode() + b"\r\n\r\n")
    assert client.recv(20).startswith(b"HTTP/1.1 101")
    yield client
    client.close()
