# SPDX-License-Identifier: Apache-2.0
"""End to end: real servers and nginx processes, and what their answers mean."""

from __future__ import annotations

import time

import pytest

from testbed.check import (
    BACKEND,
    PUBLIC_SECRET,
    StartNginx,
    StartRedis,
    StartServer,
    SupersetConfig,
    assert_named,
    at,
    backend,
    sentences,
    to,
)
from testbed.nginx import UPGRADE
from testbed.ports import free_port
from testbed.servers import SECRET, RedisServer, Server
from wsgi_ws.cli.checks.url import UrlOptions
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level
from wsgi_ws.cli.socket_client import Trust


def test_an_event_arrives_within_a_second(environ: dict[str, str], server: Server) -> None:
    begin = time.monotonic()
    report = check_all(environ, at(server.url("/ws")))
    assert_named(report, Level.GREEN, "an event written to redis://127.0.0.1", "has reached ws://")
    assert time.monotonic() - begin < 5, "a second, on a machine that is not busy"


def test_a_message_of_superset_7_arrives_too(environ: dict[str, str], server: Server) -> None:
    report = check_all(environ, at(server.url("/ws")))
    assert_named(report, Level.GREEN, "takes the handshake of a browser of Superset 7")
    assert_named(
        report, Level.GREEN, "an event written to redis://", ", channel realtime has reached"
    )


def test_a_server_of_superset_7_only_is_tried_with_its_transport(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"TRANSPORTS": "realtime"})
    report = check_all(environ | {"TRANSPORTS": "realtime"}, at(server.url("/ws")))
    found = [finding for finding in report.findings if finding.what == "url"]
    assert [finding.level for finding in found] == [Level.GREEN, Level.GREEN]


def test_the_server_there_listens_to_another_channel(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"REALTIME_CHANNEL_PREFIX": "other:"})
    report = check_all(environ, at(server.url()))
    assert_named(report, Level.RED, ", channel realtime does not reach", "or prefix")


def test_an_event_arrives_through_a_proxy_with_tls(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server), tls=True)
    url = nginx.url("wss")
    report = check_all(environ, at(url, trust=Trust(ca_file=str(nginx.ca_file))))
    assert_named(report, Level.GREEN, "has reached wss://")
    assert_named(check_all(environ, at(url)), Level.RED, "certificate of localhost", "--cacert")
    assert_named(
        check_all(environ, at(url, trust=Trust(insecure=True))), Level.GREEN, "has reached"
    )
    assert_named(check_all(environ, at(nginx.url("ws"))), Level.RED, "port for TLS: write wss://")


def test_the_event_leaves_no_stream_behind(
    environ: dict[str, str], server: Server, redis_server: RedisServer, prefix: str
) -> None:
    before = set(redis_server.client.keys(prefix + "*"))
    check_all(environ, at(server.url()))
    assert set(redis_server.client.keys(prefix + "*")) == before


def test_the_server_there_has_another_secret(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"JWT_SECRET": PUBLIC_SECRET})
    report = check_all(environ, at(server.url()))
    assert_named(report, Level.RED, "refuses this configuration's token (401)", "jwtSecret")


ROTATION = {"JWT_SECRET": PUBLIC_SECRET, "PREVIOUS_JWT_SECRET": SECRET}


def test_the_server_there_has_both_secrets(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ=ROTATION)
    report = check_all(environ | ROTATION, at(server.url()))
    assert_named(report, Level.GREEN, "takes tokens of previousJwtSecret too")
    assert_named(report, Level.GREEN, "has reached ws://")


def test_the_server_there_has_the_secret_before_only(
    environ: dict[str, str], server: Server
) -> None:
    report = check_all(environ | ROTATION, at(server.url()))
    assert_named(
        report, Level.RED, "takes tokens of previousJwtSecret, but refuses those of jwtSecret"
    )


def test_the_server_there_has_lost_the_secret_before(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"JWT_SECRET": PUBLIC_SECRET})
    report = check_all(environ | ROTATION, at(server.url()))
    assert_named(
        report, Level.RED, "takes tokens of jwtSecret, but refuses those of previousJwtSecret"
    )


def test_the_server_there_reads_other_streams(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(prefix="other-")
    report = check_all(environ, at(server.url()))
    assert_named(report, Level.RED, "does not reach", "another Redis, database or prefix")


def test_superset_writes_where_the_server_does_not_read(
    environ: dict[str, str], server: Server, superset: SupersetConfig
) -> None:
    path = superset.write(**{BACKEND: backend(environ, DB=5)})
    options = CheckOptions(superset=path, url=UrlOptions(server.url()))
    assert_named(
        check_all(environ, options), Level.RED, "/5, streams", "does not reach", "Superset's"
    )


def test_a_proxy_without_upgrade_headers(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, "proxy_set_header Host $host;"))
    report = check_all(environ | {"PORT": str(server.port)}, at(nginx.url()))
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
    report = check_all(environ, at(start_nginx(to(server, headers)).url()))
    assert_named(report, Level.RED, "proxy_http_version 1.1")


