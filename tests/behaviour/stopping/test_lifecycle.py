# SPDX-License-Identifier: Apache-2.0
"""Start, pings, time-outs, StatsD, stop: what happens around the events."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def connected(server: Server) -> socket.socket:
    """A connection of the only worker's on which nothing has been said."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    assert server.is_ready()  # what it answers has come behind the other, which it has accepted
    return client


def raw_client(server: Server, channel: str = "c") -> socket.socket:
    """A socket behind its handshake that answers nothing by itself."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    cookie_line = b"Cookie: " + cookie(channel).encode() + b"\r\n\r\n"
    client.sendall(HANDSHAKE.removesuffix(b"\r\n") + cookie_line)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return client


# --- start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environ": {"JWT_SECRET": "too short"}}, "jwtSecret has 9 bytes"),
        ({"environ": {"JWT_SECRET": ""}}, "jwtSecret is not set"),
        ({"config": {"port": "8080"}}, "must be a number: write 8080 without quotes"),
        ({"config": {"redisStreamReadCount": 0}}, "redisStreamReadCount"),
        ({"environ": {"WSGI_WS_CONFIG": "missing.json"}}, "missing.json does not exist"),
        ({"environ": {"JWT_ALGORITHMS": "HS256,none"}}, "forged"),
    ],
)
def test_a_bad_configuration_stops_the_start_with_one_line(
    start_server: StartServer, options: dict[str, Any], message: str
) -> None:
    server = start_server(wait=False, **options)
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.log_text().splitlines()
    assert message in line
    assert "too short" not in line


def test_each_wrong_value_has_its_line(start_server: StartServer) -> None:
    server = start_server(wait=False, config={"port": "x", "redis": {"db": -1}})
    assert server.process.wait(DEADLINE) == 1
    first, second = server.log_text().splitlines()
    assert "does not start: port (from" in first
    assert "does not start: redis.db (from" in second


def test_warnings_about_the_configuration_are_logged_once(start_server: StartServer) -> None:
    server = start_server(
        workers=2,
        config={"redisStreamPrefx": "x"},
        environ={"GC_CHANNELS_INTERVAL_MS": "tcp://10.1.2.3:6379"},
    )
    log = server.log_text()
    assert log.count("did you mean redisStreamPrefix?") == 1
    assert log.count("Kubernetes") == 1


def test_it_serves_without_redis_until_that_comes(
    start_server: StartServer, tmp_path: Path, prefix: str
) -> None:
    redis_server = RedisServer(tmp_path)
    redis_server.stop()
    server = start_server(redis_port=redis_server.port, wait=False)
    eventually(lambda: "sockets are accepted and held" in server.log_text(), "it starts anyway")
    eventually(server.is_ready, "it answers")
    channel = new_channel()
    with connect(server.url(), additional_headers={"Cookie": cookie(channel)}) as client:
        redis_server.start()
        eventually(lambda: "following stream" in server.log_text(), "it finds Redis")
        publish(redis_server.client, prefix, channel, job_id="j")
        assert '"job_id": "j"' in str(client.recv(timeout=DEADLINE))
    redis_server.close()


# --- pings ---------------------------------------------------------------------------------------


def test_a_client_that_answers_pings_stays(start_server: StartServer) -> None:
    server = start_server(
        environ={"PING_SOCKETS_INTERVAL_MS": "100", "SOCKET_RESPONSE_TIMEOUT_MS": "300"}
    )
    headers = {"Cookie": cookie("c")}
    with connect(server.url(), additional_headers=headers, ping_interval=None) as client:
        with pytest.raises(TimeoutError):
            client.recv(timeout=2)  # several time-outs long
        client.ping().wait(DEADLINE)


def test_a_client_that_does_not_answer_pings_is_terminated(start_server: StartServer) -> None:
    server = start_server(
        environ={"PING_SOCKETS_INTERVAL_MS": "100", "SOCKET_RESPONSE_TIMEOUT_MS": "300"}
    )
    client = raw_client(server)
    received = b""
    while chunk := client.recv(100):
        received += chunk
    pings = [received[i : i + 10] for i in range(0, len(received), 10)]
    # They carry their time, and then comes the end without a close frame.
    assert {(len(ping), ping[:2]) for ping in pings} == {(10, b"\x89\x08")}
    client.close()


def test_a_client_s_ping_is_answered(server: Server) -> None:
    with connect(server.url(), additional_headers={"Cookie": cookie("c")}) as client:
        assert client.ping(b"payload").wait(DEADLINE)


# --- stop ----------------------------------------------------------------------------------------


def test_sigterm_closes_the_sockets_with_1001_and_ends(start_server: StartServer) -> None:
    server = start_server(workers=2)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(connect(server.url(), additional_headers={"Cookie": cookie("c")}))
            for _ in range(10)
        ]
        assert server.terminate() == 0
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
    assert "Traceback" not in server.log_text()


def test_a_client_that_ignores_the_close_does_not_hold_up_the_stop(
    start_server: StartServer,
) -> None:
    server = start_server(environ={"CLOSE_TIMEOUT_MS": "300"})
    client = raw_client(server)
    assert server.terminate() == 0
    client.close()


def test_a_client_that_says_nothing_does_not_hold_up_the_stop(start_server: StartServer) -> None:
    server = start_server(environ={"CLOSE_TIMEOUT_MS": "300000", "DRAIN_MS": "100"})
    with connected(server) as client:
        server.process.terminate()
        assert client.recv(1) == b""
    assert server.process.wait(DEADLINE) == 0


def test_a_client_that_has_come_just_before_the_stop_gets_its_answer(
    start_server: StartServer,
) -> None:
    server = start_server(environ={"DRAIN_MS": "60000"})
    with connected(server) as client:
        server.process.terminate()
        eventually(lambda: "closing 0 sockets" in server.log_text(), "the stop has begun")
        client.sendall(HANDSHAKE)
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
    assert server.process.wait(DEADLINE) == 0


def test_a_plain_request_on_a_connection_from_before_the_stop_gets_its_answer(
    start_server: StartServer,
) -> None:
    server = start_server(environ={"DRAIN_MS": "60000"})
    with connected(server) as client:
        server.process.terminate()
        eventually(lambda: "closing 0 sockets" in server.log_text(), "the stop has begun")
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while chunk := client.recv(1000):  # until it is closed: no descriptor is left
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\nOK")
    assert server.process.wait(DEADLINE) == 0
    assert "Traceback" not in server.log_text()


# --- what is kept --------------------------------------------------------------------------------


def test_more_than_a_thousand_sockets_per_worker(start_server: StartServer, prefix: str) -> None:
    server = start_server()
    clients = [raw_client(server, "crowd") for _ in range(1100)]
    status = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    status.sendall(b"GET /health HTTP/1.0\r\n\r\n")
    assert b"200 OK" in status.recv(1000)
    for client in [status, *clients]:
        client.close()


def test_memory_and_descriptors_return_when_the_clients_have_gone(
    start_server: StartServer,
) -> None:
    server = start_server()
    (pid,) = server.pids()
    worker = psutil.Process(pid)

    def crowd() -> None:
        clients = [raw_client(server, f"channel {n % 50}") for n in range(400)]
        for client in clients:
            client.close()
        eventually(lambda: worker.num_fds() <= descriptors, "the descriptors are closed")

    descriptors = worker.num_fds()
    crowd()
    level = worker.memory_info().rss
    for _ in range(5):
        crowd()
    # 2,000 connections later: a leak of half a KiB per connection would show.
    assert worker.memory_info().rss - level < 1024 * 1024


# --- StatsD --------------------------------------------------------------------------------------


def test_statsd_counts_clients_and_gauges_them(start_server: StartServer) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(DEADLINE)
    port = listener.getsockname()[1]
    start = {"statsd": {"port": port, "globalTags": ["env:test"], "prefix": "p."}}
    server = start_server(config=start)
    client = raw_client(server)
    seen: set[str] = set()
    deadline = time.monotonic() + DEADLINE
    wanted = {
        "p.ws_connected_client:1|c|#env:test,worker:1,transport:streams",
        "p.ws_connected_clients:1|g|#env:test,worker:1",
    }
    while not wanted <= seen:
        assert time.monotonic() < deadline, seen
        seen.add(listener.recv(1000).decode())
    client.close()
    listener.close()
