# SPDX-License-Identifier: Apache-2.0
"""Redis answers, but with an error: whatever could not be published meanwhile is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
import pytest
import redis

from testbed.busy import busy
from testbed.http_client import ask
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.tcp_proxy import TcpProxy
from tests.behaviour.realtime.scene import RESYNC, Scene, StartScene, await_log, close_of, socket
from wsgi_ws.superset.realtime import channel_name, envelope

StartRedis = Callable[..., RedisServer]
DOWN = "Redis can't be read for realtime"
SUBSCRIBED = "subscribed to channel"
REALTIME = {"TRANSPORTS": "realtime"}
KEYS, DELAY_US = 8000, 300  # that Redis loads: 2.4 s at least


def is_ready(server: Server) -> bool:
    return ask(server, path="/ready")[0] == 200


def await_resync(scene: Scene) -> None:
    """Every socket is closed, once, and every page is back."""
    eventually(scene.all_closed_once, "every socket is closed")
    eventually(scene.all_open, "every page is back")
    assert scene.codes() == {RESYNC}
    eventually(lambda: is_ready(scene.server), "it is ready again")


def lines_about(server: Server, text: str) -> list[str]:
    return [line for line in server.log_text().splitlines() if text in line]


# --- it loads its data ---------------------------------------------------------------------------


def test_a_redis_that_loads_its_data_is_waited_for(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, environ=REALTIME)
    with own_redis.client.pipeline(transaction=False) as pipeline:
        for number in range(KEYS):
            pipeline.set(f"key {number}", "x" * 100)
        pipeline.execute()
    own_redis.client.save()
    with scene.traffic():
        own_redis.stop()
        often = ("--loading-process-events-interval-bytes", "1024")
        own_redis.start("--key-load-delay", str(DELAY_US), *often, wait=False)
        await_log(scene.server, "loading the dataset")
        assert not is_ready(scene.server)
        assert scene.codes() == set()
        await_resync(scene)
    assert len(lines_about(scene.server, "loading the dataset")) == 1
    log = scene.server.log_text()
    assert log.rindex("loading the dataset") < log.rindex(SUBSCRIBED)


# --- a script holds it up ------------------------------------------------------------------------


def test_what_a_script_kept_from_being_published_is_asked_for(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, environ=REALTIME)
    with scene.traffic():
        with busy(own_redis):
            await_log(scene.server, DOWN)
            assert not is_ready(scene.server)
            assert scene.all_open()
            eventually(lambda: scene.superset.lost, "messages are lost")
        await_resync(scene)
    (line,) = lines_about(scene.server, "be read for realtime")
    assert "BUSY Redis is busy running a script" in line


def test_a_server_that_starts_while_a_script_runs_waits_for_its_end(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    with busy(own_redis):
        scene = start_scene(
            publish_at=own_redis.port, redis_port=own_redis.port, wait=False, tabs=False
        )
        await_log(scene.server, "sockets are accepted and held")
        assert not is_ready(scene.server)
        scene.open_tabs()
        for tab in scene.tabs:
            scene.superset.end(scene.superset.begin([tab]))
    scene.browsers.check()
    assert scene.codes() == {RESYNC}
    (line,) = lines_about(scene.server, "be read for realtime")
    assert "BUSY Redis is busy running a script" in line


# --- it can't save its data ----------------------------------------------------------------------


def test_a_redis_that_can_not_save_its_data_publishes_all_the_same(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, environ=REALTIME)
    prevent_saving(own_redis)
    with scene.traffic():
        own_redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await_resync(scene)
    assert scene.superset.lost == 0


def prevent_saving(server: RedisServer) -> None:
    """From now on it refuses writes and PING (MISCONF)."""
    server.client.config_set("save", "3600 1")
    file_in_the_way = server.directory / "dump.rdb" / "file"
    file_in_the_way.parent.mkdir()
    file_in_the_way.touch()
    server.client.bgsave()
    eventually(lambda: refuses_ping(server), "Redis refuses writes and PING")


def refuses_ping(server: RedisServer) -> bool:
    try:
        server.client.ping()
    except redis.ResponseError as error:
        return "MISCONF" in str(error)
    return False


# --- it refuses PING for another reason, which hides that a script holds it up -------------------


def test_what_a_script_kept_from_being_published_is_asked_for_though_redis_can_not_save(
    start_scene: StartScene, own_redis: RedisServer
) -> None:
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, environ=REALTIME)
    prevent_saving(own_redis)
    await_resync_after_a_script(scene, own_redis)


def test_what_a_script_kept_from_being_published_is_asked_for_though_ping_is_forbidden(
    start_scene: StartScene, own_redis: RedisServer, prefix: str
) -> None:
    environ = REALTIME | user_without_ping(own_redis, prefix)
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port, environ=environ)
    await_resync_after_a_script(scene, own_redis)


def test_a_server_whose_user_may_not_ping_waits_for_the_end_of_a_script_too(
    start_realtime: Callable[..., Server], own_redis: RedisServer, prefix: str
) -> None:
    environ = REALTIME | user_without_ping(own_redis, prefix)
    with busy(own_redis):
        server = start_realtime(redis_port=own_redis.port, environ=environ, wait=False)
        await_log(server, "BUSY Redis is busy running a script")
        assert not is_ready(server)
    eventually(lambda: is_ready(server), "it is ready")


def test_a_user_who_may_not_ping_is_told_what_that_hides_and_how_to_permit_it(
    start_realtime: Callable[..., Server], own_redis: RedisServer, prefix: str
) -> None:
    environ = REALTIME | user_without_ping(own_redis, prefix)
    server = start_realtime(redis_port=own_redis.port, environ=environ)
    await_log(server, SUBSCRIBED)
    own_redis.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await_log(server, SUBSCRIBED, 2)
    (line,) = lines_about(server, "PING")
    assert "user ours may not PING: allow it in Redis with ACL SETUSER ours +ping;" in line
    assert "missed without a word" in line


def user_without_ping(server: RedisServer, prefix: str) -> dict[str, str]:
    """Make one who may subscribe; returns what a server needs to be one."""
    rules = ("on", ">word", f"&{prefix}realtime", "+subscribe")
    server.client.execute_command("ACL", "SETUSER", "ours", *rules)
    return {"REDIS_USERNAME": "ours", "REDIS_PASSWORD": "word"}


def await_resync_after_a_script(scene: Scene, own_redis: RedisServer) -> None:
    with scene.traffic():
        with busy(own_redis):
            await_log(scene.server, "BUSY Redis is busy running a script")
            assert not is_ready(scene.server)
            eventually(lambda: scene.superset.lost, "messages are lost")
        await_resync(scene)


# --- a replica whose master is gone --------------------------------------------------------------


def test_a_replica_that_refuses_to_answer_without_its_master_is_an_outage(
    start_scene: StartScene, start_redis: StartRedis
) -> None:
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    replica.client.config_set("replica-serve-stale-data", "no")
    eventually(lambda: master.client.wait(1, 100), "the replica follows its master")
    scene = start_scene(publish_at=master.port, redis_port=replica.port, environ=REALTIME)
    with scene.traffic():
        master.stop()
        await_log(scene.server, "MASTERDOWN")
        assert not is_ready(scene.server)
        master.start()
        await_resync(scene)


# --- what has come before ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [b"-BUSY Redis is busy running a script.\r\n", b":1\r\n", b"?garbage\r\n"],
    ids=["an error", "a number", "what is no protocol"],
)
def test_a_message_that_comes_with_trouble_behind_it_is_delivered(
    trouble: bytes, start_realtime: Callable[..., Server], proxy: TcpProxy, prefix: str
) -> None:
    server = start_realtime(redis_port=proxy.port, environ=REALTIME)
    message = envelope("dashboard.filters_applied", "principal", 1, ["user:1"])
    parts: Any = (b"message", channel_name(prefix).encode(), message)
    with socket(server, "user:1", "1") as client:
        proxy.inject(hiredis.pack_command(parts) + trouble)
        assert client.recv(DEADLINE) == '{"topic":"dashboard.filters_applied","payload":1}'
        assert close_of(client)[0] == RESYNC
