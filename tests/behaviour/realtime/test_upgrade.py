# SPDX-License-Identifier: Apache-2.0
"""The upgrade from Superset 6.1 to 7, step by step, as docs/transports.md has it, on one server.

The pages of 6.1 are open all the time, and get every event once and in order.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from testbed import realtime
from testbed.check import SupersetConfig, assert_named, sentences
from testbed.http_client import ask, upgrade
from testbed.ports import free_port
from testbed.realtime import Browsers, Superset7, Tab, traffic
from testbed.servers import DEADLINE, SECRET, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from tests.behaviour.realtime.scene import await_log
from wsgi_ws.cli.checks.report import Report
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level

NEW_SECRET = "the-secret-of-superset-7-with-more-than-32-bytes"
CHANNEL_PREFIX = "bi:"
USER = "superset-websocket"
STREAMS_ONLY = ("+xread", "+xrange", "+xrevrange", "+time", "+select")
OFF = "the transport realtime is switched off ("
PAUSE = 0.02  # seconds between two events of 6.1


class OldPage:
    """A tab of 6.1: comes back with the last ID that it has, and keeps what it has got."""

    def __init__(self, server: Server, channel: str) -> None:
        self.jobs: list[str] = []
        self.is_open = False
        self._server = server
        self._headers = {"Cookie": cookie(channel)}
        self._last_id = ""
        self._done = threading.Event()

    def live(self) -> None:
        """Until told to end, or refused."""
        while not self._done.is_set():
            path = f"/?last_id={self._last_id}" if self._last_id else "/"
            try:
                with connect(self._server.url(path), additional_headers=self._headers) as socket:
                    self.is_open = True
                    self._read(socket)
            except (ConnectionClosed, InvalidStatus, OSError):
                self.is_open = False
                self._done.wait(0.2)

    def _read(self, socket: Any) -> None:
        while not self._done.is_set():
            try:
                event = json.loads(socket.recv(timeout=0.1))
            except TimeoutError:
                continue
            self._last_id = event["id"]
            self.jobs.append(event["job_id"])

    def leave(self) -> None:
        self._done.set()


class Superset6:
    """Writes events for the old pages, one after the other, until it is shut down."""

    def __init__(self, redis_server: RedisServer, prefix: str, channels: list[str]) -> None:
        self.count = 0
        self._redis = redis_server.client
        self._prefix = prefix
        self._channels = channels
        self._done = threading.Event()

    def work(self) -> None:
        while not self._done.wait(PAUSE):
            for channel in self._channels:
                publish(self._redis, self._prefix, channel, job_id=str(self.count))
            self.count += 1

    def shut_down(self) -> None:
        self._done.set()


class Installation:
    """The server with its file, its user of Redis, and what the check says of it."""

    def __init__(self, server: Server, redis_server: RedisServer) -> None:
        self.server = server
        self._redis = redis_server
        self._path = server.log_path.with_name(f"config-{server.port}.json")

    def permit(self, *rules: str) -> None:
        self._redis.client.execute_command("ACL", "SETUSER", USER, *rules)

    def change(self, **keys: str) -> None:
        """Write the file anew, and SIGHUP."""
        self._path.write_text(json.dumps(json.loads(self._path.read_text()) | keys))
        before = set(self.server.pids())
        self.server.process.send_signal(signal.SIGHUP)

        def are_replaced() -> bool:
            now = set(self.server.pids())
            return bool(now) and not before & now

        eventually(are_replaced, "there are other workers")
        eventually(self.is_ready, "it is ready")

    def is_ready(self) -> bool:
        try:
            return ask(self.server, path="/ready")[0] == 200
        except OSError:
            return False

    def check(self, superset: SupersetConfig) -> Report:
        """`python -m wsgi_ws check --superset …`."""
        environ = {"WSGI_WS_CONFIG": str(self._path), "PATH": os.environ["PATH"]}
        return check_all(environ, CheckOptions(superset=superset.write()))

    def ask_for_realtime(self, secret: str = SECRET) -> tuple[int, str]:
        """Status and text of the answer to a page of Superset 7."""
        return self._ask("/?tab_id=1", realtime.cookie("user:1", secret))

    def ask_for_streams(self) -> tuple[int, str]:
        """Likewise to a page of 6.1, which has had events."""
        return self._ask("/?last_id=1-1", cookie("c"))

    def _ask(self, path: str, header: str) -> tuple[int, str]:
        status, _, body = ask(self.server, path=path, headers=upgrade(Cookie=header))
        return status, body.decode()


@pytest.fixture
def installation(
    own_redis: RedisServer,
    start_server: Callable[..., Server],
    prefix: str,
) -> Installation:
    """Step 1: this server serves 6.1, with a user of Redis that may do just that."""
    rules = ("on", ">word", f"~{prefix}*", "resetchannels", "-@all", *STREAMS_ONLY)
    own_redis.client.execute_command("ACL", "SETUSER", USER, *rules)
    publish(own_redis.client, prefix, new_channel())
    port = free_port()
    config = {
        "port": port,
        "redis": {"port": own_redis.port, "username": USER, "password": "word"},
        "redisStreamPrefix": prefix,
        "jwtSecret": SECRET,
    }
    none = dict.fromkeys(("PORT", "REDIS_PORT", "REDIS_STREAM_PREFIX", "JWT_SECRET"), "")
    server = start_server(port=port, config=config, environ=none)
    return Installation(server, own_redis)


class OldSuperset:
    """Superset 6.1 and its pages, with events all the time."""

    def __init__(self, server: Server, redis_server: RedisServer, prefix: str) -> None:
        channels = [new_channel() for _ in range(3)]
        self._pages = [OldPage(server, channel) for channel in channels]
        self._producer = Superset6(redis_server, prefix, channels)
        self._threads = ThreadPoolExecutor(len(channels) + 1)
        self._lives = [self._threads.submit(page.live) for page in self._pages]
        eventually(lambda: all(page.is_open for page in self._pages), "the old pages are open")
        self._lives.append(self._threads.submit(self._producer.work))

    def go_on(self) -> None:
        """Something happens at every page."""
        counts = [len(page.jobs) for page in self._pages]
        eventually(
            lambda: all(len(p.jobs) > n for p, n in zip(self._pages, counts, strict=True)),
            "the old pages get events",
        )

    def shut_down(self) -> None:
        """Superset 6.1 is gone. Each page has got all, once and in order."""
        self._producer.shut_down()
        self._lives.pop().result(DEADLINE)
        everything = [str(number) for number in range(self._producer.count)]
        eventually(
            lambda: all(len(page.jobs) >= len(everything) for page in self._pages), "all has come"
        )
        assert [page.jobs for page in self._pages] == [everything] * len(self._pages)

    def leave(self) -> None:
        """Close the pages."""
        self._producer.shut_down()
        for page in self._pages:
            page.leave()
        self._threads.shutdown()


@pytest.fixture
def old(installation: Installation, own_redis: RedisServer, prefix: str) -> Iterator[OldSuperset]:
    old = OldSuperset(installation.server, own_redis, prefix)
    yield old
    old.leave()


@pytest.fixture
def new(own_redis: RedisServer) -> Iterator[Superset7]:
    superset = Superset7(own_redis.port, CHANNEL_PREFIX)
    yield superset
    superset.close()


@pytest.fixture
def six(own_redis: RedisServer, prefix: str, tmp_path: Path) -> SupersetConfig:
    environ = {"REDIS_PORT": str(own_redis.port), "REDIS_STREAM_PREFIX": prefix}
    return SupersetConfig.of_six(tmp_path, environ)


@pytest.fixture
def seven(own_redis: RedisServer, tmp_path: Path) -> SupersetConfig:
    environ = {"REDIS_PORT": str(own_redis.port), "REALTIME_CHANNEL_PREFIX": CHANNEL_PREFIX}
    config = SupersetConfig.of_seven(tmp_path, environ)
    config.lines["WEBSOCKET_JWT_SECRET"] = repr(NEW_SECRET)
    return config


def open_tabs(browsers: Browsers, server: Server) -> list[Tab]:
    """Pages of Superset 7, which signs with the new secret."""
    return [
        browsers.open(
            server.url(),
            principal,
            tab_id,
            new_cookie=lambda principal=principal: realtime.cookie(principal, NEW_SECRET),
        )
        for principal in ("user:1", "user:42")
        for tab_id in ("1", "2")
    ]


def test_the_upgrade_of_a_running_installation(
    installation: Installation,
    old: OldSuperset,
    new: Superset7,
    six: SupersetConfig,
    seven: SupersetConfig,
    tmp_path: Path,
) -> None:
    server = installation.server
    # 1. The server serves 6.1.
    assert installation.is_ready()
    assert installation.ask_for_realtime()[0] == 503
    assert server.log_text().count(OFF) == 1
    assert not sentences(installation.check(six), Level.RED)

    # 2. The prefix.
    installation.change(realtimeChannelPrefix=CHANNEL_PREFIX)
    assert installation.ask_for_realtime()[0] == 503
    report = installation.check(six)
    needed = f"ACL SETUSER {USER} &{CHANNEL_PREFIX}realtime +subscribe +ping"
    assert_named(report, Level.YELLOW, needed, "until then realtime is switched off here")
    assert not sentences(report, Level.RED)

    # 3. The permission: the server notices by itself.
    workers = server.pids()
    installation.permit(f"&{CHANNEL_PREFIX}realtime", "+subscribe", "+ping")
    await_log(server, f"subscribed to channel {CHANNEL_PREFIX}realtime")
    assert installation.ask_for_realtime()[0] == 101
    assert server.pids() == workers
    assert sentences(installation.check(six)) == ""

    # 4. The secret.
    installation.change(jwtSecret=NEW_SECRET, previousJwtSecret=SECRET)
    assert installation.ask_for_streams()[0] == 101
    assert installation.ask_for_realtime(NEW_SECRET)[0] == 101
    report = installation.check(six)
    assert_named(report, Level.YELLOW, "a rotation is under way")
    assert not sentences(report, Level.RED)

    # 5. Superset's settings.
    both = SupersetConfig(tmp_path, six.lines | seven.lines)
    report = installation.check(both)
    assert_named(report, Level.YELLOW, "have no effect in Superset 7: remove what is old")
    assert len(sentences(report).splitlines()) == 1

    # 6. Both generations live.
    with Browsers(new.database) as browsers:
        tabs = open_tabs(browsers, server)
        with traffic(new, tabs):
            old.go_on()
            time.sleep(1)
        browsers.check()
        old.shut_down()
        assert sentences(installation.check(seven)) == ""

        # 7. Without 6.1.
        with traffic(new, tabs):
            installation.change(transports="realtime", previousJwtSecret="")
        browsers.check()
    status, text = installation.ask_for_streams()
    assert (status, "reload the page" in text) == (401, True)
    await_log(server, "streams (Superset up to 6.1) was asked for and is switched off here")
    assert sentences(installation.check(seven)) == ""
    assert_named(installation.check(both), Level.YELLOW, "nothing of Superset up to 6.1")
    assert "ERROR" not in server.log_text()
