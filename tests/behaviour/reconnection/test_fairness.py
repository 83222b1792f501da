# SPDX-License-Identifier: Apache-2.0
"""Nobody's catch-up is held up, or ended, by another's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from testbed.servers import RedisServer, Server, eventually
from testbed.superset import new_channel
from tests.behaviour.reconnection.tabs import (
    END,
    Superset,
    close_code,
    jobs,
    jobs_until_end,
    message,
    tab,
)

StartServer = Callable[..., Server]


def fill(superset: Superset, count: int) -> None:
    """Others' events, which a search in the global stream has to go through."""
    pipe = superset.client.pipeline(transaction=False)
    for number in range(count):
        pipe.xadd(superset.full, {"data": f'{{"channel_id":"other","job_id":"{number}"}}'})
    pipe.execute()


@pytest.fixture
def short_memory(start_server: StartServer, superset: Superset) -> Server:
    """A server to which nearly every place is old, beside a global stream with much in it."""
    fill(superset, 12_000)
    return start_server(environ={"HISTORY_BYTES": "200000"})


@pytest.fixture
def flood(short_memory: Server) -> Iterator[None]:
    """One cookie that comes back again and again with a place from 1970."""
    channel, done = new_channel(), threading.Event()

    def come_back() -> None:
        while not done.is_set():
            with tab(short_memory, channel, "1-1"):
                pass

    threads = [threading.Thread(target=come_back) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield
    done.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("flood")
def test_a_flood_of_one_cookies_catch_ups_does_not_keep_others_from_theirs(
    short_memory: Server, superset: Superset
) -> None:
    for _ in range(3):
        channel = new_channel()
        last_id, *_ = superset.says(channel, "got", "missed")
        with tab(short_memory, channel, last_id) as ws:
            assert jobs(ws, 1) == ["missed"]


@pytest.mark.usefixtures("flood")
def test_a_flood_of_one_cookies_catch_ups_raises_no_alarm(
    short_memory: Server, superset: Superset
) -> None:
    channel = new_channel()
    superset.says(channel, "before")
    with tab(short_memory, channel) as ws:
        assert jobs(ws, 1) == ["before"]
    assert "may be lost" not in short_memory.log_text()


def test_an_unreadable_key_is_its_own_clients_trouble(server: Server, superset: Superset) -> None:
    broken, whole = new_channel(), new_channel()
    last_id, *_ = superset.says(whole, "got", "missed", END)
    superset.client.set(superset.stream(broken), "no stream")
    with tab(server, broken, last_id) as victim, tab(server, whole, last_id) as other:
        assert close_code(victim) == 1011
        assert jobs_until_end(other) == ["missed"]
    line = next(line for line in server.log_text().splitlines() if "catch-up failed" in line)
    assert ("WRONGTYPE" in line, broken[:8] in line, broken in line) == (True, True, False)


def test_an_old_last_id_of_another_session_is_no_gap(
    start_server: StartServer, superset: Superset
) -> None:
    superset.says(new_channel(), "somebody else's")
    server, channel = start_server(environ={"LOG_LEVEL": "debug"}), new_channel()
    with tab(server, channel, "1700000000000-0") as ws:
        eventually(lambda: "is live" in server.log_text(), "the catch-up is over")
        superset.says(channel, END)
        assert jobs_until_end(ws) == []
    assert "may be lost" not in server.log_text()


def test_a_redis_that_lost_its_data_is_told_once_per_user(
    start_server: StartServer, redis_server: RedisServer, superset: Superset
) -> None:
    server, channel = start_server(), new_channel()
    (last_id,) = superset.says(channel, "got")
    superset.client.delete(superset.full, superset.stream(channel))
    for number in range(3):
        with tab(server, channel, last_id) as ws:
            superset.says(channel, f"{number}")
            while message(ws)["job_id"] != f"{number}":  # behind what is left from before
                pass
    assert server.log_text().count("may be lost") + server.log_text().count("newer than") <= 1
    assert redis_server.client.ping()


def test_without_the_permission_for_time_catch_ups_work(
    start_server: StartServer, superset: Superset
) -> None:
    channel = new_channel()
    superset.client.execute_command(
        *("ACL", "SETUSER", "timeless", "on", ">secret", "~*"),
        *("-@all", "+xread", "+xrange", "+xrevrange"),
    )
    server = start_server(environ={"REDIS_USERNAME": "timeless", "REDIS_PASSWORD": "secret"})
    last_id, *_ = superset.says(channel, "got", "missed")
    with tab(server, channel, last_id) as ws:
        assert jobs(ws, 1) == ["missed"]
    eventually(lambda: "this machine's clock is used" in server.log_text(), "it is said")
