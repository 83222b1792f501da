# SPDX-License-Identifier: Apache-2.0
"""Workers end and others come: no chart waits in vain, no page shows an error."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.nginx import Nginx, documented
from testbed.servers import Server, eventually
from tests.behaviour.realtime.scene import Scene, StartScene

StartServer = Callable[..., Server]
SUBSCRIBED = "subscribed to channel"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_costs_nobody_a_message(start_scene: StartScene, workers: int) -> None:
    scene = start_scene(workers=workers)
    with scene.traffic():
        os.kill(scene.server.pids()[0], signal.SIGKILL)
        eventually(
            lambda: scene.server.log_text().count(SUBSCRIBED) > workers, "another one follows"
        )


def test_a_reload_costs_nobody_a_message(start_scene: StartScene) -> None:
    scene = start_scene(workers=2)
    with scene.traffic():
        scene.server.process.send_signal(signal.SIGHUP)
        eventually(lambda: all(tab.closes for tab in scene.tabs), "all sockets have been closed")
        eventually(scene.all_open, "all are back")
    assert scene.codes() == {1001}


@pytest.fixture
def instances(start_realtime: StartServer) -> list[Server]:
    return [start_realtime(environ={"DRAIN_MS": "500"}) for _ in range(2)]


@pytest.fixture
def nginx(tmp_path: Path, instances: list[Server]) -> Iterator[Nginx]:
    """In front of both instances, as the documentation has it."""
    upstream, location = documented(*(server.port for server in instances))
    body = location.partition("{")[2].rstrip().removesuffix("}")
    nginx = Nginx(tmp_path / "nginx", body, upstream=upstream)
    yield nginx
    nginx.stop()


def test_a_rolling_restart_of_two_instances_costs_nobody_a_message(
    start_scene: StartScene, start_realtime: StartServer, instances: list[Server], nginx: Nginx
) -> None:
    scene: Scene = start_scene(tabs=False)  # its own server is for nobody
    scene.open_tabs(url=nginx.url())
    with scene.traffic():
        for instance in instances:
            assert instance.terminate() == 0
            start_realtime(port=instance.port, environ={"DRAIN_MS": "500"})
    assert scene.codes() <= {1001, 1006}  # nginx may end it before it has passed the close on
