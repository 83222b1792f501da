# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that are cut soon after they have begun, again and again: pages are told of each
loss, but not once a second, and the log neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from testbed.servers import RedisServer, eventually
from tests.behaviour.realtime.scene import RESYNC, Scene, StartScene
from wsgi_ws.sources.link import RETRY_DELAY_MAX, TOLD_IN_FULL
from wsgi_ws.sources.realtime.owed import INTERVAL

CUTS = 8
WORKS = 1.0  # seconds for which each subscription does


def subscribers(server: RedisServer) -> int:
    found: Any = server.client.pubsub_numsub(*server.client.pubsub_channels())
    return sum(count for _, count in found)


def kill(scene: Scene, server: RedisServer) -> None:
    server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def publish_too_much(scene: Scene, server: RedisServer) -> None:
    scene.superset.publish("x", "principal", "x" * 3_000_000, ["user:9"])


@pytest.fixture(params=[kill, publish_too_much], ids=["killed", "overrun"])
def flapping(
    request: pytest.FixtureRequest, start_scene: StartScene, own_redis: RedisServer
) -> tuple[Scene, list[float]]:
    """A scene whose subscription was cut some times while there was traffic, and has come back;
    with the times for which it was away."""
    own_redis.client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 0")
    scene = start_scene(publish_at=own_redis.port, redis_port=own_redis.port)
    cut: Callable[[Scene, RedisServer], None] = request.param
    absences = []
    with scene.traffic():
        for _ in range(CUTS):
            time.sleep(WORKS)
            cut(scene, own_redis)
            lost_at = time.monotonic()
            eventually(lambda: subscribers(own_redis) == 0, "the subscription is cut")
            eventually(lambda: subscribers(own_redis) == 1, "it is there again")
            absences.append(time.monotonic() - lost_at)
    return scene, absences


@pytest.mark.timeout(180)
def test_flapping_subscriptions_close_nobody_often_are_rarer_and_rarer_and_a_few_lines(
    flapping: tuple[Scene, list[float]],
) -> None:
    scene, absences = flapping  # at whose end no page waited, was out of date or had failed
    assert scene.codes() == {RESYNC}
    for tab in scene.tabs:
        times = [close.at for close in tab.closes]
        # As the tab sees it, a busy machine may shorten a pause a little.
        assert all(later - earlier > INTERVAL - 2 for earlier, later in pairwise(times))
        assert tab.refusals == []
    assert absences[-1] > RETRY_DELAY_MAX / 4  # it was 0.1 s at first
    log = scene.server.log_text()
    assert log.count("Redis can't be read for realtime") == TOLD_IN_FULL + 1
    assert log.count("subscribed to channel") == TOLD_IN_FULL
    assert log.count("with 1012: messages") <= TOLD_IN_FULL + 1