def test_a_proxy_that_changes_the_host(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    headers = UPGRADE.replace("Host $host", "Host backend")
    report = check_all(environ, at(start_nginx(to(server, headers)).url()))
    assert_named(report, Level.RED, "foreign one (403)", "proxy_set_header Host $host")


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("localhost", "http://127.0.0.1:8088"),
        ("127.0.0.1", "http://localhost:8088/"),
        ("127.0.0.1", "https://bi.example.com"),
    ],
)
@pytest.mark.parametrize("allowed", ["", "*"])
def test_a_page_of_a_host_whose_cookie_no_browser_sends_there(
    environ: dict[str, str], start_server: StartServer, host: str, page: str, allowed: str
) -> None:
    """Whatever the server would answer."""
    server = start_server(environ={"ALLOWED_ORIGINS": allowed})
    url = server.url("/ws").replace("127.0.0.1", host)
    report = check_all(environ, at(url, page=page))
    (finding,) = (finding for finding in report.findings if finding.what == "url")
    assert finding.level is Level.RED
    assert "are two hosts to a browser" in finding.sentence
    assert "does not send the cookie" in finding.sentence


def test_what_both_transports_meet_is_told_once(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    headers = UPGRADE.replace("Host $host", "Host backend")
    report = check_all(environ, at(start_nginx(to(server, headers)).url()))
    assert [f.what for f in report.findings if f.level is Level.RED] == ["url"]


def test_a_proxy_that_removes_the_cookie(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, UPGRADE + 'proxy_set_header Cookie "";'))
    assert_named(
        check_all(environ, at(nginx.url())), Level.RED, "the proxy removes the Cookie header"
    )


def test_a_proxy_that_takes_less_cookies_than_the_server(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    report = check_all(environ, at(start_nginx(to(server)).url()))
    assert_named(
        report,
        Level.YELLOW,
        "nginx",
        "refuses 12 KiB of cookies (400)",
        "large_client_header_buffers 4 32k",
    )
    assert sentences(report, Level.RED) == ""


def test_a_server_there_that_takes_less_cookies(
    environ: dict[str, str], start_server: StartServer
) -> None:
    server = start_server(environ={"MAX_HEADER_BYTES": "8192"})
    report = check_all(environ, at(server.url()))
    assert_named(report, Level.YELLOW, "refuses 12 KiB of cookies (431)", "maxHeaderBytes there")


def test_long_cookies_are_not_tried_where_the_server_is_to_refuse_them(
    environ: dict[str, str], start_server: StartServer
) -> None:
    limit = {"MAX_HEADER_BYTES": "8192"}
    report = check_all(environ | limit, at(start_server(environ=limit).url()))
    assert "cookies" not in sentences(report)


def test_a_proxy_with_a_short_time_out(
    environ: dict[str, str], server: Server, start_nginx: StartNginx
) -> None:
    nginx = start_nginx(to(server, UPGRADE + "proxy_read_timeout 1s;"))
    report = check_all(environ, at(nginx.url(), hold=10))
    assert_named(report, Level.RED, "the quiet socket was cut after", "proxy_read_timeout 120s")
    assert_named(check_all(environ, at(server.url(), hold=1.5)), Level.GREEN, "stays open")


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
    assert_named(check_all(environ, at(start_nginx(location).url())), Level.RED, *words)


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
    report = check_all(environ, at(url.format(**numbers)))
    assert_named(report, Level.RED, *(word.format(**numbers) for word in words))


def test_tls_where_only_this_server_is(environ: dict[str, str], server: Server) -> None:
    report = check_all(environ, at(server.url().replace("ws:", "wss:")))
    assert_named(report, Level.RED, "speaks no TLS", "wss:// needs a proxy")


def test_a_user_that_may_only_read(
    environ: dict[str, str], own_redis: StartRedis, start_server: StartServer
) -> None:
    store = own_redis()
    store.client.execute_command(
        *("ACL", "SETUSER", "ws", "on", ">pw", "~async-events-*", "+@read", "+time", "+select")
    )
    login = {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    server = start_server(redis_port=store.port, prefix="async-events-", environ=login)
    del environ["REDIS_STREAM_PREFIX"]
    report = check_all(environ | login | {"REDIS_PORT": str(store.port)}, at(server.url()))
    assert_named(report, Level.YELLOW, "user ws may not do XADD", "+xadd")
