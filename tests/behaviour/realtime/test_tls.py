# SPDX-License-Identifier: Apache-2.0
"""Redis over TLS: a message arrives, and an outage is noticed as it is without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from testbed.realtime import Superset7
from testbed.servers import Server, eventually
from testbed.tcp_proxy import TcpProxy
from testbed.tls import TlsRedis
from tests.behaviour.realtime.scene import RESYNC, Scene, StartScene, received, socket

StartServer = Callable[..., Server]


@pytest.fixture
def tls_proxy(tls_redis: TlsRedis) -> Iterator[TcpProxy]:
    """The network between the server and Redis."""
    proxy = TcpProxy(tls_redis.port)
    yield proxy
    proxy.close()


def start_behind(proxy: TcpProxy, tls_redis: TlsRedis, start_scene: StartScene) -> Scene:
    environ = tls_redis.environ | {"REDIS_PORT": str(proxy.port)}
    return start_scene(publish_at=tls_redis.server.port, environ=environ)


def await_resync(scene: Scene) -> None:
    eventually(scene.all_closed_once, "every socket is closed")
    eventually(scene.all_open, "every page is back")
    assert scene.codes() == {RESYNC}


def test_messages_of_any_size_arrive(
    start_realtime: StartServer, tls_redis: TlsRedis, prefix: str
) -> None:
    server = start_realtime(environ=tls_redis.environ)
    superset = Superset7(tls_redis.server.port, prefix)
    sizes = [1, 16_000, 100_000, 1_000_000]  # a record of TLS has 16 KiB
    with socket(server, "user:1", "1") as client:
        for size in sizes:
            superset.publish("x", "tab", size * "x", ["user:1:1"])
        (texts,) = received(superset, client)
    superset.close()
    assert [text.count("x") - 1 for text in texts] == sizes


def test_a_killed_subscription_costs_nobody_a_message(
    start_scene: StartScene, tls_redis: TlsRedis
) -> None:
    scene = start_scene(publish_at=tls_redis.server.port, environ=tls_redis.environ)
    with scene.traffic():
        tls_redis.admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await_resync(scene)


def test_a_restart_of_redis_costs_nobody_a_message(
    start_scene: StartScene, tls_redis: TlsRedis
) -> None:
    scene = start_scene(publish_at=tls_redis.server.port, environ=tls_redis.environ)
    with scene.traffic():
        tls_redis.server.stop()
        tls_redis.server.start()
        await_resync(scene)


def test_a_cut_network_costs_nobody_a_message(
    start_scene: StartScene, tls_redis: TlsRedis, tls_proxy: TcpProxy
) -> None:
    scene = start_behind(tls_proxy, tls_redis, start_scene)
    with scene.traffic():
        tls_proxy.cut()
        tls_proxy.restore()
        await_resync(scene)


def test_a_connection_that_is_forgotten_on_its_way_is_noticed_within_seconds(
    start_scene: StartScene, tls_redis: TlsRedis, tls_proxy: TcpProxy
) -> None:
    scene = start_behind(tls_proxy, tls_redis, start_scene)
    with scene.traffic():
        tls_proxy.forget()
        begin = time.monotonic()
        await_resync(scene)
        # 8 s of silence, 1 to 2 s until a page is back; the rest is for a busy machine.
        assert time.monotonic() - begin < 20


def test_a_silent_channel_is_no_dead_connection(
    start_scene: StartScene, tls_redis: TlsRedis
) -> None:
    scene = start_scene(publish_at=tls_redis.server.port, environ=tls_redis.environ)
    time.sleep(10)  # longer than a connection may be without a sign of life
    assert scene.all_open()
    assert scene.codes() == set()
