# SPDX-License-Identifier: Apache-2.0
"""Plain requests, whose heads have been read: what WSGI sees, and what pywsgi must go on to do."""

from __future__ import annotations

import _socket
import socket
from typing import Any

import gevent
import gevent.socket
import pytest

from testbed.servers import DEADLINE
from wsgi_ws.http.plain import PlainServer

GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"


class Application:
    """Says what it has been asked."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.wants_body, self.body = False, b""
        self.pause = 0.0  # seconds

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gevent.sleep(self.pause)
        self.environ = environ
        if self.wants_body:
            self.body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


class Plain:
    def __init__(self, capacity: int = 10, timeout: float = DEADLINE) -> None:
        self.application = Application()
        self.server = PlainServer(
            self.application, {"of": "every request"}, capacity=capacity, timeout=timeout
        )

    def ask(self, read: bytes, peer: Any = ("192.0.2.1", 5)) -> gevent.socket.socket:
        """A client of which this has been read."""
        client, server = socket.socketpair()
        self.server.serve(_socket.socket(fileno=server.detach()), peer, read, {"of": "this one"})
        waiting = gevent.socket.socket(fileno=client.detach())
        waiting.settimeout(DEADLINE)
        return waiting


@pytest.fixture
def plain() -> Plain:
    return Plain()


def all_of(client: gevent.socket.socket) -> bytes:
    """What comes until the server closes."""
    with client:
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_a_request_is_answered_by_the_application(plain: Plain) -> None:
    assert all_of(plain.ask(GET)).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_environ_is_that_of_the_server_the_listening_socket_and_the_request(
    plain: Plain,
) -> None:
    all_of(plain.ask(GET))
    wanted = {
        "of": "this one",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "REMOTE_ADDR": "192.0.2.1",
        "SERVER_NAME": "",
        "SERVER_PORT": "",
    }
    assert {name: plain.application.environ[name] for name in wanted} == wanted


def test_the_server_is_named_by_the_address_that_was_connected_to() -> None:
    plain = Plain()
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        gevent.socket.create_connection(listening.getsockname(), timeout=DEADLINE) as client,
    ):
        accepted, peer = listening.accept()
        plain.server.serve(_socket.socket(fileno=accepted.detach()), peer, GET, {})
        all_of(client)
        name, port = listening.getsockname()
    assert plain.application.environ["SERVER_NAME"] == name
    assert plain.application.environ["SERVER_PORT"] == str(port)


def test_a_body_may_come_later(plain: Plain) -> None:
    plain.application.wants_body = True
    client = plain.ask(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
    gevent.sleep(0.001)
    client.sendall(b"cd")
    all_of(client)
    assert plain.application.body == b"abcd"


def test_a_client_that_does_not_send_its_body_in_time_is_closed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    plain = Plain(timeout=0.02)
    assert all_of(plain.ask(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"))
    assert "".join(capfd.readouterr()) == ""


def test_a_defect_is_logged_and_answered(
    plain: Plain, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    plain.server._pywsgi.application = None
    assert all_of(plain.ask(GET)).startswith(b"HTTP/1.1 500 ")
    assert caplog.messages == ["a plain request could not be answered"]
    assert "".join(capfd.readouterr()) == ""


def test_a_defect_that_many_requests_meet_is_one_traceback_in_the_log(
    plain: Plain, caplog: pytest.LogCaptureFixture
) -> None:
    plain.server._pywsgi.application = None
    for _ in range(3):
        all_of(plain.ask(GET))
    assert caplog.messages == ["a plain request could not be answered"]


def test_beyond_the_capacity_a_request_waits_for_one_before_it() -> None:
    plain = Plain(capacity=1)
    plain.application.pause = 0.01
    first = plain.ask(GET)
    second = plain.ask(GET)  # waits
    assert b"200 OK" in all_of(first)
    assert b"200 OK" in all_of(second)


def test_answers_under_way_are_counted(plain: Plain) -> None:
    plain.application.pause = 0.01
    client = plain.ask(GET)
    assert len(plain.server) == 1
    all_of(client)
    gevent.sleep(0)
    assert len(plain.server) == 0


# --- the holds on parts of pywsgi that are not documented ----------------------------------------


def test_pywsgi_still_asks_whether_to_close_the_connection(plain: Plain) -> None:
    assert all_of(plain.ask(GET + GET)).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_pywsgi_still_completes_an_answers_headers_in_one_method(
    plain: Plain, version: bytes
) -> None:
    answer = all_of(plain.ask(GET.replace(b"HTTP/1.1", version)))
    assert answer.count(b"\r\nConnection: close\r\n") == answer.count(b"Connection") == 1


def test_pywsgi_still_writes_its_access_line_in_one_method(
    plain: Plain, capfd: pytest.CaptureFixture[str]
) -> None:
    all_of(plain.ask(GET))
    assert "".join(capfd.readouterr()) == ""
