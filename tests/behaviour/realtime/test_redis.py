# SPDX-License-Identifier: Apache-2.0
"""Redis goes away: sockets stay until it is back, and are then closed, once, so that pages ask."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from testbed.http_client import ask
from testbed.realtime import Tab
from testbed.sentinel import MASTER, Sentinel
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.tcp_proxy import TcpProxy
from tests.behaviour.realtime.scene import (
    RESYNC,
    Scene,
    StartScene,
    await_log,
    close_of,
    handshake_status,
    socket,
)

StartServer = Callable[..., Server]
StartRedis = Callable[..., RedisServer]
StartSentinel = Callable[..., Sentinel]
DOWN = "Redis can't be read for realtime"
SUBSCRIBED = "subscribed to channel"


def is_ready(server: Server) -> bool:
    return ask(server, path="/ready")[0] == 200


def subscribers(redis_server: RedisServer) -> int:
    found: Any = redis_server.client.pubsub_numsub(*redis_server.client.pubsub_channels())
    return sum(count for _, count in found)


def await_resync(scene: Scene) -> None:
    """Every socket is closed, once, and every page is back."""
    eventually(scene.all_closed_once, "every socket is closed")
    eventually(scene.all_open, "every page is back")
    assert scene.codes() == {RESYNC}


# --- Redis itself --------------------------------------------------------------------------------


def test_a_restart_of_redis_costs_nobody_a_message(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    with scene.traffic():
        own_redis.stop()
        own_redis.start()
        await_resync(scene)


def test_an_absence_of_seconds_makes_no_page_give_up(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    with scene.traffic():
        own_redis.stop()
        time.sleep(5)
        assert scene.all_open()
        own_redis.start()
        await_resync(scene)


def test_a_page_that_is_opened_during_an_absence_waits_as_well(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    own_redis.stop()
    await_log(scene.server, DOWN)
    new = scene.browsers.open(scene.server.url(), "user:7", "1")
    task = scene.superset.begin([new])
    scene.superset.end(task)
    assert scene.superset.lost
    own_redis.start()
    scene.browsers.check()
    assert [close.code for close in new.closes] == [RESYNC]


def test_a_redis_that_stands_still_for_seconds_costs_nobody_a_message(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    with scene.traffic():
        own_redis.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        own_redis.process.send_signal(signal.SIGCONT)


def test_a_page_is_closed_after_the_subscription_is_there(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    own_redis.stop()
    await_log(scene.server, DOWN)
    own_redis.start()
    eventually(lambda: any(tab.closes for tab in scene.tabs), "the first socket is closed")
    assert subscribers(own_redis) == 1
    log = scene.server.log_text()
    assert log.rindex(SUBSCRIBED) < log.index("with 1012: messages may have been missed")


def test_subscriptions_killed_again_and_again_cost_nobody_a_message(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, workers=2)
    with scene.traffic():
        for _ in range(20):
            eventually(lambda: subscribers(own_redis) == 2, "both workers listen")
            own_redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert scene.codes() == {RESYNC}


def test_a_subscriber_that_redis_cuts_for_its_slowness_says_so_to_its_pages(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    own_redis.client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 0")
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    (worker,) = scene.server.pids()
    with scene.traffic():
        os.kill(worker, signal.SIGSTOP)
        for number in range(300):
            scene.superset.publish("x", "principal", {"n": number, "x": "x" * 50_000}, ["user:9"])
        eventually(lambda: subscribers(own_redis) == 0, "Redis has cut the subscriber")
        os.kill(worker, signal.SIGCONT)
        await_resync(scene)


# --- between the server and Redis ----------------------------------------------------------------


def test_a_connection_that_is_forgotten_on_its_way_is_noticed_within_seconds(
    start_scene: StartScene, proxy: TcpProxy
) -> None:
    scene = start_scene(redis_port=proxy.port)
    with scene.traffic():
        proxy.forget()
        begin = time.monotonic()
        await_resync(scene)
        # 8 s of silence, 1 to 2 s until a page is back; the rest is for a busy machine.
        assert time.monotonic() - begin < 20


def test_a_network_that_stands_still_costs_nobody_a_message(
    start_scene: StartScene, proxy: TcpProxy
) -> None:
    scene = start_scene(redis_port=proxy.port)
    with scene.traffic():
        proxy.freeze()
        await_log(scene.server, DOWN)
        proxy.restore()
        await_resync(scene)


def test_a_silent_channel_is_no_dead_connection(start_scene: StartScene) -> None:
    scene = start_scene()
    time.sleep(10)  # longer than a connection may be without a sign of life
    assert scene.all_open()
    assert scene.codes() == set()
    assert DOWN not in scene.server.log_text()


@pytest.mark.parametrize("crash", [False, True], ids=["forced", "after a crash"])
def test_a_fail_over_costs_nobody_a_message(
    start_scene: StartScene, start_sentinel: StartSentinel, crash: bool
) -> None:
    sentinel = start_sentinel()
    first, second = sentinel.first, sentinel.second
    scene = start_scene(publish_at=first.port, environ=sentinel.environ)
    with sentinel.await_replica() as client, scene.traffic():
        if crash:
            first.stop()
        else:
            client.execute_command("SENTINEL", "FAILOVER", MASTER)
        eventually(lambda: sentinel.master_port(client) == second.port, "a new master")
        scene.superset.move_to(second.port)
        eventually(lambda: subscribers(second) == 1, "the new master is listened to")
        eventually(lambda: all(tab.closes for tab in scene.tabs), "every socket is closed")
        eventually(scene.all_open, "every page is back")
    assert scene.codes() == {RESYNC}


# --- how long, and for whom ----------------------------------------------------------------------


def test_it_is_ready_only_while_the_channel_is_subscribed_to(
    start_realtime: StartServer, proxy: TcpProxy
) -> None:
    server = start_realtime(redis_port=proxy.port, environ={"TRANSPORTS": "realtime"})
    eventually(lambda: is_ready(server), "it is ready")
    proxy.cut()
    eventually(lambda: not is_ready(server), "it is not ready any more")
    proxy.restore()
    eventually(lambda: is_ready(server), "it is ready again")


def test_a_long_outage_is_told_to_the_pages_until_it_ends(
    start_realtime: StartServer, proxy: TcpProxy
) -> None:
    server = start_realtime(redis_port=proxy.port, environ={"REALTIME_OUTAGE_MS": "1000"})
    with socket(server, "user:1", "1") as client:
        proxy.cut()
        assert close_of(client) == (RESYNC, "realtime backend unavailable")
    assert handshake_status(server) == 503
    proxy.restore()
    eventually(lambda: handshake_status(server) == 101, "pages are admitted again")
    eventually(lambda: is_ready(server), "it is ready again")


def test_an_outage_that_is_not_long_refuses_nobody(
    start_realtime: StartServer, proxy: TcpProxy
) -> None:
    server = start_realtime(redis_port=proxy.port)
    proxy.cut()
    await_log(server, DOWN)
    assert handshake_status(server) == 101


def test_an_outage_refuses_new_pages_when_so_configured(
    start_realtime: StartServer, proxy: TcpProxy
) -> None:
    server = start_realtime(redis_port=proxy.port, environ={"REDIS_DOWN_POLICY": "refuse"})
    with socket(server, "user:1", "1") as client:
        proxy.cut()
        await_log(server, DOWN)
        assert handshake_status(server) == 503
        assert client.ping().wait(DEADLINE)
        proxy.restore()
        assert close_of(client)[0] == RESYNC
    eventually(lambda: handshake_status(server) == 101, "pages are admitted again")


def test_a_permission_that_is_withdrawn_is_told_to_the_pages(
    start_realtime: StartServer, own_redis: RedisServer
) -> None:
    acl = ("ACL", "SETUSER", "ours")
    own_redis.client.execute_command(*acl, "on", ">word", "~*", "&*", "+@all")
    environ = {"REDIS_USERNAME": "ours", "REDIS_PASSWORD": "word", "REALTIME_OUTAGE_MS": "1000"}
    server = start_realtime(redis_port=own_redis.port, environ=environ)
    with socket(server, "user:1", "1") as client:
        own_redis.client.execute_command(*acl, "resetchannels")
        assert close_of(client) == (RESYNC, "realtime backend unavailable")
    assert handshake_status(server) == 503


def test_a_redis_that_comes_after_the_server_is_waited_for(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    own_redis.stop()
    scene = start_scene(
        publish_at=own_redis.port, redis_port=own_redis.port, wait=False, tabs=False
    )
    await_log(scene.server, "sockets are accepted and held")
    scene.open_tabs()
    tasks = [scene.superset.begin([tab]) for tab in scene.tabs]
    for task in tasks:
        scene.superset.end(task)
    own_redis.start()
    scene.browsers.check()
    assert scene.codes() == {RESYNC}


def test_a_page_comes_back_once_from_each_outage(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    tab: Tab = scene.tabs[0]
    scene.superset.begin([tab])
    own_redis.stop()
    time.sleep(4)  # whoever was closed at once would be back, to be closed again
    own_redis.start()
    await_resync(scene)
    assert tab.refusals == []
    # Once when the socket is closed, and once when the next one is open.
    assert scene.superset.database.catch_ups == 2


def test_a_replica_that_has_lost_its_master_is_an_outage_when_it_says_so(
    start_scene: StartScene, start_redis: StartRedis
) -> None:
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    replica.client.config_set("replica-serve-stale-data", "no")
    eventually(lambda: replica.client.info("replication")["master_link_status"] == "up", "a link")
    scene = start_scene(
        publish_at=master.port, redis_port=replica.port, environ={"TRANSPORTS": "realtime"}
    )
    with scene.traffic():
        master.stop()
        await_log(scene.server, DOWN)
        assert "Link with MASTER is down" in scene.server.log_text()
        assert not is_ready(scene.server)
        master.start()
        await_resync(scene)
