# SPDX-License-Identifier: Apache-2.0
"""Superset's own code at the other end: it signs the cookie, it publishes, this server delivers.

Superset is installed into an environment of its own, once. Where the package index can't be reached
these tests are skipped, but not in CI; where no Python is old enough for Superset, everywhere.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from interop.environment import VERSIONS, Environment, NoPythonFits, UvFailed
from testbed.absent import absent
from testbed.distribution import build
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, Server
from testbed.superset import cookie, new_channel, publish

pytestmark = pytest.mark.timeout(900)  # the first run installs some 300 packages


@pytest.fixture(scope="module", params=VERSIONS)
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each release's."""
    environment = Environment(request.param)
    try:
        environment.install()
    except NoPythonFits as error:
        pytest.skip(str(error))
    except UvFailed as error:
        absent(str(error))
    return environment


@pytest.fixture
def ask(
    environment: Environment, redis_server: RedisServer, prefix: str
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Superset's AsyncQueryManager, as interop/producer.py answers for it."""
    with subprocess.Popen(
        [
            # -I: the folder of the file has a superset_config.py, which is not meant here.
            *(environment.python, "-I", str(ROOT / "interop" / "producer.py")),
            *(str(redis_server.port), prefix, SECRET),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask_(**asked: Any) -> dict[str, Any]:
            stdin.write(json.dumps(asked) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        yield ask_
        stdin.close()


UPDATES: list[tuple[str, dict[str, Any]]] = [
    ("running", {}),
    ("done", {"result_url": "/api/v1/chart/data/qc-1"}),
    ("error", {"errors": [{"message": "no such table: ünbekannt"}]}),
]


@pytest.mark.parametrize("user", [7, 0], ids=["user", "anonymous visitor"])
def test_what_superset_publishes_reaches_whom_it_gave_the_cookie(
    ask: Callable[..., dict[str, Any]], start_server: Callable[..., Server], user: int
) -> None:
    server = start_server()
    visitor, other = ask(visit=user), ask(visit=8)
    headers = {"Cookie": visitor["cookie"]}
    with connect(server.url(), additional_headers=headers, compression=None) as socket:
        for each in (other, visitor):
            job = ask(job=each["channel"], user=user or None, updates=UPDATES)
        events = [json.loads(socket.recv(timeout=DEADLINE)) for _ in UPDATES]
    ids = [tuple(map(int, event.pop("id").split("-"))) for event in events]
    assert ids == sorted(set(ids))
    assert events == [
        {
            "channel_id": visitor["channel"],
            "job_id": job["job_id"],
            "user_id": user or None,
            "status": status,
            "errors": members.get("errors", []),
            "result_url": members.get("result_url"),
        }
        for status, members in UPDATES
    ]


@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
def test_requirements_fit_beside_superset_without_moving_a_version_of_its(
    environment: Environment, resolution: str
) -> None:
    resolved = environment.resolve(ROOT / "requirements.txt", resolution)
    assert "gevent-websocket==" in resolved, resolved


def test_its_wheel_serves_from_superset_s_own_environment_and_moves_no_version_there(
    environment: Environment, redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    wheel, _ = build(ROOT, tmp_path / "dist")
    together = environment.with_wheel(wheel)
    assert set(environment.frozen().splitlines()) < set(together.frozen().splitlines())
    server = Server(
        tmp_path,
        redis_server.port,
        prefix=prefix,
        program=[together.program("wsgi-ws"), "serve"],
        environ={"PYTHONPATH": ""},  # the installed package, not the checkout's
    )
    try:
        channel = new_channel()
        headers = {"Cookie": cookie(channel)}
        with connect(server.url(), additional_headers=headers, compression=None) as socket:
            entry, _ = publish(redis_server.client, prefix, channel)
            assert json.loads(socket.recv(timeout=DEADLINE))["id"] == entry
    finally:
        server.stop()
