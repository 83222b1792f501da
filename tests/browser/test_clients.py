# SPDX-License-Identifier: Apache-2.0
"""How both generations of Superset's front end keep their socket, in a browser and against real
servers: what they do alone, and what becomes of their charts when servers are replaced."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from testbed.nginx import Nginx, documented
from testbed.ports import free_port
from testbed.servers import ROOT, SECRET, RedisServer, Server, eventually
from testbed.superset import new_channel, publish
from testbed.tcp_proxy import TcpProxy
from wsgi_ws.superset import realtime
from wsgi_ws.superset.names import TASK_STATUS
from wsgi_ws.superset.token import RealtimeSigner, Signer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

StartServer = Callable[..., Server]
PAGE = ROOT / "wsgi_ws" / "demo" / "page"
PRINCIPAL = "user:42"
TABS = (1, 2)  # of each generation
CHARTS = 5000  # more than are computed during any test
PAUSE = 0.05  # seconds between two events
OUTAGE = 5.0  # seconds

# What each page begins with: all sockets that it has ever made, and chance that is none.
BEGIN = """async ({ chance }) => {
  const Native = WebSocket;
  window.sockets = [];
  window.WebSocket = class extends Native {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  };
  Math.random = () => chance;
  Object.assign(window, await import("/streams-client.js"), await import("/realtime-client.js"));
  window.asked = 0;
  window.ask = async () => ((asked += 1), (await fetch("/tasks")).json());
}"""
OPEN_TABS = """({ url, numbers, charts }) => {
  window.streams = numbers.map(() => {
    const tab = { client: new StreamsClient({ url }), got: [] };
    tab.client.addEventListener("event", ({ detail }) => tab.got.push(detail.job_id));
    return tab;
  });
  window.realtime = numbers.map((tabId) => {
    const tab = { client: new RealtimeClient({ url, tabId, ask, renew: ask }), got: {} };
    tab.client.addEventListener("message", ({ detail: { topic, payload } }) => {
      const socket = Object.values(tab.client.opens).reduce((sum, n) => sum + n);
      if (topic === "task.status") (tab.got[socket] ??= []).push(Number(payload.task_id));
    });
    for (let id = 0; id < charts; id += 1) tab.client.waitFor(String(id));
    return tab;
  });
  window.tabs = [...streams, ...realtime];
  for (const { client } of tabs) client.start();
}"""


class Superset:
    """Superset of both generations: it serves a page with their clients, computes charts, and tells
    of each by an event and by a message.

    :ivar published: the charts that are done, in order.
    :ivar ended: what its REST interface tells: each task that has ended, and how.
    """

    def __init__(self, redis_port: int, prefix: str) -> None:
        self.prefix = prefix
        self.channel = new_channel()
        self.published: list[str] = []
        self._client = redis.Redis(port=redis_port)
        tasks: dict[str, str] = {}
        self.ended = tasks

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = "text/html", b"<!doctype html>"
                if self.path == "/tasks":
                    kind, body = "application/json", json.dumps(tasks.copy()).encode()
                elif self.path.endswith(".js"):
                    kind, body = "text/javascript", (PAGE / Path(self.path).name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()

    def cookies(self) -> list[Any]:
        """What the browser of its one user keeps."""
        streams, realtime = Signer(SECRET), RealtimeSigner(SECRET)
        tokens = {
            streams.cookie_name: streams.sign(self.channel),
            realtime.cookie_name: realtime.sign(PRINCIPAL),
        }
        place = {"domain": "127.0.0.1", "path": "/"}
        return [{"name": name, "value": token, **place} for name, token in tokens.items()]

    def finish_a_chart(self) -> None:
        """Commit it, and tell."""
        chart = str(len(self.published))
        publish(self._client, self.prefix, self.channel, job_id=chart)
        self.ended[chart] = "success"
        payload = {"task_id": chart, "status": "success"}
        realtime.publish(self._client, self.prefix, TASK_STATUS, "principal", payload, [PRINCIPAL])
        self.published.append(chart)

    @contextlib.contextmanager
    def finishing_charts(self) -> Iterator[None]:
        """One after the other; some before, and some after what happens meanwhile."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(PAUSE):
                self.finish_a_chart()

        def some_more() -> None:
            before = len(self.published)
            eventually(lambda: len(self.published) > before + 3, "charts")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            some_more()
            yield
            some_more()
        finally:
            done.set()
            thread.join()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()


