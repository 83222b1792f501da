# SPDX-License-Identifier: Apache-2.0
"""The end of a token is the end of its socket, on time and with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from testbed.page import Opening
from testbed.realtime import cookie
from testbed.servers import Server, eventually
from tests.behaviour.realtime.scene import StartScene, close_of, socket

StartServer = Callable[..., Server]
EXPIRED = (1008, "the token has expired")
PATIENCE = 10.0  # seconds that a busy machine may be late


@pytest.mark.parametrize("grace", [0, 2], ids=["at once", "after a grace"])
def test_a_socket_ends_with_its_token(start_realtime: StartServer, grace: int) -> None:
    server = start_realtime(environ={"JWT_GRACE_MS": str(grace * 1000)})
    exp = int(time.time()) + 2
    with socket(server, "user:1", "1", exp=exp) as client:
        assert close_of(client) == EXPIRED
        assert exp + grace <= time.time() < exp + grace + PATIENCE


def test_a_socket_whose_token_lasts_stays(start_realtime: StartServer) -> None:
    server = start_realtime()
    now = int(time.time())
    with (
        socket(server, "user:1", exp=now + 60) as one,
        socket(server, "user:1", exp=now + 2) as two,
    ):
        assert close_of(two) == EXPIRED
        assert one.ping().wait(PATIENCE)


def test_a_page_that_renews_its_socket_in_time_is_never_cut(start_scene: StartScene) -> None:
    scene = start_scene(tabs=False)
    tab = scene.browsers.open(
        scene.server.url(),
        "user:1",
        "1",
        keepalive=1.0,
        new_cookie=lambda: cookie("user:1", exp=int(time.time()) + 3),
    )
    eventually(lambda: tab.page.opened_by[Opening.KEEPALIVE] >= 4, "the first token has expired")
    assert tab.page.opened_by[Opening.RECONNECT] == 0
