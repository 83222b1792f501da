# SPDX-License-Identifier: Apache-2.0
"""SIGHUP with a configuration that can't be had: the service goes on, and one line says why."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from testbed.ports import free_port
from testbed.servers import DEADLINE, Server, eventually
from testbed.superset import cookie

StartServer = Callable[..., Server]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        yield stranger.getsockname()[1]


def start_with_file(start_server: StartServer, **options: Any) -> Server:
    """A server whose port is in its file, so that a reload can change it."""
    port = free_port()
    return start_server(port=port, config={"port": port}, environ={"PORT": ""}, **options)


def config_of(server: Server) -> Path:
    return server.log_path.with_name(f"config-{server.port}.json")


def reload(server: Server, document: Any) -> None:
    """SIGHUP with another configuration, and wait until new workers have taken over."""
    if isinstance(document, dict):
        document = json.dumps({"port": server.port} | document)
    config_of(server).write_text(document)
    send_hup(server)


def send_hup(server: Server) -> None:
    before = set(server.pids())

    def are_replaced() -> bool:
        assert server.process.poll() is None, server.log_text()
        now = set(server.pids())
        return bool(now) and not before & now

    server.process.send_signal(signal.SIGHUP)
    eventually(are_replaced, "there are other workers")


def serves(server: Server) -> bool:
    with connect(server.url(), additional_headers={"Cookie": cookie("c")}) as client:
        return client.ping().wait(DEADLINE)


def errors(server: Server) -> list[str]:
    """The service's own: gunicorn 22 calls a worker that ends by the master's signal an error."""
    lines = server.log_text().splitlines()
    return [line for line in lines if " ERROR " in line and "was sent SIGTERM" not in line]


def test_a_port_that_somebody_else_has_leaves_the_service_where_it_is(
    start_server: StartServer, taken_port: int
) -> None:
    server = start_with_file(start_server)
    reload(server, {"port": taken_port, "maxTotalConnections": 7})
    assert serves(server)
    (line,) = errors(server)
    assert f"port (from {config_of(server)}) is {taken_port}, which can't be listened at" in line
    assert f"the service stays at {server.port}" in line


def test_a_port_that_has_become_free_is_taken_at_the_next_reload(
    start_server: StartServer, taken_port: int
) -> None:
    server = start_with_file(start_server)
    reload(server, {"port": taken_port})
    config, server.port = config_of(server), free_port()
    config.rename(config_of(server))
    config.symlink_to(config_of(server))
    reload(server, {"port": server.port})
    assert serves(server)


def test_a_port_that_the_command_line_overrules_is_not_asked_for(
    start_server: StartServer, taken_port: int
) -> None:
    port = free_port()
    server = start_server(
        port=port,
        config={},
        environ={"PORT": ""},
        arguments=["--bind", f"127.0.0.1:{port}"],
    )
    reload(server, {"port": taken_port})
    assert serves(server)
    assert errors(server) == []


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"redis": {"unixSocketPath": "\ud800"}}, "redis.unixSocketPath"),
        ({"redis": {"ssl": True, "sslCaCerts": "a\0b"}}, "redis.sslCaCerts"),
        ({"redis": {"ssl": True, "sslCertfile": "/is/not/there"}}, "redis.sslCertfile"),
        ({"supersetConfig": "/x" * 3000}, "supersetConfig"),
        ({"metricsHost": "a..b", "metricsPort": 9100}, "metricsHost"),
        ({"redis": {"host": "redis..svc"}}, "redis.host"),
        ("{", "not valid JSON"),
    ],
)
def test_no_value_of_the_file_ends_a_service_that_runs(
    start_server: StartServer, document: Any, named: str
) -> None:
    server = start_with_file(start_server)
    reload(server, document)
    assert serves(server)
    (line,) = errors(server)
    assert named in line


def test_a_drain_that_gunicorn_has_no_time_for_does_not_come_into_use(
    start_server: StartServer,
) -> None:
    server = start_with_file(start_server, arguments=["--graceful-timeout", "30"])
    reload(server, {"drainMs": 60000})
    (line,) = errors(server)
    assert "--graceful-timeout (from the command line) is 30, but a stop may take 66 s" in line
    assert server.terminate() == 0


def test_a_file_that_can_not_be_read_does_not_either(start_server: StartServer) -> None:
    server = start_with_file(start_server)
    config = config_of(server)
    config.unlink()
    config.mkdir()
    send_hup(server)
    assert serves(server)
    (line,) = errors(server)
    assert f"configuration file {config} can't be read" in line