@pytest.fixture
def superset(redis_server: RedisServer, prefix: str) -> Iterator[Superset]:
    superset = Superset(redis_server.port, prefix)
    yield superset
    superset.close()


@pytest.fixture
def page(chromium: Browser, superset: Superset) -> Iterator[Page]:
    """Superset's page, with nothing on it yet; the clock is the machine's until a test stops it."""
    with chromium.new_context() as context:
        context.add_cookies(superset.cookies())
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert errors == []


def begin(page: Page, superset: Superset, chance: float = 0.999) -> None:
    page.goto(superset.url)
    page.evaluate(BEGIN, {"chance": chance})


def begin_without_time(page: Page, superset: Superset, chance: float = 0.5) -> None:
    """Time goes on with `page.clock.run_for` only."""
    page.clock.install(time=0)
    begin(page, superset, chance)
    page.clock.pause_at(10)


def until(page: Page, expression: str) -> None:
    """Wait until JavaScript's value is true; its own time may stand still."""
    eventually(lambda: page.evaluate(expression), expression)


# --- alone: the streams' client -------------------------------------------------------------------


def test_streams_client_tries_six_times_and_then_polls(page: Page, superset: Superset) -> None:
    begin_without_time(page, superset)
    url = f"ws://127.0.0.1:{free_port()}/"
    page.evaluate("(url) => (window.client = new StreamsClient({ url })).start()", url)
    for attempts in range(1, 8):
        until(page, f"client.closes.length === {attempts}")
        page.clock.run_for(2499)
        assert page.evaluate("[sockets.length, client.state]") == [attempts, "waiting"]
        page.clock.run_for(1)
    assert page.evaluate("[client.state, client.fellBack]") == ["polling", True]
    page.clock.run_for(600_000)
    assert page.evaluate("sockets.length") == 7


