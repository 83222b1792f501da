# SPDX-License-Identifier: Apache-2.0
"""The plain HTTP side under Flask's test client, and what importing the package does not do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from wsgi_ws.http.app import METRICS, METRICS_LISTENER, create_app

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client() -> FlaskClient:
    return create_app().test_client()


def run(script: str) -> str:
    """Output of a script in an interpreter of its own; a failure there fails here."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- answers -------------------------------------------------------------------------------------


def test_health_says_ok(client: FlaskClient) -> None:
    response = client.get("/health")
    assert (response.status_code, response.text) == (200, "OK")


def test_head_of_health_is_the_same_without_a_body(client: FlaskClient) -> None:
    response = client.head("/health")
    assert (response.status_code, response.data, response.content_length) == (200, b"", 2)


@pytest.mark.parametrize("path", ["/", "/ws", "/health/", "/Health", "/static/x", "//health"])
def test_any_other_path_is_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.text) == (404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "XYZ"])
def test_any_other_method_is_not_found(client: FlaskClient, method: str) -> None:
    response = client.open("/health", method=method)
    assert (response.status_code, response.text) == (404, "Not Found")


@pytest.mark.parametrize("path", ["/health", "/"])
def test_answers_are_plain_text(client: FlaskClient, path: str) -> None:
    assert client.get(path).content_type == "text/plain; charset=utf-8"


def test_a_defect_is_answered_with_500_and_nothing_about_it() -> None:
    app = create_app()
    app.add_url_rule("/defect", view_func=lambda: str(1 // 0))
    response = app.test_client().get("/defect")
    assert (response.status_code, response.text) == (500, "Internal Server Error")


def test_two_applications_share_nothing() -> None:
    assert create_app() is not create_app()


# --- metrics -------------------------------------------------------------------------------------


@pytest.fixture
def measured() -> FlaskClient:
    app = create_app()
    app.config[METRICS] = lambda: ("text/plain; version=1", b"a 1")
    return app.test_client()


def test_without_a_worker_there_are_no_metrics(client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 404


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "203.0.113.7", ""])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "superset.example.com"])
def test_at_the_main_port_nobody_sees_them(measured: FlaskClient, peer: str, host: str) -> None:
    response = measured.get("/metrics", environ_base={"REMOTE_ADDR": peer}, headers={"Host": host})
    assert (response.status_code, response.text) == (404, "Not Found")


def test_whoever_tries_it_on_this_machine_finds_the_key_in_the_log_once(
    measured: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for peer in ("203.0.113.7", "127.0.0.1", "127.0.0.1"):
        measured.get("/metrics", environ_base={"REMOTE_ADDR": peer})
    (message,) = caplog.messages
    assert "metricsPort" in message


def test_everybody_may_at_prometheuss_own_listener(measured: FlaskClient) -> None:
    response = measured.get(
        "/metrics",
        headers={"Host": "a", "X-Forwarded-For": "b"},
        environ_base={"REMOTE_ADDR": "203.0.113.7", METRICS_LISTENER: True},
    )
    assert response.status_code == 200


# --- what it needs, and what it leaves alone -----------------------------------------------------


def test_http_works_where_gevent_redis_and_gunicorn_can_not_be_imported() -> None:
    output = run(
        """
        import sys
        for name in ("gevent", "geventwebsocket", "greenlet", "redis", "gunicorn"):
            sys.modules[name] = None  # importing it raises ImportError

        from wsgi_ws.http.app import create_app
        response = create_app().test_client().get("/health")
        print(response.status_code, response.text)
        """
    )
    assert output == "200 OK\n"


@pytest.mark.parametrize("module", ["wsgi_ws", "wsgi_ws.config", "wsgi_ws.service"])
def test_importing_has_no_side_effects(module: str) -> None:
    output = run(
        f"""
        import logging, os, select, signal, socket, ssl, sys, threading, time, warnings

        def state():
            patchable = (socket.socket, socket.getaddrinfo, select.select, time.sleep,
                         threading.Thread, threading.get_ident, os.fork, ssl.SSLSocket)
            return (
                patchable,
                dict(os.environ),
                os.getcwd(),
                [signal.getsignal(number) for number in signal.valid_signals()],
                threading.enumerate(),
                logging.root.handlers[:],
                logging.root.level,
                logging.getLogger("wsgi_ws").handlers[:],
                sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else [],
            )

        warnings.simplefilter("ignore")  # gevent-websocket's own
        before = state()
        import {module}
        after = state()
        print([i for i, (a, b) in enumerate(zip(before, after)) if a != b])
        """
    )
    assert output == "[]\n"


def test_importing_the_package_loads_neither_gevent_nor_redis_nor_gunicorn() -> None:
    output = run(
        """
        import sys
        import wsgi_ws
        print([n for n in ("gevent", "geventwebsocket", "redis", "gunicorn") if n in sys.modules])
        """
    )
    assert output == "[]\n"
