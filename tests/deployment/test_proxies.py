# SPDX-License-Identifier: Apache-2.0
"""Each file of deploy/proxies in its real proxy, over TLS, between a browser's socket and real
servers; Superset is a stand-in that tells what it was asked.

The longest test is silence: its sockets open with the module, and the other tests pass meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from testbed import http2, realtime
from testbed.ports import free_port
from testbed.programs import required
from testbed.proxies import (
    FIRST,
    HOST,
    KINDS,
    SECOND,
    SUPERSET,
    HostCertificate,
    Proxy,
    with_second_instance,
)
from testbed.servers import DEADLINE, ROOT, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish, token

PREFIX = "events-"
SILENCE = 70.0  # seconds: longer than the minute after which most proxies end a silent connection
CLIENT = "127.0.0.9"  # no trusted proxy
# The first pings as by default, and soon ends who does not answer. The second's pings take minutes.
FIRST_SERVER = {"SOCKET_RESPONSE_TIMEOUT_MS": "25000"}
SECOND_SERVER = {"PING_SOCKETS_INTERVAL_MS": "86400000"}
TRUST = {"TRUSTED_PROXIES": "127.0.0.1", "DRAIN_MS": "300"}
SILENT_SOCKETS = 4  # through each proxy, which spreads them over both servers


class Superset(BaseHTTPRequestHandler):
    """Stands in for Superset: says what it has been asked."""

    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Proxies reset connections that they don't need any more."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        body = json.dumps({"superset": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the proxy's log is what is looked at."""


