# SPDX-License-Identifier: Apache-2.0
"""README's table of troubles: each row is brought about, and has the sentence that is printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.check import (
    COOKIE,
    COORDINATION,
    PUBLIC_SECRET,
    URL,
    StartNginx,
    StartRedis,
    StartServer,
    SupersetConfig,
    at,
    backend,
    to,
)
from testbed.nginx import UPGRADE
from testbed.ports import free_port
from testbed.servers import ROOT, SECRET
from testbed.superset import new_channel, publish
from wsgi_ws.cli.checks.report import Report
from wsgi_ws.cli.checks.whole import CheckOptions, check_all


@dataclass(frozen=True)
class Stage:
    """What a row of the table may need."""

    environ: dict[str, str]
    superset: SupersetConfig
    superset7: SupersetConfig
    directory: Path
    own_redis: StartRedis
    start_server: StartServer
    start_nginx: StartNginx

    def compared(self, page: str | None = None, **changed: str | None) -> Report:
        """With Superset's settings, some of them changed."""
        return check_all(
            self.environ, CheckOptions(superset=self.superset.write(**changed), page=page)
        )

    def compared7(self, environ: dict[str, str] | None = None, **changed: str | None) -> Report:
        """With the settings of Superset 7, some of them changed."""
        path = self.superset7.write(**changed)
        return check_all({**self.environ, **(environ or {})}, CheckOptions(superset=path))

    def here(self, **changed: str) -> Report:
        """With another environment."""
        return check_all({**self.environ, **changed}, CheckOptions())

    def through_nginx(self, headers: str, **options: Any) -> Report:
        """With a server and a proxy."""
        nginx = self.start_nginx(to(self.start_server(), headers))
        return check_all(self.environ, at(nginx.url(), **options))


@pytest.fixture
def stage(
    environ: dict[str, str],
    superset: SupersetConfig,
    superset7: SupersetConfig,
    tmp_path: Path,
    own_redis: StartRedis,
    start_server: StartServer,
    start_nginx: StartNginx,
) -> Stage:
    return Stage(environ, superset, superset7, tmp_path, own_redis, start_server, start_nginx)


def another_database(stage: Stage) -> Report:
    server = stage.own_redis()
    publish(server.client, "async-events-", new_channel())
    return stage.here(REDIS_PORT=str(server.port), REDIS_STREAM_PREFIX="", REDIS_DB="1")


def another_secret(stage: Stage, **environ: str) -> Report:
    (stage.directory / "config.json").write_text(json.dumps({"jwtSecret": PUBLIC_SECRET}))
    path = stage.superset.write()
    return check_all(stage.environ | environ, CheckOptions(superset=path))


def lost_secret(stage: Stage) -> Report:
    server = stage.start_server(environ={"JWT_SECRET": PUBLIC_SECRET})
    environ = stage.environ | {"JWT_SECRET": PUBLIC_SECRET, "PREVIOUS_JWT_SECRET": SECRET}
    return check_all(environ, at(server.url()))


def other_streams(stage: Stage) -> Report:
    return check_all(stage.environ, at(stage.start_server(prefix="other-").url()))


def another_prefix(stage: Stage) -> Report:
    server = stage.own_redis()
    with server.client.pubsub() as subscription:
        subscription.subscribe("bi:realtime")
        subscription.get_message(timeout=30)
        return stage.here(REDIS_PORT=str(server.port))


def another_redis(stage: Stage) -> Report:
    other = {"REDIS_PORT": str(stage.own_redis().port)}
    return stage.compared7(None, **{COORDINATION: backend(other)})


def no_channel(stage: Stage) -> Report:
    server = stage.own_redis()
    server.client.execute_command("ACL", "SETUSER", "ws", "on", ">pw", "~*", "+@all")
    server.client.execute_command("ACL", "SETUSER", "ws", "resetchannels")
    user = {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
    return stage.here(REDIS_PORT=str(server.port), **user)


# First column → what brings it about.
TROUBLE: dict[str, Sequence[Callable[[Stage], Report]]] = {
    "no cookie at all": [lambda s: s.compared(FEATURE_FLAGS=None, GLOBAL_ASYNC_QUERIES="True")],
    'charts load for ever, or "422"': [lambda s: s.compared(DATA_CACHE_CONFIG=None)],
    '"to look at", and nothing else': [lambda s: s.compared(X='__import__("not_here").x == 1')],
    "browsers never connect": [lambda s: s.compared(GLOBAL_ASYNC_QUERIES_TRANSPORT=None)],
    "charts load for ever": [another_database],
    "Redis can't be read, in a container": [
        lambda s: s.here(KUBERNETES_SERVICE_HOST="10.0.0.1", REDIS_PORT=str(free_port()))
    ],
    "the port of Redis is ignored": [lambda s: s.here(REDIS_PORT="tcp://10.1.2.3:6379")],
    "401": [lambda s: another_secret(s, JWT_SECRET="")],
    "401, although the file is right": [another_secret],
    "401 after a change of the secret": [lost_secret],
    "401, the secret is in an env file": [lambda s: s.here(JWT_SECRET=f'"{SECRET}"')],
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
    "400 with nginx's name": [lambda s: s.through_nginx(UPGRADE)],
    "sockets end after a while (`--hold 65`)": [
        lambda s: s.through_nginx(UPGRADE + "proxy_read_timeout 1s;", hold=10)
    ],
    "Superset 7: pages connect, nothing arrives": [
        lambda s: s.compared7(None, **{COORDINATION: None}),
        lambda s: s.compared7(REALTIME_CHANNEL_PREFIX='"bi:"'),
        another_prefix,
        another_redis,
    ],
    "Superset 7: `/ready` is 503, or realtime is off": [no_channel],
    "Superset 7: browsers never connect": [
        lambda s: s.compared7(WEBSOCKET_ENABLE=None),
        lambda s: s.compared7(WEBSOCKET_JWT_SECRET=None),
        lambda s: s.compared7({"TRANSPORTS": "streams"}),
    ],
    "Superset 7: settings without effect": [
        lambda s: s.compared7(GLOBAL_ASYNC_QUERIES_JWT_SECRET=repr(SECRET))
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
