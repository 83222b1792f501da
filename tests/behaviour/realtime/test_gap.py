# SPDX-License-Identifier: Apache-2.0
"""Between two sockets of a tab: what it may have missed is handed to it, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.page import Opening
from testbed.realtime import Superset7
from testbed.servers import Server, eventually
from testbed.tcp_proxy import TcpProxy
from tests.behaviour.realtime.scene import (
    RESYNC,
    StartScene,
    await_log,
    close_of,
    received,
    socket,
    witnesses,
)
from wsgi_ws.superset.names import BROADCAST

StartServer = Callable[..., Server]


def status(task_id: str) -> str:
    """The text that tells the end of a task."""
    return f'{{"topic":"task.status","payload":{{"task_id": "{task_id}", "status": "success"}}}}'


CHANGED = '{"topic":"entity.changed","payload":{"entity_type": "task", "id": 7}}'
TO_TAB, TO_USER = status("to the tab"), status("to the user")


def publish_while_away(server: Server, superset: Superset7) -> None:
    """What the tab `1` of user:1 misses while it has no socket; every worker has handed it out."""
    with witnesses(server) as clients:
        _publish(superset)
        received(superset, *clients)


def _publish(superset: Superset7) -> None:
    for task_id, route in (("to the tab", "user:1:1"), ("to the user", "user:1")):
        payload = {"task_id": task_id, "status": "success"}
        superset.publish("task.status", "tab", payload, [route])
    superset.publish("entity.changed", BROADCAST, {"entity_type": "task", "id": 7})
    filters = {"dashboard_id": 1, "permalink_key": "k"}
    superset.publish("dashboard.filters_applied", "principal", filters, ["user:1"])
    superset.publish("some.day", "principal", {}, ["user:1"])
    superset.publish("some.day", BROADCAST, {})


@pytest.mark.parametrize("workers", [1, 3])
def test_a_tab_that_comes_back_gets_what_it_has_missed_and_may_have_twice(
    start_realtime: StartServer, superset: Superset7, workers: int
) -> None:
    server = start_realtime(workers=workers)
    with socket(server, "user:1", "1"):
        pass
    publish_while_away(server, superset)
    with socket(server, "user:1", "1") as client:
        assert sorted(received(superset, client)[0]) == sorted([CHANGED, TO_TAB, TO_USER])


OTHERS: dict[tuple[str, str | None], list[str]] = {
    ("user:1", "2"): [CHANGED, TO_USER],
    ("user:1", None): [CHANGED, TO_USER],
    ("user:1", "not valid"): [CHANGED, TO_USER],
    ("user:2", "1"): [CHANGED],
    ("user:11", "1"): [CHANGED],
}


def test_another_tab_or_user_gets_nothing_that_was_not_for_it(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime()
    with socket(server, "user:1", "1"):
        pass
    publish_while_away(server, superset)
    got = {}
    for who in OTHERS:
        with socket(server, *who) as client:
            got[who] = sorted(received(superset, client)[0])
    assert got == {who: sorted(texts) for who, texts in OTHERS.items()}


def test_without_a_memory_nothing_is_repeated(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"REALTIME_MEMORY_MS": "0"})
    publish_while_away(server, superset)
    with socket(server, "user:1", "1") as client:
        assert received(superset, client) == [[]]


@pytest.mark.parametrize("workers", [1, 2])
def test_pages_that_renew_their_sockets_again_and_again_show_what_there_is(
    start_scene: StartScene, workers: int
) -> None:
    scene = start_scene(workers=workers, tabs=False)
    scene.open_tabs(keepalive=0.5)
    with scene.traffic():
        eventually(
            lambda: all(tab.page.opened_by[Opening.KEEPALIVE] > 8 for tab in scene.tabs),
            "each has had many sockets",
        )
        for tab in scene.tabs:
            assert tab.page.opened_by[Opening.RECONNECT] == 0


def test_a_tab_that_was_between_two_sockets_at_the_new_subscription_is_told(
    start_realtime: StartServer, proxy: TcpProxy
) -> None:
    server = start_realtime(redis_port=proxy.port)
    with socket(server, "user:1", "1"):
        proxy.cut()
        await_log(server, "Redis can't be read for realtime")
    proxy.restore()
    await_log(server, "subscribed to channel", 2)
    with socket(server, "user:1", "1") as client:  # to its page a renewal, after which it asks for
        assert close_of(client, deadline=10.0)[0] == RESYNC  # charts only, and lists stay old


def test_a_tab_that_has_missed_more_than_is_remembered_is_told(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(environ={"REALTIME_MEMORY_BYTES": "10000"})
    with socket(server, "user:1", "1"):
        pass
    with witnesses(server) as clients:
        for number in range(100):
            payload = {"entity_type": "task", "id": number}
            superset.publish("entity.changed", BROADCAST, payload)
        received(superset, *clients)
    with socket(server, "user:1", "1") as client:
        assert close_of(client, deadline=10.0)[0] == RESYNC
