# SPDX-License-Identifier: Apache-2.0
"""Workers that die, hang, run out of descriptors or are set up in a way that can't work."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from testbed.ports import free_port
from testbed.servers import DEADLINE, ROOT, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]

# gunicorn's configuration of the project, with a fan-out that obeys the job id of an event.
SABOTAGED_CONFIGURATION = f"""
exec(open({str(ROOT / "gunicorn.conf.py")!r}).read())

def post_worker_init(worker):
    from gevent import monkey
    from wsgi_ws.sources.streams.fanout import Fanout
    deliver = Fanout.deliver
    def sabotaged(self, entries):
        text = b"".join(entry[1][1] for entry in entries)
        if b"die here" in text:
            raise RuntimeError("sabotage")
        if b"sleep here" in text:
            monkey.get_original("time", "sleep")(2.5)
        deliver(self, entries)
    Fanout.deliver = sabotaged
"""

# Its first worker is told to stop as soon as it is there.
HASTY_CONFIGURATION = f"""
exec(open({str(ROOT / "gunicorn.conf.py")!r}).read())
prepare = post_fork

def post_fork(server, worker):
    prepare(server, worker)
    if worker.age == 1:
        import signal
        signal.raise_signal(signal.SIGTERM)
"""


def open_tab(server: Server, channel: str) -> ClientConnection:
    return connect(server.url(), additional_headers={"Cookie": cookie(channel)})


@pytest.fixture
def sabotaged(start_server: StartServer, tmp_path: Path) -> Server:
    configuration = tmp_path / "sabotaged.conf.py"
    configuration.write_text(SABOTAGED_CONFIGURATION)
    return start_server(arguments=["-c", str(configuration)])


def test_a_killed_worker_takes_only_its_own_sockets_and_is_replaced(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(workers=2)
    victim = server.pids()[0]
    channel = new_channel()
    with contextlib.ExitStack() as stack:
        tabs = [stack.enter_context(open_tab(server, channel)) for _ in range(20)]
        at_victim = _established(victim)
        assert 0 < at_victim < 20
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: server.log_text().count("following stream") == 3, "a new worker serves")
        publish(redis_server.client, prefix, channel, job_id="j")
        survivors = [tab for tab in tabs if _gets_an_event(tab)]
        assert len(survivors) == 20 - at_victim


def _established(pid: int) -> int:
    """WebSockets of a worker."""
    import psutil

    connections = psutil.Process(pid).net_connections("tcp")
    (port,) = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return sum(c.laddr.port == port and c.status == "ESTABLISHED" for c in connections)


def _gets_an_event(tab: ClientConnection) -> bool:
    try:
        return bool(tab.recv(timeout=DEADLINE))
    except ConnectionClosed:
        return False


def test_a_greenlet_that_dies_ends_the_worker_with_a_line(
    sabotaged: Server, redis_server: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    with open_tab(sabotaged, channel) as client:
        publish(redis_server.client, prefix, channel, job_id="die here")
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=DEADLINE)
    log = sabotaged.log_text()
    assert "StreamFollower.run died (RuntimeError('sabotage')): this worker ends" in log
    eventually(lambda: sabotaged.log_text().count("following stream") == 2, "it is replaced")


def test_a_blocked_loop_is_logged_with_what_blocks_it(
    sabotaged: Server, redis_server: RedisServer, prefix: str
) -> None:
    publish(redis_server.client, prefix, "c", job_id="sleep here")
    eventually(lambda: "the event loop is blocked" in sabotaged.log_text(), "it is noticed")
    eventually(lambda: "in sabotaged" in sabotaged.log_text(), "the culprit is named")


def test_at_the_descriptor_limit_it_refuses_politely_and_recovers(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(max_files=100)
    channel = new_channel()
    tabs: list[ClientConnection] = []
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(WebSocketException, OSError):
            while len(tabs) < 200:
                tabs.append(stack.enter_context(open_tab(server, channel)))
        assert len(tabs) < 100
        eventually(lambda: _status_line(server).startswith(b"HTTP/1.1 503 "), "it says so")
        publish(redis_server.client, prefix, channel, job_id="j")
        assert all(_gets_an_event(tab) for tab in tabs)
    eventually(lambda: _status_line(server) == b"HTTP/1.1 200 OK", "it recovers")
    assert server.log_text().count("new connections get 503 until some end") == 1
    assert "Traceback" not in server.log_text()


def test_with_as_many_clients_as_there_is_room_for_redis_still_comes_back(
    start_server: StartServer, tmp_path: Path, prefix: str
) -> None:
    redis_server = RedisServer(tmp_path)
    metrics_port = free_port()
    with contextlib.closing(redis_server), contextlib.ExitStack() as stack:
        server = start_server(
            redis_port=redis_server.port, max_files=100, environ={"METRICS_PORT": str(metrics_port)}
        )
        channel = new_channel()
        tabs: list[ClientConnection] = []

        def is_full() -> bool:
            # The client library asserts that a handshake's connection isn't closed in its midst.
            with contextlib.suppress(WebSocketException, OSError, AssertionError):
                while len(tabs) < 200:
                    tabs.append(stack.enter_context(open_tab(server, channel)))
            return is_refused()

        def is_refused(*where: Any) -> bool:
            return _status_line(server, *where).startswith(b"HTTP/1.1 503 ")

        eventually(is_full, "new clients are refused")
        redis_server.stop()
        eventually(lambda: is_refused(metrics_port, "/ready"), "the worker notices")
        eventually(is_full, "clients have what the connection to Redis has left")
        for _ in range(20):  # that say nothing
            address = ("127.0.0.1", server.port)
            stack.enter_context(socket.create_connection(address, timeout=DEADLINE))
        redis_server.start()
        publish(redis_server.client, prefix, channel, job_id="j")
        assert all(_gets_an_event(tab) for tab in tabs)
        eventually(
            lambda: _status_line(server, metrics_port, "/metrics") == b"HTTP/1.1 200 OK",
            "Prometheus gets its answer",
        )
    assert server.log_text().count("the rest is kept for Redis, logs and metrics") == 1


def _status_line(server: Server, port: int | None = None, path: str = "/health") -> bytes:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port or server.port), timeout=DEADLINE) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return client.recv(1000).split(b"\r\n")[0]
    return b""


def test_a_limit_of_files_below_the_limit_of_connections_is_warned_of(
    start_server: StartServer,
) -> None:
    server = start_server(max_files=100, environ={"MAX_TOTAL_CONNECTIONS": "1000"})
    assert "may open only 100 files" in server.log_text()


def test_a_stop_is_spread_over_the_configured_time(start_server: StartServer) -> None:
    server = start_server(environ={"DRAIN_MS": "1500"})
    with contextlib.ExitStack() as stack:
        tabs = [stack.enter_context(open_tab(server, "c")) for _ in range(10)]
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        ends = []
        for tab in tabs:
            with pytest.raises(ConnectionClosed) as closed:
                tab.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            ends.append(time.monotonic() - begin)
        assert max(ends) > 1.0
    assert server.process.wait(DEADLINE) == 0


def test_gunicorn_waits_for_a_stop_that_takes_longer_than_its_default(
    start_server: StartServer,
) -> None:
    server = start_server(environ={"DRAIN_MS": "33000"}, arguments=["--print-config"], wait=False)
    assert server.process.wait(DEADLINE) == 0
    assert re.search(r"^graceful_timeout +.* 39$", server.log_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"arguments": ["--graceful-timeout", "8"]}, "the command line"),
        ({"environ": {"GUNICORN_CMD_ARGS": "--graceful-timeout=8"}}, "GUNICORN_CMD_ARGS"),
    ],
)
def test_an_option_that_leaves_no_time_to_close_the_sockets_is_refused(
    start_server: StartServer, given: dict[str, Any], source: str
) -> None:
    server = start_server(config={"drainMs": 4000}, wait=False, **given)
    assert server.process.wait(DEADLINE) == 1
    (line,) = [line for line in server.log_text().splitlines() if "ERROR" in line]
    assert f"--graceful-timeout (from {source}) is 8, but a stop may take 10 s by drainMs" in line


def test_a_reload_replaces_the_workers_and_loses_no_event(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(environ={"DRAIN_MS": "200"})
    channel = new_channel()
    with open_tab(server, channel) as client:
        last_id, _ = publish(redis_server.client, prefix, channel, job_id="before")
        assert client.recv(timeout=DEADLINE)
        server.process.send_signal(signal.SIGHUP)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=DEADLINE)
    publish(redis_server.client, prefix, channel, job_id="between")
    url = server.url(f"/?last_id={last_id}")
    with connect(url, additional_headers={"Cookie": cookie(channel)}) as client:
        assert '"job_id": "between"' in str(client.recv(timeout=DEADLINE))


@pytest.mark.parametrize("pause", [0.05, 0.1, 0.15, 0.3])
def test_a_worker_that_is_told_to_stop_while_it_starts_does_so_quietly(
    start_server: StartServer, pause: float
) -> None:
    server = start_server(workers=2)
    server.process.send_signal(signal.SIGHUP)
    time.sleep(pause)  # somewhere in the new workers' start
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: server.log_text().count("Hang up") == 2, "both reloads have begun")
    eventually(lambda: len(server.pids()) == 2 and server.is_ready(), "the others have gone")
    assert "Traceback" not in server.log_text()


def test_a_worker_that_is_told_to_stop_before_it_has_begun_to_start_does_so(
    start_server: StartServer, tmp_path: Path
) -> None:
    configuration = tmp_path / "hasty.conf.py"
    configuration.write_text(HASTY_CONFIGURATION)
    server = start_server(arguments=["-c", str(configuration)])
    log = server.log_text()
    assert log.count("Booting worker") == 2
    assert log.count("Worker exiting") == 1
    assert log.count("following stream") == 1


def test_a_reload_with_a_broken_configuration_changes_nothing_and_says_so(
    start_server: StartServer,
) -> None:
    server = start_server(config={})
    config = server.log_path.with_name(f"config-{server.port}.json")
    config.write_text(json.dumps({"pingSocketsIntervalMs": "soon"}))
    before = server.pids()
    server.process.send_signal(signal.SIGHUP)
    line = "not all of the configuration is changed: pingSocketsIntervalMs"
    eventually(lambda: line in server.log_text(), "the key is named")
    eventually(lambda: not set(before) & set(server.pids()), "the workers are replaced")
    with open_tab(server, "c") as client:
        assert client.ping().wait(DEADLINE)


def test_a_reload_moves_the_metrics_to_another_port(start_server: StartServer) -> None:
    server = start_server(config={})
    config = server.log_path.with_name(f"config-{server.port}.json")
    port = free_port()
    config.write_text(json.dumps({"metricsPort": port}))
    server.process.send_signal(signal.SIGHUP)

    def metrics_are_there() -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                return b"wsgi_ws_workers" in answer.read()
        return False

    eventually(metrics_are_there, "they are at the new port")