def test_an_open_lets_the_streams_client_try_six_times_again(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin_without_time(page, superset)
    page.evaluate("(url) => (window.client = new StreamsClient({ url })).start()", server.url())
    for opens in range(1, 10):
        until(page, f"client.opens === {opens}")
        page.evaluate("client.drop()")
        until(page, f"client.closes.length === {opens}")
        page.clock.run_for(2500)
    assert page.evaluate("[client.fellBack, client.retries]") in ([False, 0], [False, 1])


def test_streams_client_keeps_the_last_id_and_comes_back_with_it(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin(page, superset)
    start = "(url) => { window.client = new StreamsClient({ url }); client.start(); }"
    page.evaluate(start, server.url())
    until(page, "client.state === 'open'")
    superset.finish_a_chart()
    until(page, "client.lastId")
    last_id = page.evaluate("localStorage.getItem('last_async_event_id')")
    assert last_id == page.evaluate("client.lastId")
    page.evaluate("sockets[0].dispatchEvent(new MessageEvent('message', { data: 'no JSON' }))")
    page.evaluate("client.drop()")
    until(page, "client.opens === 2")
    page.evaluate(start, server.url())  # as a page that is loaded anew
    urls = page.evaluate("sockets.map((socket) => socket.url)")
    assert urls == [server.url(), *[f"{server.url()}?last_id={last_id}"] * 2]


# --- alone: the realtime client -------------------------------------------------------------------

START = """({ url, ...options }) => {
  window.client = new RealtimeClient({ url, tabId: 7, ask, renew: ask, ...options });
  client.waitFor("never");
  client.start();
}"""


def test_realtime_client_tries_for_ever_and_its_charts_fail_at_the_third_close(
    page: Page, superset: Superset
) -> None:
    begin_without_time(page, superset, chance=0.5)
    page.evaluate("() => { window.ask = async () => ({}); }")
    page.evaluate(START, {"url": f"ws://127.0.0.1:{free_port()}/"})
    for closes, delay in enumerate((1500, 2500, 4500, 8500, 16500, 30500, 30500), 1):
        until(page, f"client.closesSinceOpen === {closes}")
        failed, state = (["never"], "unhealthy") if closes >= 3 else ([], "waiting")
        assert page.evaluate("[client.failed, client.state]") == [failed, state]
        assert page.evaluate("client.asked") == min(closes, 2)
        page.clock.run_for(delay - 1)
        assert page.evaluate("sockets.length") == closes
        page.clock.run_for(1)
        assert page.evaluate("sockets.length") == closes + 1


def test_realtime_client_renews_its_socket_at_six_tenths_of_its_tokens_life(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin_without_time(page, superset)
    page.evaluate(START, {"url": server.url("/?own=query")})
    until(page, "client.state === 'open' && asked === 1")
    page.clock.run_for(539_999)
    assert page.evaluate("[sockets.length, asked]") == [1, 1]
    page.clock.run_for(1)
    until(page, "client.opens.keepalive === 1")
    assert page.evaluate("client.closes") == []
    assert (
        page.evaluate("sockets.map((socket) => new URL(socket.url).search)")
        == ["?own=query&tab_id=7"] * 2
    )


def test_a_socket_that_is_closing_is_not_renewed(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin_without_time(page, superset)
    page.evaluate(START, {"url": server.url()})
    until(page, "client.state === 'open' && asked === 1")
    page.clock.run_for(539_999)
    (worker,) = server.pids()
    os.kill(worker, signal.SIGSTOP)  # so that the close has no answer yet
    page.evaluate("client.drop()")
    page.clock.run_for(1)
    assert page.evaluate("asked") == 1
    os.kill(worker, signal.SIGCONT)
    until(page, "client.closesSinceOpen === 1")
    page.clock.run_for(1500)
    until(page, "client.state === 'open'")
    assert page.evaluate("client.opens") == {"initial": 1, "reconnect": 1, "keepalive": 0}


def test_a_chart_that_nobody_tells_of_is_asked_for_and_fails_after_ten_minutes(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin_without_time(page, superset, chance=0.5)
    page.evaluate(START, {"url": server.url(), "lifetimeMs": 3_600_000})
    until(page, "client.state === 'open' && asked === 1")
    page.evaluate("client.waitFor('known')")
    superset.ended["known"] = "success"
    page.clock.run_for(602_499)
    assert page.evaluate("client.failed") == []
    page.clock.run_for(1)
    until(page, "client.failed.length")
    assert page.evaluate("[client.failed, client.waiting.size, asked]") == [["never"], 0, 2]


def test_realtime_client_ignores_what_is_no_message(
    page: Page, superset: Superset, start_server: StartServer
) -> None:
    server = start_server()
    begin(page, superset)
    page.evaluate(START, {"url": server.url()})
    until(page, "client.state === 'open'")
    page.evaluate(
        """() => {
          window.got = [];
          client.addEventListener("message", ({ detail }) => got.push(detail));
          for (const data of ["no JSON", "null", "5", "{}", '{"topic":5}', '{"topic":"t"}'])
            sockets[0].dispatchEvent(new MessageEvent("message", { data }));
        }"""
    )
    assert page.evaluate("got") == [{"topic": "t"}]


# --- against servers that go and come -------------------------------------------------------------


def open_tabs(page: Page, superset: Superset, url: str) -> None:
    begin(page, superset)
    page.evaluate(OPEN_TABS, {"url": url, "numbers": TABS, "charts": CHARTS})
    until(page, "tabs.every(({ client }) => client.state === 'open')")


def check(page: Page, superset: Superset) -> None:
    """Each event has come once and in order; each chart is known; nobody has given up."""
    published = superset.published
    until(page, f"streams.every((tab) => tab.got.length >= {len(published)})")
    assert page.evaluate("streams.map((tab) => tab.got)") == [published] * len(TABS)
    waits = f"realtime.some(({{ client }}) => client.waiting.size > {CHARTS - len(published)})"
    until(page, f"!({waits})")
    for sockets in page.evaluate("realtime.map((tab) => Object.values(tab.got))"):
        assert sockets
        assert all(got == sorted({*got}) for got in sockets), sockets
    assert page.evaluate("realtime.flatMap(({ client }) => client.failed)") == []
    assert not page.evaluate("tabs.some(({ client: c }) => c.fellBack || c.wasUnhealthy)")


@pytest.fixture
def start(start_server: StartServer, prefix: str) -> StartServer:
    """Start a server whose stop takes half a second."""

    def start(**options: Any) -> Server:
        environ = {"DRAIN_MS": "500", "REALTIME_CHANNEL_PREFIX": prefix}
        return start_server(environ=environ, **options)

    return start


def test_a_restart_after_seconds_loses_nothing(
    page: Page, superset: Superset, start: StartServer
) -> None:
    server = start()
    open_tabs(page, superset, server.url("/ws"))
    with superset.finishing_charts():
        assert server.terminate() == 0
        # Two seconds after its close a page has tried once; the next attempt is its last one, and
        # comes within three more.
        until(page, "realtime.some(({ client }) => client.closesSinceOpen === 2)")
        start(port=server.port)
        until(page, "tabs.every(({ client }) => client.state === 'open')")
    check(page, superset)


def test_a_reload_loses_nothing(page: Page, superset: Superset, start: StartServer) -> None:
    server = start()
    open_tabs(page, superset, server.url("/ws"))
    with superset.finishing_charts():
        server.process.send_signal(signal.SIGHUP)
        until(page, "tabs.every(({ client: c }) => c.closes.length && c.state === 'open')")
    check(page, superset)
    assert (
        page.evaluate("tabs.flatMap(({ client }) => client.closes.map((c) => c.code))")
        == [1001] * len(TABS) * 2
    )


def test_two_instances_replaced_in_turn_lose_nothing(
    page: Page, superset: Superset, start: StartServer, tmp_path: Path
) -> None:
    instances = [start(), start()]
    upstream, location = documented(*(instance.port for instance in instances))
    nginx = Nginx(tmp_path / "nginx", upstream=upstream, server=location)
    try:
        open_tabs(page, superset, f"ws://127.0.0.1:{nginx.port}/ws")
        with superset.finishing_charts():
            for instance in instances:
                assert instance.terminate() == 0
                start(port=instance.port)
            until(page, "tabs.every(({ client: c }) => c.closes.length && c.state === 'open')")
        check(page, superset)
    finally:
        nginx.stop()


def test_an_outage_of_redis_loses_nothing(
    page: Page, superset: Superset, start: StartServer, redis_server: RedisServer
) -> None:
    """Superset still reaches it: all that it writes meanwhile is due."""
    network = TcpProxy(redis_server.port)
    try:
        server = start(redis_port=network.port)
        open_tabs(page, superset, server.url("/ws"))
        with superset.finishing_charts():
            network.cut()
            time.sleep(OUTAGE)
            network.restore()
            until(page, "realtime.every(({ client: c }) => c.closes.length && c.state === 'open')")
        check(page, superset)
        assert page.evaluate("streams.flatMap(({ client }) => client.closes)") == []
        codes = page.evaluate("realtime.flatMap(({ client }) => client.closes.map((c) => c.code))")
        assert codes == [1012] * len(TABS)
    finally:
        network.close()
