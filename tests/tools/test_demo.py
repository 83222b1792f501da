# SPDX-License-Identifier: Apache-2.0
"""`make run`, without make: the demo starts, its page's cookie opens the socket, queries arrive."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from testbed.servers import DEADLINE, ROOT, eventually, free_port


class Demo:
    """A running demo on ports of its own, with its output in a file."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "demo.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("REDIS_", "JWT_"))}
        port = str(free_port())  # whichever comes second takes the next free one
        # Port 1 is reserved and nothing listens there, so the demo has to start a Redis.
        own = {"PYTHONPATH": str(ROOT), "PORT": port, "DEMO_PORT": port, "REDIS_PORT": "1"}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wsgi_ws.demo"],
                cwd=directory,  # the repository's own config.json, if there is one, has no say
                env=inherited | own,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def url(self) -> str:
        """The printed address, once everything is up."""
        eventually(lambda: "Ctrl-C" in self.output or self.process.poll() is not None, "the URL")
        found = re.search(r"http://localhost:\d+/", self.output)
        assert found, self.output
        return found[0]


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that the test stops itself."""
    demo = Demo(tmp_path)
    yield demo
    demo.process.terminate()
    demo.process.wait(DEADLINE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that the tests share."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo.url()
    demo.process.terminate()
    assert demo.process.wait(DEADLINE) == 0, demo.output


def request(url: str, cookie: str = "", method: str = "GET") -> tuple[str, str]:
    """Body and cookie of an answer."""
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Cookie": cookie}, method=method), timeout=DEADLINE
    ) as answer:
        return answer.read().decode(), (answer.headers["Set-Cookie"] or "").split(";")[0]


def socket_url(page: str) -> str:
    port = re.search(r'name="websocket-port" content="(\d+)"', page)
    assert port
    return f"ws://localhost:{port[1]}/"


def test_query_reaches_the_socket_of_its_page(url: str) -> None:
    page, cookie = request(url)
    _, other_cookie = request(url)
    assert cookie.startswith("async-token=")
    assert request(url, cookie)[1] == "", "a valid cookie is kept"

    headers, other_headers = {"Cookie": cookie}, {"Cookie": other_cookie}
    with (
        connect(socket_url(page), additional_headers=headers, proxy=None) as mine,
        connect(socket_url(page), additional_headers=other_headers, proxy=None) as other,
    ):
        (job_id,) = json.loads(request(url + "jobs", cookie, "POST")[0])["job_ids"]
        events = [json.loads(mine.recv(timeout=DEADLINE)) for _ in range(3)]
        assert [event["status"] for event in events] == ["pending", "running", "done"]
        assert {event["job_id"] for event in events} == {job_id}
        with pytest.raises(TimeoutError):
            other.recv(timeout=0)

    first, last = events[0]["id"], events[-1]["id"]
    for after, count in ((first, 2), (last, 0)):
        answer, _ = request(f"{url}waiting?after={after}", cookie)
        assert json.loads(answer) == {"count": count}


def test_a_task_of_superset_7_reaches_the_socket_of_its_page(url: str) -> None:
    page, cookie = request(url + "realtime")
    assert cookie.startswith("superset-ws-token=")
    headers = {"Cookie": cookie}
    with connect(socket_url(page) + "?tab_id=1", additional_headers=headers, proxy=None) as mine:
        (task_id,) = json.loads(request(url + "tasks", cookie, "POST")[0])["job_ids"]
        while (message := json.loads(mine.recv(timeout=DEADLINE)))["topic"] != "task.status":
            assert message["topic"] == "entity.changed"
    assert message["payload"]["task_id"] == task_id
    ended = json.loads(request(url + "tasks", cookie)[0])["ended"]
    assert ended == {task_id: message["payload"]["status"]}


@pytest.mark.parametrize(
    ("path", "with_cookie", "status"),
    [
        *(("jobs", False, 401), ("jobs?count=0", True, 400), ("jobs?count=101", True, 400)),
        ("tasks", True, 401),  # it is the cookie of the other transport
    ],
)
def test_queries_need_the_cookie_and_a_sensible_count(
    url: str, path: str, with_cookie: bool, status: int
) -> None:
    cookie = request(url)[1] if with_cookie else ""
    with pytest.raises(urllib.error.HTTPError) as refused:
        request(url + path, cookie, "POST")
    with refused.value as answer:
        assert answer.code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_that_was_started(own_demo: Demo, number: signal.Signals) -> None:
    own_demo.url()
    children = psutil.Process(own_demo.process.pid).children(recursive=True)
    assert len(children) >= 3, "gunicorn, its worker, Redis"
    own_demo.process.send_signal(number)
    assert own_demo.process.wait(DEADLINE) == 0
    assert psutil.wait_procs(children, DEADLINE)[1] == []
    assert "Traceback" not in own_demo.output


def test_ends_with_a_message_when_the_server_dies(own_demo: Demo) -> None:
    own_demo.url()
    process = psutil.Process(own_demo.process.pid)
    started = process.children(recursive=True)
    (server,) = (c for c in process.children() if "gunicorn" in " ".join(c.cmdline()))
    server.kill()
    assert own_demo.process.wait(DEADLINE) == 1
    assert "demo: The server ended with exit code" in own_demo.output
    assert psutil.wait_procs(started, DEADLINE)[1] == []
