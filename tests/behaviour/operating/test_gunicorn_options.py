# SPDX-License-Identifier: Apache-2.0
"""gunicorn's own options: what can't work is refused, what does nothing is said."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from testbed.ports import free_port
from testbed.servers import DEADLINE, Server, eventually

StartServer = Callable[..., Server]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preload"], "--preload (from the command line) would patch"),
        (["--max-requests", "100"], "--max-requests (from the command line) has no meaning"),
        (["--timeout", "1"], "--timeout (from the command line) is 1, shorter than"),
        (["--workers", "0"], "--workers (from the command line) is 0, which would serve nobody"),
        (["-k", "sync"], "--worker-class (from the command line) names a worker class that"),
        (
            ["--certfile", "/dev/null", "--keyfile", "/dev/null"],
            "--certfile (from the command line) is not supported: let the proxy in front do TLS",
        ),
        (
            ["-b", "127.0.0.1:78414"],
            "--bind (from the command line) is 127.0.0.1:78414, with a port that is not between",
        ),
        (["--proxy-protocol"], "--proxy-protocol (from the command line) is not supported"),
        (
            ["-e", "REDIS_DB=3", "-e", "TZ=UTC"],
            "--env (from the command line) sets REDIS_DB only when the configuration has been read",
        ),
    ],
)
def test_what_can_t_work_is_refused_at_the_start(
    start_server: StartServer, arguments: list[str], message: str
) -> None:
    server = start_server(arguments=arguments, wait=False)
    assert server.process.wait(DEADLINE) == 1
    (line,) = [line for line in server.log_text().splitlines() if "ERROR" in line]
    assert f"the service does not start: {message}" in line
    assert "Traceback" not in server.log_text()


def test_a_variable_that_gunicorn_sets_to_what_it_is_does_no_harm(
    start_server: StartServer,
) -> None:
    environ = {"MAX_TOTAL_CONNECTIONS": "7"}
    server = start_server(environ=environ, arguments=["-e", "MAX_TOTAL_CONNECTIONS=7"])
    assert warnings(server) == []


def test_what_has_no_effect_is_warned_of_with_its_source(start_server: StartServer) -> None:
    server = start_server(
        arguments=["--keep-alive", "5", "--access-logfile", "-"],
        environ={"GUNICORN_CMD_ARGS": "--limit-request-line 8190 --log-level=debug --threads 4"},
    )
    assert [line.partition(" has no effect")[0] for line in warnings(server)] == [
        "--keep-alive (from the command line)",
        "--threads (from GUNICORN_CMD_ARGS)",
        "--log-level (from GUNICORN_CMD_ARGS)",
        "--limit-request-line (from GUNICORN_CMD_ARGS)",
        "--access-logfile (from the command line)",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("WEB_CONCURRENCY", "3", "--workers says"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1", "trustedProxies says"),
    ],
)
def test_a_variable_of_gunicorn_s_without_effect_is_warned_of(
    start_server: StartServer, variable: str, value: str, remedy: str
) -> None:
    (line,) = warnings(start_server(environ={variable: value}))
    assert line.startswith(f"{variable} (from the environment) has no effect: {remedy}")


def test_options_that_work_are_not_warned_of(start_server: StartServer) -> None:
    server = start_server(
        arguments=["--backlog", "100", "--pid", "gunicorn.pid", "--error-logfile", "-"],
        environ={"GUNICORN_CMD_ARGS": "--worker-connections=500 --graceful-timeout=20"},
    )
    assert warnings(server) == []


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({"arguments": ["-b", "127.0.0.1:{}"]}, "the command line"),
        ({"environ": {"GUNICORN_CMD_ARGS": "--bind=127.0.0.1:{}"}}, "GUNICORN_CMD_ARGS"),
    ],
)
def test_a_port_that_bind_overrules_is_said(
    start_server: StartServer, options: dict[str, Any], source: str
) -> None:
    port, vain = free_port(), free_port()
    arguments = [text.format(port) for text in options.get("arguments", [])]
    environ = {name: text.format(port) for name, text in options.get("environ", {}).items()}
    server = start_server(port=port, environ=environ | {"PORT": str(vain)}, arguments=arguments)
    assert warnings(server) == [
        f"--bind (from {source}) is 127.0.0.1:{port} and wins: port {vain} (from environment "
        "variable PORT) has no effect"
    ]


def test_a_bind_with_the_same_port_overrules_nothing(start_server: StartServer) -> None:
    port = free_port()
    server = start_server(port=port, arguments=["-b", f"127.0.0.1:{port}"])
    assert warnings(server) == []


def test_a_port_that_another_program_has_is_told_with_who_has_set_it(
    start_server: StartServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for source, arguments in (
            ("--bind (from the command line)", ["-b", f"127.0.0.1:{port}"]),
            ("port (from environment variable PORT)", []),
        ):
            server = start_server(wait=False, port=port, arguments=arguments)
            assert server.process.wait(DEADLINE) == 1
            (line,) = warnings(server)
            assert line.startswith(f"{source}: ")
            assert f":{port} can't be listened at (Address already in use)" in line


def test_a_port_that_is_free_again_in_time_is_taken(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server(wait=False, port=port, arguments=["-b", f"127.0.0.1:{port}"])
        eventually(lambda: "can't be listened at" in server.log_text(), "it is told")
    eventually(server.is_ready, "it has the port")


def warnings(server: Server) -> list[str]:
    """What its master has warned of."""
    mark = f" WARNING [{server.process.pid}] "
    lines = server.log_text().splitlines()
    return [line.partition(mark)[2] for line in lines if mark in line]