class Stopping(Superset):
    """An instance that stops: each handshake gets 503."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of an HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(DEADLINE)


class Silent(NamedTuple):
    """A socket through a proxy that is left alone."""

    channel: str
    socket: ClientConnection
    since: float  # by `time.monotonic`


class Browser:
    """Opens sockets and asks for pages at the public host name, through one proxy."""

    def __init__(self, proxy: Proxy, certificate: HostCertificate) -> None:
        self.proxy = proxy
        self._ca_file = str(certificate.ca_file)

    def open(self, cookies: str, query: str = "", **headers: str) -> ClientConnection:
        """A WebSocket of a page of Superset; `headers` with _ in place of -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(
            f"wss://{HOST}/ws{query}",
            sock=self._connected(),
            ssl=self.context("http/1.1"),
            additional_headers={"Cookie": cookies, "Origin": f"https://{HOST}"} | named,
            ping_interval=None,
            open_timeout=DEADLINE,
        )

    def come_and_go(self, times: int) -> None:
        """Open sockets, one after the other; each is admitted."""
        for _ in range(times):
            with self.open(cookie(new_channel())):
                pass

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body."""
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.tls("http/1.1")
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def tls(self, protocol: str) -> ssl.SSLSocket:
        """A connection on which the proxy may speak this protocol only."""
        return self.context(protocol).wrap_socket(self._connected(), server_hostname=HOST)

    def context(self, protocol: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        # The client reads and writes in two threads, which Python's TLS is not made for:
        # where the session tickets of TLS 1.3 came just then, a request in 500 was not sent.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        return context

    def _connected(self) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.proxy.port), DEADLINE, source_address=(CLIENT, 0)
        )


class Scene:
    """Redis, two servers, Superset; each proxy that the machine has, and what is silent."""

    def __init__(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        self.directory = directory
        self._cleanup = cleanup
        self.certificate = HostCertificate(directory)
        self.superset = cleanup.enter_context(serving(Superset))
        self.redis = RedisServer(directory)
        cleanup.callback(self.redis.close)
        self.servers: list[Server] = []
        self._browsers: dict[str, Browser] = {}
        self._silent: dict[str, list[Silent]] = {}
        self.start(FIRST_SERVER | {"METRICS_PORT": str(free_port())})
        self.start(SECOND_SERVER)

    def start(self, environ: dict[str, str]) -> Server:
        server = Server(self.directory, self.redis.port, prefix=PREFIX, environ=TRUST | environ)
        self._cleanup.callback(server.stop)
        self.servers.append(server)
        return server

    def browser(self, name: str) -> Browser:
        """At a proxy in front of both servers, which has its silent sockets by then."""
        if name not in self._browsers:
            ports = [server.port for server in self.servers[:2]]
            self._browsers[name] = self.start_proxy(name, ports)
            self._silent[name] = [self._open_silent(name) for _ in range(SILENT_SOCKETS)]
        return self._browsers[name]

    def silent(self, name: str) -> list[Silent]:
        self.browser(name)
        return self._silent[name]

    def start_proxy(self, name: str, instances: list[int]) -> Browser:
        directory = self.directory / f"{name}-{'-'.join(map(str, instances))}"
        proxy = Proxy(name, directory, self.certificate, self.superset, instances)
        self._cleanup.callback(proxy.stop)
        return Browser(proxy, self.certificate)

    def client_of(self, channel: str) -> tuple[Server, str]:
        """Which server has admitted a channel's socket, and the client's address in its log."""
        line = re.compile(rf"handshake from (\S+): .* of channel {channel[:8]}")

        def found() -> tuple[Server, str] | None:
            hits = ((server, line.search(server.log_text())) for server in self.servers)
            return next(((server, hit[1]) for server, hit in hits if hit), None)

        hit = eventually(found, "a server has the handshake in its log")
        assert hit
        return hit

    def _open_silent(self, name: str) -> Silent:
        channel = new_channel()
        client = self._cleanup.enter_context(self._browsers[name].open(cookie(channel)))
        return Silent(channel, client, time.monotonic())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with contextlib.ExitStack() as cleanup:
        yield Scene(tmp_path_factory.mktemp("proxies"), cleanup)


@pytest.fixture(params=list(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    """A proxy that the machine has."""
    name = str(request.param)
    required(KINDS[name].program, KINDS[name].package)
    return name


@pytest.fixture
def browser(scene: Scene, name: str) -> Browser:
    return scene.browser(name)


def test_an_event_reaches_a_browser(scene: Scene, browser: Browser) -> None:
    channel = new_channel()
    with browser.open(cookie(channel)) as client:
        scene.client_of(channel)
        publish(scene.redis.client, PREFIX, channel, job_id="through the proxy")
        assert '"job_id": "through the proxy"' in str(client.recv(timeout=DEADLINE))


def test_the_page_and_superset_have_one_host_name(browser: Browser) -> None:
    forged = {"X-Forwarded-Port": "1", "X-Forwarded-Prefix": "/elsewhere"}
    status, body = browser.get("/superset/welcome/", **forged)
    told = json.loads(body)
    assert (status, told["superset"]) == (200, "/superset/welcome/")
    headers = {name.lower(): value for name, value in told["headers"].items()}
    assert headers["host"] == HOST
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-for"] == CLIENT
    assert not {*forged.values()} & {*headers.values()}  # Superset's ENABLE_PROXY_FIX believes them


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_what_is_for_operators_is_not_reached_through_the_proxy(
    browser: Browser, path: str
) -> None:
    """But Superset's own."""
    assert json.loads(browser.get(path)[1])["superset"] == path
    for detour in (f"/ws{path}", f"/ws/..{path}", f"/ws/%2e%2e{path}", f"//ws/..{path}"):
        _, body = browser.get(detour)
        assert "wsgi_ws_" not in body
        assert body != "OK"


def test_a_plain_request_for_the_sockets_path_is_not_found(browser: Browser) -> None:
    assert browser.get("/ws")[0] == 404


@pytest.mark.parametrize("size", [6 * 1024, 30 * 1024])
def test_large_cookies_pass(browser: Browser, size: int) -> None:
    """Up to maxHeaderBytes, 32 KiB: those of all applications on the host name add up."""
    filler = f"other={'x' * size}; "
    with browser.open(filler + cookie(new_channel())):
        pass


