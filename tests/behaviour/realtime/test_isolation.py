# SPDX-License-Identifier: Apache-2.0
"""A socket gets what is for its user, its tab or everybody: once, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable

from websockets.sync.client import ClientConnection, connect

from testbed.realtime import Superset7
from testbed.servers import RedisServer, Server
from testbed.superset import cookie as cookie_of_streams
from testbed.superset import publish as publish_in_streams
from tests.behaviour.realtime.scene import GUEST, received, socket
from wsgi_ws.superset.names import BROADCAST

StartServer = Callable[..., Server]

PRINCIPALS = ("user:1", "user:11", "user:2", GUEST, "guest:" + 32 * "5f")
TAB_IDS = (None, "1", "2", "11", "a_B-9", "x" * 64, "not valid", "x" * 65, "")
VALID = TAB_IDS[1:6]
# Routes of nobody here, some of them close to somebody's.
STRANGERS = ("user:", "user:3", "user:1:", "user:1:not valid", "USER:1", "guest:5e", "constructor")
MESSAGES = 400


def routes_of(principal: str, tab_id: str | None) -> set[str]:
    return {principal, *([f"{principal}:{tab_id}"] if tab_id in VALID else [])}


def test_a_socket_gets_what_is_for_it_once_and_nothing_else(
    start_realtime: StartServer, superset: Superset7
) -> None:
    server = start_realtime(workers=2)
    rng = random.Random(int(os.environ["FUZZ_SEED"]))
    who = [(rng.choice(PRINCIPALS), rng.choice(TAB_IDS)) for _ in range(40)]
    everywhere = [*STRANGERS, *(route for one in who for route in sorted(routes_of(*one)))]
    messages: list[set[str] | None] = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket(server, *one)) for one in who]
        for number in range(MESSAGES):
            if rng.random() < 0.1:
                messages.append(None)
                superset.publish("x", BROADCAST, number, rng.choice([None, [], ["user:1"]]))
                continue
            routes = rng.choices(everywhere, k=rng.randrange(6))
            messages.append({*routes})
            scope = rng.choice(["tab", "principal", "some day"])
            superset.publish("x", scope, number, rng.choice([routes, routes or None]))
        got = received(superset, *clients)
    for one, texts in zip(who, got, strict=True):
        numbers = [json.loads(text)["payload"] for text in texts]
        own = routes_of(*one)
        assert sorted(numbers) == [n for n, to in enumerate(messages) if to is None or to & own]
        targeted = [n for n in numbers if messages[n] is not None]
        assert targeted == sorted(targeted), "what is for a user comes in the order of its PUBLISH"


def test_a_message_for_a_user_of_realtime_reaches_no_socket_of_streams(
    start_realtime: StartServer, redis_server: RedisServer, superset: Superset7, prefix: str
) -> None:
    server = start_realtime()
    with streams_socket(server, "user:42") as streams, socket(server, "user:42", "1") as realtime:
        superset.publish("x", "principal", 1, ["user:42", "user:42:1"])
        superset.publish("x", BROADCAST, 2)
        assert len(received(superset, realtime)[0]) == 2  # so it has been handed out
        publish_in_streams(redis_server.client, prefix, "user:42", job_id="the only one")
        assert json.loads(streams.recv())["job_id"] == "the only one"


def test_an_event_of_streams_reaches_no_socket_of_realtime(
    start_realtime: StartServer, redis_server: RedisServer, superset: Superset7, prefix: str
) -> None:
    server = start_realtime()
    with streams_socket(server, "user:42") as streams, socket(server, "user:42", "1") as realtime:
        for channel in ("user:42", "user:42:1"):
            publish_in_streams(redis_server.client, prefix, channel, job_id="j")
        assert streams.recv()
        assert received(superset, realtime) == [[]]


def streams_socket(
    server: Server, channel: str
) -> contextlib.AbstractContextManager[ClientConnection]:
    return connect(server.url(), additional_headers={"Cookie": cookie_of_streams(channel)})
