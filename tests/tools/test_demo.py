# SPDX-License-Identifier: Apache-2.0
"""`make run`, without make: it starts and stops, its page's cookies open sockets, its buttons do
what they say and obey nobody else."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from testbed.demo import Demo
from testbed.servers import DEADLINE, RedisServer, eventually
from wsgi_ws.demo.guard import TOKEN_HEADER


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that the test stops itself."""
    demo = Demo(tmp_path)
    yield demo
    demo.stop()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that the tests share."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo.url()
    assert demo.stop() == 0, demo.output


Json = dict[str, Any]


class Page:
    """What the demo's page does, without a browser: one load of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            html = answer.read().decode()
            self.policy = answer.headers["Content-Security-Policy"]
        found = re.search(r'name="token" content="([^"]+)"', html)
        assert found, html
        self.token = found[1]
        self.session, self._cookies = self._open()

    def _open(self) -> tuple[Json, list[str]]:
        request = urllib.request.Request(
            self.url + "api/sessions", headers={TOKEN_HEADER: self.token}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer), answer.headers.get_all("Set-Cookie")

    def call(self, method: str, path: str, **headers: str) -> Json:
        """An answer of the API.

        :param headers: win over the page's own; an underscore is a hyphen.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, headers={TOKEN_HEADER: self.token} | given, method=method
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            found: Json = json.load(answer)
            return found

    def refused(self, method: str, path: str, **headers: str) -> int:
        """The status of an answer that is none of success."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.call(method, path, **headers)
        with refused.value as answer:
            return answer.code

    def run(self, count: int = 1) -> list[Json]:
        """Run queries; the first is Ana's, the second Ben's."""
        path = f"api/sessions/{self.session['session']}/queries?count={count}"
        started: list[Json] = self.call("POST", path)["started"]
        return started

    def published(self, after: int = 0) -> Json:
        return self.call("GET", f"api/sessions/{self.session['session']}/published?after={after}")

    def socket(self, user: str, query: str = "") -> ClientConnection:
        """A socket with the cookies that a browser would send there."""
        path = self.session["users"][user]
        cookies = "; ".join(c.split(";")[0] for c in self._cookies if f"Path={path}" in c)
        url = f"ws://localhost:{self.session['websocket_port']}{path}{query}"
        return connect(url, additional_headers={"Cookie": cookies}, proxy=None)


def receive(socket: ClientConnection) -> Json:
    message: Json = json.loads(socket.recv(timeout=DEADLINE))
    return message


@pytest.fixture
def page(url: str) -> Page:
    return Page(url)


# --- the page -------------------------------------------------------------------------------------


def test_a_query_reaches_the_tabs_of_its_user_only(page: Page) -> None:
    with page.socket("ana") as mine, page.socket("ana") as mine_too, page.socket("ben") as other:
        streams = next(started for started in page.run() if started["transport"] == "streams")
        for socket in (mine, mine_too):
            events = [receive(socket) for _ in range(3)]
            assert [event["status"] for event in events] == ["pending", "running", "done"]
            assert {event["job_id"] for event in events} == {streams["job_id"]}
        with pytest.raises(TimeoutError):
            other.recv(timeout=0)


def test_a_task_of_superset_7_reaches_its_user(page: Page) -> None:
    with page.socket("ana", "?tab_id=1") as mine:
        task = next(started for started in page.run() if started["transport"] == "realtime")
        while (message := receive(mine))["topic"] != "task.status":
            assert message["topic"] == "entity.changed"
    assert message["payload"] == {"task_id": task["job_id"], "status": "success"}
    tasks = page.call("GET", f"api/sessions/{page.session['session']}/ana/tasks")
    assert tasks == {"ended": {task["job_id"]: "success"}}


def test_the_ledger_has_what_the_tabs_get(page: Page) -> None:
    with page.socket("ana") as streams, page.socket("ana", "?tab_id=1") as realtime:
        started = {item["transport"]: item["job_id"] for item in page.run()}
        events = [receive(streams) for _ in range(3)]
        while receive(realtime)["topic"] != "task.status":
            pass
    eventually(lambda: len(page.published()["entries"]) == 4, "4 entries")
    entries = page.published()["entries"]
    assert [(e["key"], e["id"]) for e in entries if e["transport"] == "streams"] == [
        (f"{event['job_id']} {event['status']}", event["id"]) for event in events
    ]
    assert [e["key"] for e in entries if e["transport"] == "realtime"] == [
        f"{started['realtime']} success"
    ]
    assert {e["user"] for e in entries} == {"ana"}
    assert page.published(after=entries[-1]["number"])["entries"] == []


def test_the_page_may_load_and_connect_to_its_own_only(page: Page) -> None:
    port = page.session["websocket_port"]
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    assert f"connect-src 'self' ws://localhost:{port} ws://127.0.0.1:{port};" in page.policy


def test_the_page_has_all_that_it_names(page: Page) -> None:
    """Each module and style sheet, from the HTML on; nothing of another host."""
    waiting, seen = ["/"], set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        with urllib.request.urlopen(page.url.rstrip("/") + name, timeout=DEADLINE) as answer:
            text = answer.read().decode()
        named = re.findall(r'(?:src|href)="(/[^"]+)"', text)
        named += [f"/page/{other}" for other in re.findall(r'from "\./([^"]+)"', text)]
        assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text), name
        waiting += {*named} - seen
    assert {"/page/page.css", "/page/streams-client.js", "/page/realtime-client.js"} <= seen


# --- refusals -------------------------------------------------------------------------------------

BUTTONS = [
    *("api/redis/stop", "api/redis/start", "api/workers/kill", "api/server/reload"),
    "api/sessions",
]


@pytest.mark.parametrize("path", BUTTONS)
def test_a_button_obeys_its_own_page_only(page: Page, path: str) -> None:
    before = page.published()["workers"]
    assert page.refused("POST", path, **{TOKEN_HEADER: ""}) == 403
    assert page.refused("POST", path, Origin="http://evil.example") == 403
    assert page.refused("POST", path, Host="evil.example") == 403
    assert page.refused("GET", path) == 405
    after = page.published()
    assert (after["workers"], after["redis"]) == (before, "running")


def test_a_foreign_name_gets_no_page_and_so_no_token(page: Page) -> None:
    assert page.refused("GET", "", Host="evil.example") == 403


def test_what_is_not_there_is_not_found(page: Page) -> None:
    name = page.session["session"]
    for method, path in (
        ("GET", "page/../web.py"),
        ("GET", "page/__init__.py"),
        ("POST", "api/redis/flush"),
        ("GET", "api/sessions/unknown/published"),
        ("GET", f"api/sessions/{name}/eve/tasks"),
    ):
        assert page.refused(method, path) == 404, path


@pytest.mark.parametrize("count", ["0", "101", "-1"])
def test_a_count_must_be_sensible(page: Page, count: str) -> None:
    path = f"api/sessions/{page.session['session']}/queries?count={count}"
    assert page.refused("POST", path) == 400


# --- the buttons do what they say -----------------------------------------------------------------


def test_a_killed_worker_is_replaced(page: Page) -> None:
    with page.socket("ana") as socket:
        (killed,) = page.published()["workers"]
        assert page.call("POST", "api/workers/kill") == {"killed": killed}
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is None, "no close frame: it could not say goodbye"
    eventually(lambda: page.published()["workers"] not in ([], [killed]), "another worker")


def test_a_reload_replaces_the_worker_and_says_goodbye(page: Page) -> None:
    before = eventually(lambda: page.published()["workers"], "a worker")
    with page.socket("ana") as socket:
        page.call("POST", "api/server/reload")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
    eventually(lambda: not {*page.published()["workers"]} & {*before, 0}, "a new worker")


def test_redis_comes_back_with_its_data_and_tabs_miss_nothing(page: Page) -> None:
    with page.socket("ana") as socket:
        page.run()
        first = [receive(socket) for _ in range(3)]
        assert page.call("POST", "api/redis/stop") == {"redis": "stopped"}
        assert page.call("POST", "api/redis/stop") == {"redis": "stopped"}, "twice is harmless"
        assert page.published()["redis"] == "stopped"
        page.run(2)
        eventually(lambda: page.published()["refused"], "what can't be published is counted")
        assert page.call("POST", "api/redis/start") == {"redis": "running"}
        page.run(2)
        again = [receive(socket)["status"] for _ in range(3)]
    assert again[:2] == ["pending", "running"]
    with page.socket("ana", f"?last_id={first[0]['id']}") as back:
        assert [receive(back)["id"] for _ in range(2)] == [event["id"] for event in first[1:]]


def test_a_redis_that_does_not_start_again_is_told(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        page = Page(demo.url())
        (port,) = re.findall(r"started one on port (\d+)", demo.output)
        page.call("POST", "api/redis/stop")
        with socket.create_server(("127.0.0.1", int(port))):
            assert page.refused("POST", "api/redis/start") == 409
        assert page.call("POST", "api/redis/start") == {"redis": "running"}
    finally:
        demo.stop()


def test_a_configured_redis_is_never_stopped_or_trimmed(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.client.config_set("slowlog-log-slower-than", 0)
    server.client.config_set("slowlog-max-len", 100_000)
    demo = Demo(tmp_path, redis_port=server.port)
    try:
        page = Page(demo.url())
        assert page.published()["redis"] == "configured"
        assert page.refused("POST", "api/redis/stop") == 409
        page.run()
        eventually(lambda: page.published()["entries"], "something is written")
        commands = [entry["command"] for entry in server.client.slowlog_get(-1)]
        written = [command for command in commands if command.startswith(b"XADD")]
        assert written
        assert not any(b"MAXLEN" in command for command in written)
    finally:
        demo.stop()
        server.close()


# --- start and stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_that_was_started(own_demo: Demo, number: signal.Signals) -> None:
    own_demo.url()
    children = psutil.Process(own_demo.process.pid).children(recursive=True)
    assert len(children) >= 4, "gunicorn, its worker, Redis, the cleaner"
    own_demo.process.send_signal(number)
    assert own_demo.process.wait(DEADLINE) == 0
    assert psutil.wait_procs(children, DEADLINE)[1] == []
    assert "Traceback" not in own_demo.output


def test_a_demo_that_is_killed_leaves_nothing_running_and_no_file(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    demo = Demo(tmp_path, TMPDIR=str(temporary))
    page = Page(demo.url())
    page.call("POST", "api/redis/stop")
    page.call("POST", "api/redis/start")
    children = psutil.Process(demo.process.pid).children(recursive=True)
    demo.process.kill()
    demo.process.wait(DEADLINE)
    left = psutil.wait_procs(children, DEADLINE)[1]
    for process in left:
        process.kill()
    assert left == []
    assert [*temporary.glob("wsgi_ws-demo-*")] == []


def test_ends_with_a_message_when_the_server_dies(own_demo: Demo) -> None:
    own_demo.url()
    process = psutil.Process(own_demo.process.pid)
    started = process.children(recursive=True)
    (server,) = (c for c in process.children() if "gunicorn" in " ".join(c.cmdline()))
    server.kill()
    assert own_demo.process.wait(DEADLINE) == 1
    assert "demo: The server ended with exit code" in own_demo.output
    assert psutil.wait_procs(started, DEADLINE)[1] == []


def test_ends_with_a_message_when_redis_dies_by_itself(own_demo: Demo) -> None:
    own_demo.url()
    process = psutil.Process(own_demo.process.pid)
    (redis_server,) = (c for c in process.children() if "redis" in " ".join(c.cmdline()))
    redis_server.kill()
    assert own_demo.process.wait(DEADLINE) == 1
    assert "demo: Redis ended with exit code" in own_demo.output


def test_a_proxy_in_the_environment_is_not_asked_for_the_loopback(tmp_path: Path) -> None:
    demo = Demo(tmp_path, http_proxy="http://127.0.0.1:1", no_proxy="")
    try:
        assert demo.url()
    finally:
        demo.stop()


@pytest.mark.parametrize("port", ["abc", "-1", "0", "65536"])
def test_what_is_no_port_is_told_in_a_line(tmp_path: Path, port: str) -> None:
    demo = Demo(tmp_path, DEMO_PORT=port)
    assert demo.process.wait(DEADLINE) == 1
    last = demo.output.splitlines()[-1]
    assert last == f"demo: DEMO_PORT={port} is no port: choose a number from 1 to 65535"
    assert "Traceback" not in demo.output


def test_nothing_is_left_in_the_file_system(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    demo = Demo(tmp_path, TMPDIR=str(temporary))
    page = Page(demo.url())
    page.call("POST", "api/redis/stop")
    assert list(temporary.glob("**/*.rdb"))
    assert demo.stop() == 0
    assert list(temporary.iterdir()) == []