@pytest.mark.parametrize("forged", [{}, {"X_Forwarded_Host": "evil.example"}])
def test_a_page_of_another_host_is_refused(browser: Browser, forged: dict[str, str]) -> None:
    """Whatever the client says about the host that it has asked for."""
    headers = {"Origin": "https://evil.example"} | forged
    with pytest.raises(InvalidStatus) as refused, browser.open(cookie(new_channel()), **headers):
        pass
    assert refused.value.response.status_code == 403


def test_the_servers_log_has_the_clients_address(scene: Scene, browser: Browser) -> None:
    """With trustedProxies; what the client itself says of its address does not count."""
    channel = new_channel()
    with browser.open(cookie(channel), X_Forwarded_For="192.0.2.66"):
        _, address = scene.client_of(channel)
    assert address == CLIENT


def test_the_proxys_access_log_has_neither_cookie_nor_token(browser: Browser) -> None:
    secret = cookie(new_channel())
    with browser.open(secret, "?last_id=1-1"):
        pass
    browser.get("/page-of-superset", Cookie="session=of-a-user", Authorization="Bearer a-token")
    log = browser.proxy.access_log
    eventually(lambda: "/ws" in log() and "/page-of-superset" in log(), "both are in the log")
    for text in (secret.partition("=")[2], "of-a-user", "a-token"):
        assert text not in log()


def test_the_clients_close_reaches_the_server(scene: Scene, browser: Browser) -> None:
    channel = new_channel()
    with browser.open(cookie(channel)) as client:
        server, _ = scene.client_of(channel)
        client.close(4001, "of the client")
        assert client.close_code == 4001
    line = f"of channel {channel[:8]} closed by client: 4001"
    eventually(lambda: line in server.log_text(), "the server has got the client's code")


def test_the_close_at_a_tokens_end_reaches_the_client(browser: Browser) -> None:
    soon = int(time.time()) + 2
    with browser.open(f"async-token={token(new_channel(), exp=soon)}") as client:
        assert_closed(client, 1008)


def test_a_lost_subscription_closes_with_1012(scene: Scene, browser: Browser) -> None:
    with browser.open(realtime.cookie("user:1"), "?tab_id=a") as client:
        scene.redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert_closed(client, 1012)


