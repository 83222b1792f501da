# SPDX-License-Identifier: Apache-2.0
"""The name of the StatsD server: a resolver that hangs, or that comes later, holds up nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.http_client import ask
from testbed.servers import ROOT, Server, eventually

StartServer = Callable[..., Server]

# Python loads it by itself, before gevent: a resolver that reads one name from a file.
SITECUSTOMIZE = """
import _socket, pathlib, socket, time

def getaddrinfo(host, *rest, original=_socket.getaddrinfo, sleep=time.sleep, **options):
    if host in ("statsd.test", b"statsd.test"):
        address = pathlib.Path({file!r}).read_text()
        if address == "hangs":
            sleep(60)
        if not address:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = address
    return original(host, *rest, **options)

_socket.getaddrinfo = getaddrinfo
"""
# The project's settings for gunicorn, with look-ups in quick succession.
QUICK = """
globals().update(__import__("runpy").run_path({conf!r}))

def post_worker_init(worker):
    from wsgi_ws.observe import statsd

    statsd.LOOK_UP_PAUSE, statsd.LOOK_UP_INTERVAL = 0.1, 0.2
"""


@pytest.fixture
def address(tmp_path: Path) -> Path:
    """The file with the address of statsd.test; empty: nobody knows it."""
    file = tmp_path / "address"
    file.touch()
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE.format(file=str(file)))
    (tmp_path / "quick_conf.py").write_text(QUICK.format(conf=str(ROOT / "gunicorn.conf.py")))
    return file


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setblocking(False)
        yield collector


@pytest.fixture
def start(
    start_server: StartServer, tmp_path: Path, collector: socket.socket, address: Path
) -> Callable[[], Server]:
    environ = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "STATSD_HOST": "statsd.test",
        "STATSD_PORT": str(collector.getsockname()[1]),
    }
    return lambda: start_server(environ=environ, arguments=["-c", str(tmp_path / "quick_conf.py")])


def received(collector: socket.socket) -> bytes:
    try:
        return collector.recv(65536)
    except BlockingIOError:
        return b""


def test_a_name_that_is_known_later_gets_its_metrics_then(
    start: Callable[[], Server], collector: socket.socket, address: Path
) -> None:
    server = start()
    eventually(lambda: "statsd.host 'statsd.test' can't be used" in server.log_text(), "a warning")
    address.write_text("127.0.0.1")
    eventually(lambda: received(collector), "metrics come")


def test_a_look_up_that_hangs_holds_up_nothing(start: Callable[[], Server], address: Path) -> None:
    address.write_text("hangs")
    server = start()  # it is ready
    assert ask(server, path="/ready")[0] == 200
    assert server.terminate() == 0  # sooner than the look-up
    assert "SIGKILL" not in server.log_text()
