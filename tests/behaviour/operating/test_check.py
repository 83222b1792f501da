# SPDX-License-Identifier: Apache-2.0
"""`python -m wsgi_ws check`: each mismatch is set up for real and named in one sentence.

Real redis-server, gunicorn and nginx processes, real superset_config.py files.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from testbed.nginx import UPGRADE, Nginx
from testbed.servers import ROOT, SECRET, RedisServer, Server, free_port
from testbed.superset import new_channel, publish
from wsgi_ws.cli.checks import url as check_url
from wsgi_ws.cli.checks.findings import Level
from wsgi_ws.cli.checks.report import Report, as_json
from wsgi_ws.cli.checks.whole import Wishes, run
from wsgi_ws.cli.socket_client import Trust

PUBLIC_SECRET = "another-secret-of-tests-with-more-than-32-bytes"
StartServer = Callable[..., Server]


@pytest.fixture
def environ(
    redis_server: RedisServer, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A set-up that is right, with events in the stream; the working directory is empty."""
    publish(redis_server.client, prefix, new_channel())
    monkeypatch.chdir(tmp_path)
    return {
        "PORT": str(free_port()),
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM_PREFIX": prefix,
        "JWT_SECRET": SECRET,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
    }


class Superset:
    """A superset_config.py that fits the environment, and what a test changes in it."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.path = directory / "superset_config.py"
        self.lines = {
            "FEATURE_FLAGS": '{"GLOBAL_ASYNC_QUERIES": True}',
            "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND": (
                '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "localhost", '
                f'"CACHE_REDIS_PORT": {environ["REDIS_PORT"]}}}'
            ),
            "GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX": repr(environ["REDIS_STREAM_PREFIX"]),
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET": repr(SECRET),
            "GLOBAL_ASYNC_QUERIES_TRANSPORT": '"ws"',
            "GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL": '"ws://bi.example.org/ws"',
            "DATA_CACHE_CONFIG": '{"CACHE_TYPE": "RedisCache"}',
        }

    def write(self, **changed: str | None) -> str:
        """Write the file with these assignments changed, added or (None) left out; its path."""
        lines = self.lines | {k: v for k, v in changed.items() if v is not None}
        lines = {k: v for k, v in lines.items() if changed.get(k, "") is not None}
        self.path.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        return str(self.path)


@pytest.fixture
def superset(tmp_path: Path, environ: dict[str, str]) -> Superset:
    return Superset(tmp_path, environ)


def sentences(report: Report, *levels: Level) -> str:
    """The findings as lines."""
    wanted = levels or (Level.YELLOW, Level.RED)
    return "\n".join(f"{f.what}: {f.sentence}" for f in report.findings if f.level in wanted)


def assert_named(report: Report, level: Level, *words: str) -> None:
    """One finding of this level has all these words, in this order."""
    for finding in report.findings:
        rest: str | None = finding.sentence if finding.level is level else None
        for word in words:
            rest = rest.partition(word)[2] if rest is not None and word in rest else None
        if rest is not None:
            return
    pytest.fail(f"no {level.name} finding with {words} in:\n{sentences(report, *Level)}")


# --- a right set-up ------------------------------------------------------------------------------


def test_a_right_set_up_is_green(environ: dict[str, str], superset: Superset) -> None:
    report = run(environ, Wishes(superset=superset.write()))
    assert sentences(report) == ""
    assert_named(report, Level.GREEN, "equal on both sides", "jwtSecret", "redis.db")
    assert_named(report, Level.GREEN, "-full has 1 entry")
    assert_named(report, Level.GREEN, "may do XREAD, XRANGE, XREVRANGE and TIME")


def test_every_value_is_listed_with_its_source(environ: dict[str, str]) -> None:
    values = {v.key: v for v in run(environ, Wishes()).configuration}
    assert str(values["port"].source) == "environment variable PORT"
    assert (values["redis.db"].value, values["redis.db"].is_default) == ("0", True)
    assert values["jwtSecret"].value == "(set, not shown)"


def test_no_secret_is_in_any_output(
    environ: dict[str, str], superset: Superset, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    environ["REDIS_PASSWORD"] = "hunter2-of-here"
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_JWT_SECRET=repr("s3cret-of-superset-" * 3),
        GLOBAL_ASYNC_QUERIES_CACHE_BACKEND=(
            '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_PASSWORD": "hunter2-of-superset"}'
        ),
    )
    output = as_json(run(environ, Wishes(superset=path)))
    for secret in (SECRET, PUBLIC_SECRET, "hunter2", "s3cret-of-superset"):
        assert secret not in output


def command(
    *arguments: str, environ: dict[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wsgi_ws", *arguments],
        env=environ,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_exit_status_tells_scripts(environ: dict[str, str], tmp_path: Path) -> None:
    fine = command("check", environ=environ, directory=tmp_path)
    assert (fine.returncode, fine.stderr) == (0, "")
    bad = command("check", environ=environ | {"REDIS_PORT": "1"}, directory=tmp_path)
    assert bad.returncode == 1


def test_json_is_for_programs(environ: dict[str, str], tmp_path: Path) -> None:
    done = command("check", "--json", environ=environ, directory=tmp_path)
    document = json.loads(done.stdout)
    assert document["level"] == "green"
    assert {"key", "value", "source"} == set(document["configuration"][0])
    assert {"level", "what", "sentence"} == set(document["findings"][0])


def test_no_colours_without_a_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    assert "\x1b" not in command("check", environ=environ, directory=tmp_path).stdout


# --- the configuration ---------------------------------------------------------------------------


def test_a_missing_secret_does_not_hide_the_rest(environ: dict[str, str]) -> None:
    del environ["JWT_SECRET"]
    report = run(environ, Wishes())
    assert_named(report, Level.RED, "the server does not start", "jwtSecret is not set")
    assert_named(report, Level.GREEN, "answers, version")


def test_all_that_is_wrong_is_named_and_the_rest_looked_at(
    environ: dict[str, str], superset: Superset, tmp_path: Path
) -> None:
    wrong = {"jwtCookieName": 5, "metricsPort": "x"}
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    path = superset.write(GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX='"bi-"')
    url = check_url.Options(f"ws://127.0.0.1:{environ['PORT']}/")
    report = run(environ, Wishes(superset=path, url=url))
    assert_named(report, Level.RED, "the server does not start", "jwtCookieName")
    assert_named(report, Level.RED, "the server does not start", "metricsPort")
    assert_named(report, Level.GREEN, "answers, version")
    assert_named(report, Level.RED, "redisStreamPrefix", "bi-")
    assert_named(report, Level.YELLOW, "not looked at, as long as jwtCookieName can't be used")


def test_a_redis_that_nobody_means_is_not_looked_at(
    environ: dict[str, str], superset: Superset, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"redis": {"sentinels": "x"}}))
    report = run(environ, Wishes(superset=superset.write()))
    assert_named(report, Level.YELLOW, "not looked at, as long as redis.sentinels can't be used")
    assert {f.what for f in report.findings if f.level is Level.RED} == {"configuration"}
    (shown,) = (v for v in report.configuration if v.key == "redis.sentinels")
    assert (shown.value, str(shown.source)) == ("(wrong, see below)", "config.json")


def test_supersets_variable_for_the_user_has_no_effect_here(environ: dict[str, str]) -> None:
    report = run(environ | {"REDIS_USER": "bi", "REDIS_PASSWORD": "hunter2"}, Wishes())
    assert_named(report, Level.YELLOW, "REDIS_USER is Superset's variable", "REDIS_USERNAME")


def test_another_secret_in_the_file_than_in_the_environment(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    report = run(environ, Wishes())
    assert_named(
        report, Level.YELLOW, "jwtSecret in config.json differs from JWT_SECRET", "which wins"
    )


def test_quotation_marks_that_became_part_of_a_value(environ: dict[str, str]) -> None:
    report = run(environ | {"JWT_SECRET": f'"{SECRET}"'}, Wishes())
    assert_named(report, Level.YELLOW, "JWT_SECRET begins and ends with a quotation mark")


def test_what_kubernetes_injects_for_a_service_named_redis(environ: dict[str, str]) -> None:
    report = run(environ | {"REDIS_PORT": "tcp://10.1.2.3:6379"}, Wishes())
    assert_named(report, Level.YELLOW, "REDIS_PORT", "Kubernetes injects", "enableServiceLinks")


def test_supersets_variable_for_tls_has_no_effect_here(environ: dict[str, str]) -> None:
    report = run(environ | {"REDIS_PROTO": "rediss"}, Wishes())
    assert_named(report, Level.YELLOW, "REDIS_PROTO=rediss", "set REDIS_SSL=true")


def test_pings_that_come_too_late_for_most_proxies(environ: dict[str, str]) -> None:
    report = run(environ | {"PING_SOCKETS_INTERVAL_MS": "90000"}, Wishes())
    assert_named(report, Level.YELLOW, "pingSocketsIntervalMs is 90000", "most proxies cut")


# --- Redis ---------------------------------------------------------------------------------------


def test_the_loopback_inside_a_container(environ: dict[str, str]) -> None:
    in_kubernetes = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "REDIS_PORT": str(free_port())}
    report = run(environ | in_kubernetes, Wishes())
    assert_named(report, Level.RED, "127.0.0.1", "is the container itself", "REDIS_HOST")


def test_a_host_name_that_nobody_knows(environ: dict[str, str]) -> None:
    report = run(environ | {"REDIS_HOST": "redis.invalid"}, Wishes())
    assert_named(report, Level.RED, "redis.invalid", "host name", "environment variable REDIS_HOST")


def test_another_database_than_supersets_default(
    environ: dict[str, str], redis_server: RedisServer
) -> None:
    """Superset's Helm chart passes REDIS_DB=1 while Superset writes events to database 0."""
    report = run(environ | {"REDIS_DB": "1"}, Wishes())
    prefix = environ["REDIS_STREAM_PREFIX"]
    assert_named(
        report,
        Level.RED,
        f"no stream {prefix}full in database 1, but {prefix}full in database 0 has events",
        "set REDIS_DB=0",
        "Helm",
    )


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    started: list[RedisServer] = []

    def start(*arguments: str, **options: Any) -> RedisServer:
        started.append(RedisServer(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


def test_another_prefix(
    environ: dict[str, str], own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = own_redis()
    publish(server.client, "bi-events-", new_channel())
    del environ["REDIS_STREAM_PREFIX"]
    (tmp_path / "config.json").write_text('{"redisStreamPrefix": "async-events-"}')
    report = run(environ | {"REDIS_PORT": str(server.port)}, Wishes())
    assert_named(
        report,
        Level.RED,
        "bi-events-full",
        'write "redisStreamPrefix": "bi-events-" in config.json',
    )


def test_no_stream_at_all(environ: dict[str, str], own_redis: Callable[..., RedisServer]) -> None:
    report = run(environ | {"REDIS_PORT": str(own_redis().port)}, Wishes())
    assert_named(report, Level.YELLOW, "nor in another database", "normal before the first query")


def test_a_stream_that_is_alive_elsewhere(
    environ: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    """After a move to another database the old stream is still there."""
    server = own_redis()
    old: Any = {"data": '{"channel_id": "c"}'}
    server.client.xadd("async-events-full", old, id="1700000000000-0")
    other = redis.Redis(port=server.port, db=3)
    publish(other, "async-events-", new_channel())
    other.close()
    del environ["REDIS_STREAM_PREFIX"]
    report = run(environ | {"REDIS_PORT": str(server.port)}, Wishes())
    assert_named(report, Level.YELLOW, "no new events", "database 3 has events", "set redis.db")


def test_a_stream_that_forgets_too_soon(
    environ: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    entry: Any = {"data": '{"channel_id": "c"}'}
    for _ in range(20):
        server.client.xadd("async-events-full", entry, maxlen=10, approximate=False)
    info: Any = server.client.xinfo_stream("async-events-full")
    del environ["REDIS_STREAM_PREFIX"]
    report = run(environ | {"REDIS_PORT": str(server.port)}, Wishes())
    if "entries-added" in info:
        assert_named(report, Level.YELLOW, "reaches back", "STREAM_LIMIT_FIREHOSE")
    else:  # before Redis 7 nobody can tell whether it was trimmed
        assert sentences(report) == ""


@pytest.mark.parametrize(
    ("password", "words"),
    [("", ("wants a password", "REDIS_PASSWORD")), ("wrong", ("refuses the password",))],
)
def test_a_password_that_is_wrong(
    environ: dict[str, str],
    own_redis: Callable[..., RedisServer],
    password: str,
    words: tuple[str, ...],
) -> None:
    server = own_redis(password="right")
    changed = {"REDIS_PORT": str(server.port), "REDIS_PASSWORD": password}
    assert_named(run(environ | changed, Wishes()), Level.RED, *words)


def test_a_password_that_nobody_wants(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"redis": {"username": ""}}')
    report = run(environ | {"REDIS_PASSWORD": "x"}, Wishes())
    assert_named(report, Level.RED, "has no password, but redis.password is set")


def test_permissions_that_are_missing(
    environ: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~async-events-*", "+xread", "+xrange", "+time")
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = run(environ | changed, Wishes())
    assert_named(
        report, Level.RED, "user ws may not do XREVRANGE on async-events-*", "ACL SETUSER ws"
    )
    server.client.execute_command("ACL", "SETUSER", "ws", "+xrevrange")
    report = run(environ | changed, Wishes())
    assert_named(report, Level.GREEN, "user ws may do XREAD")


def test_the_least_permissions_do_to_find_another_database(
    environ: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    """Those of docs/operations.md: neither SCAN nor INFO nor EXISTS."""
    server = own_redis()
    publish(server.client, "async-events-", new_channel())
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "resetkeys", "~async-events-*", "resetchannels"),
        *("-@all", "+xread", "+xrange", "+xrevrange", "+time", "+select"),
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = run(environ | changed | {"REDIS_DB": "1"}, Wishes())
    assert_named(report, Level.RED, "in database 1, but async-events-full in database 0 has events")


def test_the_keys_of_another_prefix_are_not_permitted(
    environ: dict[str, str], own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    server.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~bi-*", "+@read", "+@connection", "+time")
    )
    del environ["REDIS_STREAM_PREFIX"]
    changed = {"REDIS_PORT": str(server.port), "REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    report = run(environ | changed, Wishes())
    assert_named(report, Level.RED, "may not do", "XREAD", "~async-events-*")


@pytest.fixture
def tls_port(tmp_path: Path, own_redis: Callable[..., RedisServer]) -> int:
    """A Redis that speaks TLS on this port, with a certificate of an unknown authority."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    for name, pems in (
        ("cert.pem", certificate.cert_chain_pems),
        ("key.pem", [certificate.private_key_pem]),
    ):
        for pem in pems:
            pem.write_to_path(str(tmp_path / name), append=True)
    port = free_port()
    own_redis(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(tmp_path / "cert.pem")),
        *("--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "cert.pem")),
    )
    return port


def test_plain_speech_where_redis_wants_tls(environ: dict[str, str], tls_port: int) -> None:
    report = run(environ | {"REDIS_PORT": str(tls_port)}, Wishes())
    assert_named(report, Level.RED, "ends the connection at once", "REDIS_SSL=true")


def test_a_redis_with_a_certificate_of_an_unknown_authority(
    environ: dict[str, str], tls_port: int
) -> None:
    report = run(environ | {"REDIS_PORT": str(tls_port), "REDIS_SSL": "true"}, Wishes())
    assert_named(report, Level.RED, "certificate that is not trusted", "redis.sslCaCerts")


def test_tls_where_redis_speaks_none(environ: dict[str, str]) -> None:
    report = run(environ | {"REDIS_SSL": "true"}, Wishes())
    assert_named(report, Level.RED, "speaks no TLS", "redis.ssl")


# --- this machine --------------------------------------------------------------------------------


def test_another_program_on_the_port(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environ["PORT"]))):
        report = run(environ, Wishes())
    assert_named(report, Level.RED, "another program listens on port")


def test_the_node_server_on_the_port(environ: dict[str, str]) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b"OK" if known else b"Not Found")

        def log_message(self, *_: Any) -> None:
            pass

    node = http.server.ThreadingHTTPServer(("127.0.0.1", int(environ["PORT"])), Health)
    thread = threading.Thread(target=node.serve_forever, args=(0.05,))
    thread.start()
    try:
        assert_named(run(environ, Wishes()), Level.RED, "perhaps the Node server")
    finally:
        node.shutdown()
        thread.join()
        node.server_close()


def test_this_server_on_the_port(environ: dict[str, str], start_server: StartServer) -> None:
    server = start_server()
    report = run(environ | {"PORT": str(server.port)}, Wishes())
    assert_named(report, Level.GREEN, "this server answers on port", "and is ready")


def test_a_server_that_listens_at_ipv6_only(environ: dict[str, str]) -> None:
    """The server's own socket is for both families where the system has them."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::", int(environ["PORT"])), family=socket.AF_INET6):
        assert_named(run(environ, Wishes()), Level.RED, "another program listens on port")


def test_another_program_on_the_port_for_metrics(
    environ: dict[str, str], redis_server: RedisServer
) -> None:
    report = run(environ | {"METRICS_PORT": str(redis_server.port)}, Wishes())
    assert_named(report, Level.RED, f"listens on metricsPort {redis_server.port}", "METRICS_PORT")


def test_an_address_for_metrics_that_is_not_here(environ: dict[str, str]) -> None:
    changed = {"METRICS_PORT": str(free_port()), "METRICS_HOST": "192.0.2.1"}
    assert_named(run(environ | changed, Wishes()), Level.RED, "can't be used (EADDRNOTAVAIL)")
    changed["METRICS_HOST"] = "metrics.invalid"
    assert_named(run(environ | changed, Wishes()), Level.RED, "metrics.invalid can't be looked up")


def test_metrics_that_nobody_collects(environ: dict[str, str]) -> None:
    changed = {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(free_port())}
    assert_named(run(environ | changed, Wishes()), Level.YELLOW, "metrics are lost")


# --- Superset's settings -------------------------------------------------------------------------

BACKEND = "GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"
URL = "GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL"
COOKIE = "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_"
SENTINEL = (
    '{"CACHE_TYPE": "RedisSentinelCache", "CACHE_REDIS_SENTINELS": [("sentinel-1", 26379)], '
    '"CACHE_REDIS_SENTINEL_MASTER": "mymaster"}'
)

WRONG: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the flag as a variable of its own": (
        {"FEATURE_FLAGS": None, "GLOBAL_ASYNC_QUERIES": "True"},
        ("is a variable of its own (superset_config.py line", "FEATURE_FLAGS = {"),
    ),
    "the flag off": (
        {"FEATURE_FLAGS": '{"GLOBAL_ASYNC_QUERIES": False}'},
        ("is off in FEATURE_FLAGS (superset_config.py line 1)", "write True there"),
    ),
    "other flags": (
        {"FEATURE_FLAGS": '{"ALERT_REPORTS": True}'},
        (
            "is off in FEATURE_FLAGS (left out of",
            'add "GLOBAL_ASYNC_QUERIES": True to FEATURE_FLAGS',
        ),
    ),
    "no flags": ({"FEATURE_FLAGS": None}, ("is off in FEATURE_FLAGS (Superset's default)",)),
    "polling": (
        {"GLOBAL_ASYNC_QUERIES_TRANSPORT": None},
        ("TRANSPORT is 'polling' (Superset's default)", '= "ws"'),
    ),
    "another secret": (
        {"GLOBAL_ASYNC_QUERIES_JWT_SECRET": repr("z" * 40)},
        (
            "jwtSecret (from environment variable JWT_SECRET) differs from",
            "line 4",
            "JWT_SECRET",
        ),
    ),
    "a secret that Superset refuses": (
        {"GLOBAL_ASYNC_QUERIES_JWT_SECRET": None},
        ("JWT_SECRET (Superset's default) has 21 characters",),
    ),
    "another cookie": (
        {COOKIE + "NAME": '"ws-token"'},
        ("jwtCookieName is async-token", "but ws-token in Superset", "superset_config.py line 8"),
    ),
    "another prefix": (
        {"GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX": '"bi-"'},
        ("redisStreamPrefix is events-", "but bi- in Superset", "set REDIS_STREAM_PREFIX=bi-"),
    ),
    "the session's cookie": (
        {COOKIE + "NAME": '"session"'},
        ("as is the session's cookie",),
    ),
    "http in the URL": ({URL: '"https://bi.example.org/ws"'}, ("write wss://bi.example.org/ws",)),
    "ws on a page of https": (
        {"SESSION_COOKIE_SECURE": "True"},
        ("browsers refuse ws:// on a page of https (SESSION_COOKIE_SECURE is True",),
    ),
    "a Secure cookie over ws": (
        {COOKIE + "SECURE": "True"},
        ("send the cookie over TLS only, not to ws://bi.example.org/ws",),
    ),
    "SameSite None without Secure": (
        {COOKIE + "SAMESITE": '"None"'},
        ('SAMESITE is "None" (superset_config.py line 8)', "unless it is Secure"),
    ),
    "SameSite misspelt": ({COOKIE + "SAMESITE": '"lax"'}, ("SAMESITE is 'lax'", '"Lax"')),
    "a foreign cookie domain": (
        {COOKIE + "DOMAIN": '"example.com"'},
        ("DOMAIN is example.com", "do not send such a cookie to bi.example.org"),
    ),
    "Sentinel there only": (
        {BACKEND: SENTINEL},
        ("the Sentinels sentinel-1:26379 in Superset", "redis.sentinels or REDIS_SENTINELS"),
    ),
    "no Redis cache": (
        {BACKEND: '{"CACHE_TYPE": "SimpleCache"}'},
        ("has CACHE_TYPE 'SimpleCache'",),
    ),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_mismatch_with_superset(
    environ: dict[str, str],
    superset: Superset,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = run(environ, Wishes(superset=superset.write(**changed)))
    level = Level.YELLOW if changed == {BACKEND: SENTINEL} else Level.RED
    assert_named(report, level, *words)


DOUBTFUL: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "the loopback in the URL": (
        {URL: '"ws://127.0.0.1:8080/"'},
        ("has the host 127.0.0.1", "not under localhost"),
    ),
    "a container's name in the URL": (
        {URL: '"ws://superset-websocket/ws"'},
        ("name of a container that no browser can look up",),
    ),
    "another port in the URL": (
        {URL: '"ws://bi.example.org:9999/"'},
        ("has port 9999, this server",),
    ),
    "a policy that forbids the port": (
        {URL: '"ws://bi.example.org:9999/"'},
        ("Content Security Policy", "connect-src"),
    ),
    "the old setting for Redis": (
        {BACKEND: None, "GLOBAL_ASYNC_QUERIES_REDIS_CONFIG": '{"port": 1, "host": "127.0.0.1"}'},
        ("only GLOBAL_ASYNC_QUERIES_REDIS_CONFIG is set", "from 5.0 on"),
    ),
    "an embedded Superset": (
        {"SESSION_COOKIE_SAMESITE": '"None"'},
        ('SESSION_COOKIE_SAMESITE is "None" (superset_config.py line 8)', "embedded"),
    ),
    "a URL of Redis": (
        {BACKEND: '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": "redis://redis:6379/1"}'},
        ('["CACHE_REDIS_URL"] (superset_config.py line 2) has no effect', "CACHE_REDIS_HOST"),
    ),
    "a database with Sentinel": (
        {BACKEND: SENTINEL.replace("}", ', "CACHE_REDIS_DB": 3}')},
        ('["CACHE_REDIS_DB"] is 3 (superset_config.py line 2)', "to database 0"),
    ),
    "both settings for Redis": (
        {"GLOBAL_ASYNC_QUERIES_REDIS_CONFIG": '{"port": 1}'},
        ("has no effect beside GLOBAL_ASYNC_QUERIES_CACHE_BACKEND",),
    ),
    "results without a cache": ({"DATA_CACHE_CONFIG": None}, ("results", "can't be fetched")),
    "another name for Redis": (
        {BACKEND: '{"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "redis.invalid"}'},
        ("redis.invalid:6379 in Superset", "can't be told whether that is the same server"),
    ),
}


@pytest.mark.parametrize(("changed", "words"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_doubt_about_superset(
    environ: dict[str, str],
    superset: Superset,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    report = run(environ, Wishes(superset=superset.write(**changed)))
    assert_named(report, Level.YELLOW, *words)


def backend(environ: dict[str, str], **changed: object) -> str:
    settings: dict[str, object] = {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_HOST": "localhost",
        "CACHE_REDIS_PORT": int(environ["REDIS_PORT"]),
    }
    return repr(settings | {f"CACHE_REDIS_{k}": v for k, v in changed.items()})


REDIS_WRONG: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "db": ({"DB": 1}, ("redis.db is 0", "but 1 in Superset", '"CACHE_REDIS_DB"', "line 2")),
    "db as text": ({"DB": "2"}, ("redis.db is 0", "but 2 in Superset")),
    "password": (
        {"PASSWORD": "secret-of-superset"},
        ("redis.password (from the default) differs", "line 2"),
    ),
    "ssl": ({"SSL": True}, ("redis.ssl is false", "but true in Superset")),
}


@pytest.mark.parametrize(("changed", "words"), REDIS_WRONG.values(), ids=REDIS_WRONG.keys())
def test_a_mismatch_about_redis(
    environ: dict[str, str],
    superset: Superset,
    changed: dict[str, object],
    words: tuple[str, ...],
) -> None:
    path = superset.write(**{BACKEND: backend(environ, **changed)})
    assert_named(run(environ, Wishes(superset=path)), Level.RED, *words)


def test_another_redis(
    environ: dict[str, str], superset: Superset, own_redis: Callable[..., RedisServer]
) -> None:
    other = own_redis()
    path = superset.write(**{BACKEND: backend(environ, PORT=other.port)})
    report = run(environ, Wishes(superset=path))
    assert_named(report, Level.RED, f"{other.port} in Superset", f"set REDIS_PORT={other.port}")


def test_one_redis_at_two_addresses(
    environ: dict[str, str],
    superset: Superset,
    own_redis: Callable[..., RedisServer],
    tmp_path: Path,
) -> None:
    """Asked for its run_id, not judged by its name."""
    path = tmp_path / "r.sock"
    server = own_redis("--unixsocket", str(path))
    superset_config = superset.write(**{BACKEND: backend(environ, PORT=server.port)})
    here = environ | {"REDIS_UNIX_SOCKET_PATH": str(path), "REDIS_PORT": ""}
    report = run(here, Wishes(superset=superset_config))
    assert_named(report, Level.GREEN, "equal on both sides", "redis.host")


def test_flags_that_a_later_line_drops(environ: dict[str, str], superset: Superset) -> None:
    path = superset.write()
    with superset.path.open("a") as file:
        file.write('FEATURE_FLAGS = {"ALERT_REPORTS": True}\n')
    report = run(environ, Wishes(superset=path))
    assert_named(report, Level.RED, "line 1 has GLOBAL_ASYNC_QUERIES, but line 8 assigns")


def test_the_flag_may_come_from_the_environment(
    environ: dict[str, str], superset: Superset
) -> None:
    environ["SUPERSET_FEATURE_GLOBAL_ASYNC_QUERIES"] = "true"
    report = run(environ, Wishes(superset=superset.write(FEATURE_FLAGS=None)))
    assert_named(report, Level.GREEN, "GLOBAL_ASYNC_QUERIES is on")


@pytest.mark.parametrize(
    ("page", "url", "words"),
    [
        ("http://localhost:8088/", "ws://127.0.0.1:8080/", ("users open localhost", "two hosts")),
        ("http://127.0.0.1:8088/", "ws://localhost:8080/", ("users open 127.0.0.1", "two hosts")),
        ("https://bi.example.org/", "ws://bi.example.org/ws", ("browsers refuse ws://",)),
        ("https://bi.example.org/", "wss://ws.example.org/", ("does not send bi.example.org's",)),
        ("http://bi.example.org/", "ws://bi.example.org:8080/", ("Content Security Policy",)),
    ],
)
def test_the_address_that_users_open(
    environ: dict[str, str], superset: Superset, page: str, url: str, words: tuple[str, ...]
) -> None:
    path = superset.write(GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL=repr(url))
    assert_named(run(environ, Wishes(superset=path, page=page)), Level.RED, *words)


def test_what_goes_with_a_wrong_address_is_not_named_beside_it(
    environ: dict[str, str], superset: Superset
) -> None:
    """Neither policy nor origin matter for an address that will be corrected."""
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL=repr(f"ws://127.0.0.1:{environ['PORT']}/")
    )
    report = run(environ, Wishes(superset=path, page="http://localhost:8088/"))
    assert len(sentences(report).splitlines()) == 1
    assert_named(report, Level.RED, "two hosts")


def test_one_domain_for_two_hosts(environ: dict[str, str], superset: Superset) -> None:
    path = superset.write(
        GLOBAL_ASYNC_QUERIES_WEBSOCKET_URL='"wss://ws.example.org/"',
        GLOBAL_ASYNC_QUERIES_JWT_COOKIE_DOMAIN='".example.org"',
        TALISMAN_ENABLED="False",
    )
    report = run(environ, Wishes(superset=path, page="https://bi.example.org/"))
    assert_named(report, Level.RED, "refuses pages of https://bi.example.org", "ALLOWED_ORIGINS")
    environ["ALLOWED_ORIGINS"] = "https://bi.example.org"
    report = run(environ, Wishes(superset=path, page="https://bi.example.org/"))
    assert sentences(report) == ""


def test_settings_named_by_supersets_variable(environ: dict[str, str], superset: Superset) -> None:
    environ["SUPERSET_CONFIG_PATH"] = superset.write(GLOBAL_ASYNC_QUERIES_TRANSPORT='"polling"')
    assert_named(run(environ, Wishes(superset="env")), Level.RED, "TRANSPORT is 'polling'")


def test_settings_as_a_module(environ: dict[str, str], superset: Superset, tmp_path: Path) -> None:
    superset.write(GLOBAL_ASYNC_QUERIES_TRANSPORT='"polling"')
    environ["PYTHONPATH"] = str(tmp_path)
    report = run(environ, Wishes(superset="superset_config"))
    assert_named(report, Level.RED, "TRANSPORT is 'polling' (superset_config.py line 5)")


def test_settings_that_import_what_is_not_installed_here(
    environ: dict[str, str], superset: Superset
) -> None:
    path = superset.write()
    program = "from not_here.schedules import crontab\nCELERY = crontab(minute=1)\n"
    superset.path.write_text(program + superset.path.read_text())
    report = run(environ, Wishes(superset=path))
    assert_named(report, Level.YELLOW, "was read without not_here", "--python")
    assert_named(report, Level.GREEN, "equal on both sides", "jwtSecret")


BROKEN = {
    "a missing variable": ('import os\nX = os.environ["NOT_SET"]\n', ("line 2", "KeyError")),
    "a syntax error": ("A = 1\nB = (\n", ("SyntaxError",)),
    "an early end": ("raise SystemExit(3)\n", ("SystemExit",)),
    "a sudden end": ("import os\nos._exit(0)\n", ("ended the process",)),
}


@pytest.mark.parametrize(("program", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_settings_that_fail(
    environ: dict[str, str], superset: Superset, program: str, words: tuple[str, ...]
) -> None:
    superset.path.write_text(program)
    report = run(environ, Wishes(superset=str(superset.path)))
    assert_named(report, Level.RED, "superset_config.py", *words)


def test_settings_that_are_not_there(environ: dict[str, str]) -> None:
    report = run(environ, Wishes(superset="/nowhere/superset_config.py"))
    assert_named(report, Level.RED, "/nowhere/superset_config.py is not there")


def test_a_failure_does_not_quote_a_secret(environ: dict[str, str], superset: Superset) -> None:
    superset.path.write_text('raise ValueError("bad password hunter2")\n')
    report = run(environ, Wishes(superset=str(superset.path)))
    assert_named(report, Level.RED, "line 1 fails with ValueError")
    assert "hunter2" not in sentences(report, *Level)


# --- end to end ----------------------------------------------------------------------------------


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    started: list[Nginx] = []

    def start(location: str, **options: Any) -> Nginx:
        started.append(Nginx(tmp_path / f"nginx{len(started)}", location, **options))
        return started[-1]

    yield start
    for nginx in started:
        nginx.stop()


StartNginx = Callable[..., Nginx]


def at(url: str, **options: Any) -> Wishes:
    return Wishes(url=check_url.Options(url, **options))


def to(server: Server, extra: str = UPGRADE) -> str:
    return f"proxy_pass http://127.0.0.1:{server.port}; {extra}"


def test_an_event_arrives_within_a_second(environ: dict[str, str], server: Server) -> None:
    begin = time.monotonic()
    report = run(environ, at(server.url("/ws")))
    assert_named(report, Level.GREEN, "an event written to redis://127.0.0.1", "has reached ws://")
    assert time.monotonic() - begin < 5, "a second, on a machine that is not busy"


def test_an_event_arrives_through_a_proxy_with_tls(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server), tls=True)
    url = nginx.url("wss")
    report = run(environ, at(url, trust=Trust(ca_file=str(nginx.ca_file))))
    assert_named(report, Level.GREEN, "has reached wss://")
    assert_named(run(environ, at(url)), Level.RED, "certificate of localhost", "--cacert")
    assert_named(run(environ, at(url, trust=Trust(insecure=True))), Level.GREEN, "has reached")
    assert_named(run(environ, at(nginx.url("ws"))), Level.RED, "port for TLS: write wss://")


def test_the_event_leaves_no_stream_behind(
    environ: dict[str, str], server: Server, redis_server: RedisServer, prefix: str
) -> None:
    before = set(redis_server.client.keys(prefix + "*"))
    run(environ, at(server.url()))
    assert set(redis_server.client.keys(prefix + "*")) == before


def test_the_server_there_has_another_secret(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"JWT_SECRET": PUBLIC_SECRET})
    report = run(environ, at(server.url()))
    assert_named(report, Level.RED, "refuses this configuration's token (401)", "jwtSecret")


def test_the_server_there_reads_other_streams(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(prefix="other-")
    report = run(environ, at(server.url()))
    assert_named(report, Level.RED, "does not reach", "another Redis, database or prefix")


def test_superset_writes_where_the_server_does_not_read(
    environ: dict[str, str], server: Server, superset: Superset
) -> None:
    path = superset.write(**{BACKEND: backend(environ, DB=5)})
    wishes = Wishes(superset=path, url=check_url.Options(server.url()))
    assert_named(run(environ, wishes), Level.RED, "/5, streams", "does not reach", "Superset's")


def test_a_proxy_without_upgrade_headers(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, "proxy_set_header Host $host;"))
    report = run(environ | {"PORT": str(server.port)}, at(nginx.url()))
    assert_named(
        report,
        Level.RED,
        "without its upgrade",
        "proxy_set_header Upgrade $http_upgrade",
        f"The server on port {server.port} of this machine takes the same handshake",
    )


def test_a_proxy_that_speaks_http_1_0(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    headers = UPGRADE.replace("proxy_http_version 1.1", "proxy_http_version 1.0")
    report = run(environ, at(start_nginx(to(server, headers)).url()))
    assert_named(report, Level.RED, "proxy_http_version 1.1")


def test_a_proxy_that_changes_the_host(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    headers = UPGRADE.replace("Host $host", "Host backend")
    report = run(environ, at(start_nginx(to(server, headers)).url()))
    assert_named(report, Level.RED, "foreign one (403)", "proxy_set_header Host $host")


def test_a_proxy_that_removes_the_cookie(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, UPGRADE + 'proxy_set_header Cookie "";'))
    assert_named(run(environ, at(nginx.url())), Level.RED, "the proxy removes the Cookie header")


def test_a_proxy_with_a_short_time_out(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, UPGRADE + "proxy_read_timeout 1s;"))
    report = run(environ, at(nginx.url(), hold=10))
    assert_named(report, Level.RED, "the quiet socket was cut after", "proxy_read_timeout 120s")
    assert_named(run(environ, at(server.url(), hold=1.5)), Level.GREEN, "stays open")


ELSEWHERE = {
    "the server is down": ("proxy_pass http://127.0.0.1:1;", ("can't reach", "(502)")),
    "the path goes to Superset": (
        'default_type text/html; return 200 "<html>";',
        ("nginx", "answers", "(200)", "not routed"),
    ),
    "the path goes nowhere": ("return 404;", ("(404)", "not routed")),
    "a redirect": (
        "return 301 https://bi.example.org/ws;",
        ("redirects", "write wss://bi.example.org/ws"),
    ),
    "the proxy's own log-in": ("return 401;", ("wants its own log-in (401)",)),
}


@pytest.mark.parametrize(("location", "words"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_proxy_that_answers_itself(
    environ: dict[str, str], start_nginx: StartNginx, location: str, words: tuple[str, ...]
) -> None:
    assert_named(run(environ, at(start_nginx(location).url())), Level.RED, *words)


UNREACHABLE = {
    "nobody listens": ("ws://127.0.0.1:{closed}/", ("nothing listens at 127.0.0.1:",)),
    "an unknown host": ("ws://bi.invalid/", ("host name bi.invalid is not known",)),
    "a URL of the web": ("https://bi.example.org/ws", ("write wss://bi.example.org/ws",)),
    "not HTTP": ("ws://127.0.0.1:{redis}/", ("127.0.0.1:{redis}",)),
}


@pytest.mark.parametrize(("url", "words"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_an_address_where_no_server_is(
    environ: dict[str, str], url: str, words: tuple[str, ...]
) -> None:
    numbers = {"closed": free_port(), "redis": environ["REDIS_PORT"]}
    report = run(environ, at(url.format(**numbers)))
    assert_named(report, Level.RED, *(word.format(**numbers) for word in words))


def test_tls_where_only_this_server_is(environ: dict[str, str], server: Server) -> None:
    report = run(environ, at(server.url().replace("ws:", "wss:")))
    assert_named(report, Level.RED, "speaks no TLS", "wss:// needs a proxy")


def test_a_user_that_may_only_read(
    environ: dict[str, str], own_redis: Callable[..., RedisServer], start_server: StartServer
) -> None:
    store = own_redis()
    store.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~async-events-*", "+@read", "+time", "+select")
    )
    login = {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    server = start_server(redis_port=store.port, prefix="async-events-", environ=login)
    del environ["REDIS_STREAM_PREFIX"]
    report = run(environ | login | {"REDIS_PORT": str(store.port)}, at(server.url()))
    assert_named(report, Level.YELLOW, "user ws may not do XADD", "+xadd")


# --- one source of truth -------------------------------------------------------------------------


def test_a_server_that_takes_its_values_from_superset(
    environ: dict[str, str], superset: Superset, start_server: StartServer
) -> None:
    path = superset.write(GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME='"bi-token"')
    own = {"JWT_SECRET": "", "REDIS_PORT": "", "REDIS_STREAM_PREFIX": ""}
    server = start_server(environ=own | {"WSGI_WS_SUPERSET_CONFIG": path})
    here = {k: v for k, v in environ.items() if k not in own} | {"WSGI_WS_SUPERSET_CONFIG": path}
    report = run(here, at(server.url()))
    assert_named(report, Level.GREEN, "has reached ws://")
    assert_named(report, Level.GREEN, "equal on both sides", "jwtCookieName", "redis.port")
    assert [f.sentence for f in report.findings if f.level is Level.RED] == []


# --- the other commands --------------------------------------------------------------------------


def test_send_tail_and_token_work_together(
    environ: dict[str, str], server: Server, tmp_path: Path
) -> None:
    channel = new_channel()
    tail = subprocess.Popen(
        [sys.executable, "-m", "wsgi_ws", "tail", channel, "--url", server.url(), "--json"],
        env=environ | {"PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert tail.stdout
        first = ""
        while not first:  # until the socket is open, events are for nobody
            sent = command("send", channel, environ=environ, directory=tmp_path)
            assert sent.returncode == 0, sent.stderr
            os.set_blocking(tail.stdout.fileno(), False)
            first = tail.stdout.readline()
        assert json.loads(first)["channel_id"] == channel
    finally:
        tail.terminate()
        tail.wait(30)
        tail.stdout.close()  # type: ignore[union-attr]
    ids = sent.stdout.split()
    shown = command(
        *("tail", channel, "--since", "0", "--count", "1"), environ=environ, directory=tmp_path
    )
    assert channel[:8] in shown.stdout
    assert "done" in shown.stdout
    assert len(ids) == 1


def test_send_writes_what_superset_writes(
    environ: dict[str, str], redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    done = command("send", "c", "--status", "error", environ=environ, directory=tmp_path)
    entry_id = done.stdout.strip()
    entries: Any = redis_server.client.xrange(prefix + "full", entry_id, entry_id)
    ((found, fields),) = entries
    assert found.decode() == entry_id
    assert list(fields) == [b"data"]
    assert list(json.loads(fields[b"data"])) == [
        *("channel_id", "job_id", "user_id", "status", "errors", "result_url")
    ]
    assert redis_server.client.xlen(prefix + "c") == 1


def test_a_token_opens_a_socket(environ: dict[str, str], server: Server, tmp_path: Path) -> None:
    done = command("token", "c", environ=environ, directory=tmp_path)
    name, _, token = done.stdout.strip().partition("=")
    assert name == "async-token"
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Cookie": f"async-token={token}",
    }
    connection.request("GET", "/", headers=headers)
    assert connection.getresponse().status == 101
    connection.close()


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ({"REDIS_PORT": "1"}, ("tail",)),
        ({"REDIS_PORT": "1"}, ("send", "c")),
        ({"JWT_SECRET": "short"}, ("token",)),
        ({}, ("tail", "--since", "yesterday")),
        ({}, ("tail", "c", "--url", "ws://127.0.0.1:1/")),
    ],
)
def test_an_error_is_one_line(
    environ: dict[str, str], changed: dict[str, str], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = command(*arguments, environ=environ | changed, directory=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("wsgi_ws: ")
    assert len(done.stderr.splitlines()) == 1


# --- README's table ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What a row of the table may need."""

    environ: dict[str, str]
    superset: Superset
    directory: Path
    own_redis: Callable[..., RedisServer]
    start_server: StartServer
    start_nginx: StartNginx

    def compared(self, page: str | None = None, **changed: str | None) -> Report:
        """With Superset's settings, some of them changed."""
        return run(self.environ, Wishes(superset=self.superset.write(**changed), page=page))

    def here(self, **changed: str) -> Report:
        """With another environment."""
        return run({**self.environ, **changed}, Wishes())

    def through_nginx(self, headers: str, **options: Any) -> Report:
        """With a server and a proxy."""
        nginx = self.start_nginx(to(self.start_server(), headers))
        return run(self.environ, at(nginx.url(), **options))


@pytest.fixture
def stage(
    environ: dict[str, str],
    superset: Superset,
    tmp_path: Path,
    own_redis: Callable[..., RedisServer],
    start_server: StartServer,
    start_nginx: StartNginx,
) -> Stage:
    return Stage(environ, superset, tmp_path, own_redis, start_server, start_nginx)


def another_database(stage: Stage) -> Report:
    server = stage.own_redis()
    publish(server.client, "async-events-", new_channel())
    return stage.here(REDIS_PORT=str(server.port), REDIS_STREAM_PREFIX="", REDIS_DB="1")


def another_secret(stage: Stage, **environ: str) -> Report:
    (stage.directory / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    path = stage.superset.write()
    return run(stage.environ | environ, Wishes(superset=path))


def other_streams(stage: Stage) -> Report:
    return run(stage.environ, at(stage.start_server(prefix="other-").url()))


# First column → what brings it about.
TROUBLE: dict[str, Sequence[Callable[[Stage], Report]]] = {
    "no cookie at all": [lambda s: s.compared(FEATURE_FLAGS=None, GLOBAL_ASYNC_QUERIES="True")],
    "browsers never connect": [lambda s: s.compared(GLOBAL_ASYNC_QUERIES_TRANSPORT=None)],
    "charts load for ever": [another_database],
    "Redis can't be read, in a container": [
        lambda s: s.here(KUBERNETES_SERVICE_HOST="10.0.0.1", REDIS_PORT=str(free_port()))
    ],
    "the port of Redis is ignored": [lambda s: s.here(REDIS_PORT="tcp://10.1.2.3:6379")],
    "401": [lambda s: another_secret(s, JWT_SECRET="")],
    "401, although the file is right": [another_secret],
    "mixed-content error in the browser": [lambda s: s.compared(page="https://bi.example.org/")],
    "401 on one machine only": [
        lambda s: s.compared(page="http://localhost:8088/", **{URL: '"ws://127.0.0.1:8080/"'})
    ],
    "the cookie is not sent": [
        lambda s: s.compared(**{COOKIE + "SECURE": "True"}),
        lambda s: s.compared(**{COOKIE + "SAMESITE": '"None"'}),
        lambda s: s.compared(**{COOKIE + "DOMAIN": '"example.com"'}),
    ],
    '"refused to connect", policy': [
        lambda s: s.compared(page="http://bi.example.org/", **{URL: '"ws://bi.example.org:8080/"'})
    ],
    "404 at the proxy's address": [
        lambda s: s.through_nginx("proxy_set_header Host $host;"),
    ],
    "403": [lambda s: s.through_nginx(UPGRADE.replace("Host $host", "Host backend"))],
    "sockets end after a while (`--hold 65`)": [
        lambda s: s.through_nginx(UPGRADE + "proxy_read_timeout 1s;", hold=10)
    ],
    "handshake fine, no events": [other_streams],
}


def readme_says() -> dict[str, str]:
    """The table: first column → what `check` says."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| You see |") :].split("\n\n")[0]
    rows = (line.strip("|").split("|") for line in table.splitlines()[2:])
    return {row[0].strip(): row[1].strip() for row in rows}


def test_every_row_of_the_readme_is_tried_here() -> None:
    assert readme_says().keys() == TROUBLE.keys()


@pytest.mark.parametrize("row", TROUBLE)
def test_the_readme_has_the_sentences_that_are_printed(stage: Stage, row: str) -> None:
    """But for what stands for `…`, and for other ports and lines."""
    found = [f.sentence for make in TROUBLE[row] for f in make(stage).findings if f.level]
    for said in readme_says()[row].split(" / "):
        pieces = (re.escape(re.sub(r"\d+", "0", piece)) for piece in said.split("…"))
        pattern = re.compile(".*".join(pieces))
        assert [s for s in found if pattern.search(re.sub(r"\d+", "0", s))], found