def test_http2_is_for_pages_and_what_it_is_for_sockets_is_as_documented(
    browser: Browser, name: str
) -> None:
    """A browser opens a WebSocket on HTTP/2 where that is offered, and on HTTP/1.1 elsewhere."""
    with browser.tls("h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert http2.offers_websockets(connection) == (name == "haproxy")


def test_an_event_reaches_a_browser_on_http2(scene: Scene) -> None:
    required(KINDS["haproxy"].program, KINDS["haproxy"].package)
    channel = new_channel()
    headers = {"cookie": cookie(channel), "origin": f"https://{HOST}"}
    with scene.browser("haproxy").tls("h2") as connection:
        socket_on_http2 = http2.WebSocketStream(connection, HOST, "/ws", headers)
        scene.client_of(channel)
        publish(scene.redis.client, PREFIX, channel, job_id="on HTTP/2")
        assert b'"job_id": "on HTTP/2"' in socket_on_http2.receive()


@pytest.mark.parametrize("name", ["nginx", "haproxy"], indirect=True)
def test_the_503_of_an_instance_that_stops_leads_to_the_other_one(scene: Scene, name: str) -> None:
    with serving(Stopping) as stopping:
        browser = scene.start_proxy(name, [stopping, scene.servers[0].port])
        browser.come_and_go(6)


def test_haproxy_admits_sockets_while_redis_is_away(scene: Scene) -> None:
    """When no instance is ready: they hold the sockets until Redis is back."""
    required(KINDS["haproxy"].program, KINDS["haproxy"].package)
    without = Server(scene.directory, free_port(), prefix=PREFIX, wait=False)
    try:
        eventually(without.is_ready, "the server answers")
        browser = scene.start_proxy("haproxy", [without.port])
        eventually(lambda: "is DOWN" in browser.proxy.access_log(), "haproxy has asked /ready")
        browser.come_and_go(1)
    finally:
        without.stop()


def test_haproxy_works_as_its_own_user_in_its_own_root(scene: Scene) -> None:
    """The file takes the place of Debian's, which has these lines."""
    required(KINDS["haproxy"].program, KINDS["haproxy"].package)
    if os.geteuid() != 0:
        pytest.skip("only root can start it as somebody else")
    process = Path(f"/proc/{scene.browser('haproxy').proxy.process.pid}")
    own = pwd.getpwnam("haproxy")
    status = (process / "status").read_text()
    assert re.findall(r"^[UG]id:\t(.*)$", status, re.M) == [
        "\t".join([str(number)] * 4) for number in (own.pw_uid, own.pw_gid)
    ]
    assert (process / "root").readlink() == Path("/var/lib/haproxy")


@pytest.mark.timeout(180)
def test_silent_sockets_stay_open(scene: Scene, name: str) -> None:
    """At the first server only pings and pongs flow, at the second one nothing."""
    silent = scene.silent(name)
    assert {scene.client_of(each.channel)[0] for each in silent} == set(scene.servers[:2])
    for each in silent:
        time.sleep(max(0.0, each.since + SILENCE - time.monotonic()))
        publish(scene.redis.client, PREFIX, each.channel, job_id="after the silence")
        assert '"job_id": "after the silence"' in str(each.socket.recv(timeout=DEADLINE))


def test_a_stop_closes_with_1001_and_the_other_instance_takes_all(scene: Scene, name: str) -> None:
    """An instance that is down costs nothing: no browser gets a 502, however many come."""
    stops = scene.start({})
    with_two = scene.start_proxy(name, [stops.port, scene.servers[0].port])
    with contextlib.ExitStack() as sockets:
        channels = [new_channel() for _ in range(4)]
        opened = {c: sockets.enter_context(with_two.open(cookie(c))) for c in channels}
        there = [s for channel, s in opened.items() if scene.client_of(channel)[0] is stops]
        assert there
        assert stops.terminate() == 0
        for client in there:
            assert_closed(client, 1001)
        with_two.come_and_go(8)


def test_what_traefiks_routers_name_is_defined() -> None:
    """It has no package to run it with."""
    text = with_second_instance((ROOT / "deploy/proxies/traefik/superset.yaml").read_text())
    named = re.findall(r"service: (\S+)|middlewares: \[(\S+)\]", text)
    assert len(named) == 3
    for name in map("".join, named):
        assert re.search(rf"^    {name}:$", text, re.M), name
    for address in (SUPERSET, FIRST, SECOND):
        assert text.count(f"- url: http://{address}\n") == 1


def test_traefik_sends_the_sockets_path_here_and_tries_again() -> None:
    text = (ROOT / "deploy/proxies/traefik/superset.yaml").read_text()
    assert "&& (Path(`/ws`) || PathPrefix(`/ws/`))\n" in text
    attempts = re.search(r"attempts: (\d+)$", text, re.M)
    assert attempts
    assert int(attempts[1]) >= 2


@pytest.mark.parametrize(
    ("file", "line", "always"),
    [
        ("nginx/superset.conf", r"server 127\.0\.0\.1:808[01]", r" max_fails=0;"),
        ("apache/superset.conf", r"BalancerMember .*?:808[01]\"", r".* timeout=120 retry=0$"),
    ],
)
def test_an_instance_that_has_refused_one_connection_is_not_left_out(
    file: str, line: str, always: str
) -> None:
    """The second instance's line too, which is a comment."""
    text = (ROOT / "deploy/proxies" / file).read_text()
    assert len(re.findall(line, text)) == 2
    assert len(re.findall(line + always, text, re.M)) == 2


def assert_closed(client: ClientConnection, code: int) -> None:
    """By the server, with this code."""
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=DEADLINE)
    assert client.close_code == code
