# SPDX-License-Identifier: Apache-2.0
"""Redis goes away in every way it does: sockets stay open, nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from testbed.busy import busy
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel, publish
from testbed.tcp_proxy import TcpProxy
from wsgi_ws.command import command
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS

StartServer = Callable[..., Server]
QUICK = {"REDIS_STREAM_READ_BLOCK_MS": "200"}
DOWN = "Redis can't be read for streams"
UP = "following stream"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that the test may hurt; it keeps its data over a restart."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """The network between the server and Redis."""
    proxy = TcpProxy(redis_server.port)
    yield proxy
    proxy.close()


def open_tab(server: Server, channel: str) -> ClientConnection:
    return connect(server.url(), additional_headers={"Cookie": cookie(channel)}, max_queue=None)


def next_jobs(client: ClientConnection, count: int) -> list[str]:
    return [json.loads(client.recv(timeout=DEADLINE))["job_id"] for _ in range(count)]


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


def status(server: Server, path: str) -> int:
    try:
        with urllib.request.urlopen(server.http(path), timeout=DEADLINE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def await_log(server: Server, text: str, count: int = 1) -> None:
    eventually(lambda: server.log_text().count(text) >= count, f"{count} x {text!r} in the log")


def test_a_restart_of_redis_costs_nobody_an_event(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        for number in range(3):
            publish(own_redis.client, prefix, channel, job_id=str(number))
        own_redis.stop()
        await_log(server, DOWN)
        own_redis.start()
        for number in range(3, 6):  # before the server has come back, most likely
            publish(own_redis.client, prefix, channel, job_id=str(number))
        assert next_jobs(client, 6) == numbers(0, 6)
        await_log(server, UP, 2)
    assert server.log_text().count(DOWN) == 1


def test_a_network_cut_costs_nobody_an_event(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    server = start_server(redis_port=proxy.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        for cut in range(3):
            proxy.cut()
            await_log(server, DOWN, cut + 1)
            for number in range(10):
                publish(redis_server.client, prefix, channel, job_id=str(10 * cut + number))
            proxy.restore()
            assert next_jobs(client, 10) == numbers(10 * cut, 10 * cut + 10)


@pytest.mark.parametrize("history_bytes", ["33554432", "0"])
@pytest.mark.parametrize("before", [0, 3])
def test_sockets_that_waited_for_redis_from_the_start_get_what_came_since(
    start_server: StartServer,
    redis_server: RedisServer,
    proxy: TcpProxy,
    prefix: str,
    before: int,
    history_bytes: str,
) -> None:
    channel = new_channel()
    for number in range(before):
        publish(redis_server.client, prefix, channel, job_id=f"old {number}")
    time.sleep(0.05)  # the server's start is later, to Redis's clock too
    proxy.cut()
    server = start_server(
        redis_port=proxy.port,
        environ={"HISTORY_BYTES": history_bytes, "FIRST_CATCH_UP_MS": "0"},
        wait=False,
    )
    await_log(server, "sockets are accepted and held")
    with open_tab(server, channel) as client:
        for number in range(3):
            publish(redis_server.client, prefix, channel, job_id=str(number))
        proxy.restore()
        assert next_jobs(client, 3) == numbers(0, 3)
        await_log(server, UP)
        publish(redis_server.client, prefix, channel, job_id="3")
        assert next_jobs(client, 1) == ["3"]


def test_a_half_open_connection_is_noticed(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    server = start_server(redis_port=proxy.port, environ=QUICK)
    channel = new_channel()
    with open_tab(server, channel) as client:
        proxy.freeze()
        publish(redis_server.client, prefix, channel, job_id="0")
        await_log(server, DOWN)
        proxy.restore()
        assert next_jobs(client, 1) == ["0"]


def test_a_killed_connection_costs_nobody_an_event(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server()
    channel = new_channel()
    with open_tab(server, channel) as client:
        for number in range(100):
            publish(redis_server.client, prefix, channel, job_id=str(number))
            if number % 20 == 10:
                redis_server.client.execute_command(
                    "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"
                )
        assert next_jobs(client, 100) == numbers(0, 100)


def test_a_redis_that_hangs_is_left_and_found_again(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port, environ=QUICK)
    channel = new_channel()
    with open_tab(server, channel) as client:
        own_redis.process.send_signal(signal.SIGSTOP)
        await_log(server, DOWN)
        own_redis.process.send_signal(signal.SIGCONT)
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]


def test_a_rotated_password_stops_the_reading_until_it_is_right_again(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        own_redis.client.config_set("requirepass", "another")
        own_redis.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await_log(server, DOWN)
        own_redis.client.config_set("requirepass", "")
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
    assert "another" not in server.log_text()


def test_a_redis_that_is_still_loading_is_waited_for(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        with own_redis.client.pipeline(transaction=False) as pipeline:
            for number in range(8000):
                pipeline.set(f"key {number}", "x")
            pipeline.execute()
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
        own_redis.stop()
        own_redis.start("--key-load-delay", "300", wait=False)
        await_log(server, "be read for streams (Redis is loading the dataset in memory")
        assert status(server, "/ready") == 503
        await_log(server, UP, 2)
        publish(own_redis.client, prefix, channel, job_id="1")
        assert next_jobs(client, 1) == ["1"]
    assert server.log_text().count("for streams (Redis is loading") == 1


@pytest.mark.parametrize("starts", [False, True], ids=["connected before", "connects meanwhile"])
def test_a_redis_that_a_script_holds_up_is_waited_for(
    start_server: StartServer, own_redis: RedisServer, prefix: str, starts: bool
) -> None:
    channel = new_channel()
    publish(own_redis.client, prefix, channel, job_id="0")
    if not starts:
        server = start_server(redis_port=own_redis.port, environ=QUICK)
    with busy(own_redis):
        if starts:
            server = start_server(redis_port=own_redis.port, environ=QUICK, wait=False)
        await_log(server, "be read for streams (BUSY Redis is busy running a script")
        assert status(server, "/ready") == 503
        assert "machine's clock" not in server.log_text()
    await_log(server, UP, 1 if starts else 2)
    with open_tab(server, channel) as client:
        assert next_jobs(client, 1) == ["0"]
        publish(own_redis.client, prefix, channel, job_id="1")
        assert next_jobs(client, 1) == ["1"]
    assert server.log_text().count("for streams (BUSY") == 1


def test_a_redis_out_of_memory_is_still_read(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(own_redis.client, prefix, channel, job_id="0")
        own_redis.client.config_set("maxmemory", "1")
        assert next_jobs(client, 1) == ["0"]
        own_redis.client.config_set("maxmemory", "0")
        publish(own_redis.client, prefix, channel, job_id="1")
        assert next_jobs(client, 1) == ["1"]
    assert DOWN not in server.log_text()


@pytest.mark.parametrize("how", ["FLUSHALL", "DEL"])
def test_a_stream_that_was_deleted_is_followed_anew(
    start_server: StartServer, own_redis: RedisServer, prefix: str, how: str
) -> None:
    server = start_server(redis_port=own_redis.port, environ=QUICK)
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
        own_redis.client.execute_command(*([how] if how == "FLUSHALL" else [how, prefix + "full"]))
        publish(own_redis.client, prefix, channel, job_id="1")
        assert next_jobs(client, 1) == ["1"]


def test_a_flushed_redis_is_not_taken_for_a_trimmed_stream(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
        own_redis.client.flushall()
        publish(own_redis.client, prefix, channel, job_id="1")
        assert next_jobs(client, 1) == ["1"]
        await_log(server, "it was flushed, or Redis restarted without its data, or it was trimmed")


def test_ids_that_go_backwards_are_noticed(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    server = start_server(redis_port=own_redis.port, environ=QUICK)
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(own_redis.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
        own_redis.client.delete(prefix + "full")
        for number in range(1, 4):  # as a restored or other server's clock would have it
            data = json.dumps(event(channel, job_id=str(number)))
            own_redis.client.xadd(prefix + "full", {"data": data}, id=f"{number}-0")
        await_log(server, "flushed or restored?")
        data = json.dumps(event(channel, job_id="4"))
        own_redis.client.xadd(prefix + "full", {"data": data}, id="4-0")
        assert "4" in next_jobs(client, 1) or next_jobs(client, 3)[-1] == "4"


def test_what_was_trimmed_during_an_outage_comes_from_the_channel_s_stream(
    start_server: StartServer, redis_server: RedisServer, proxy: TcpProxy, prefix: str
) -> None:
    server = start_server(redis_port=proxy.port)
    channel = new_channel()
    with open_tab(server, channel) as client:
        publish(redis_server.client, prefix, channel, job_id="0")
        assert next_jobs(client, 1) == ["0"]
        proxy.cut()
        await_log(server, DOWN)
        for number in range(1, 30):
            publish(redis_server.client, prefix, channel, job_id=str(number))
        redis_server.client.xtrim(prefix + "full", maxlen=5, approximate=False)
        eventually(lambda: _age_of_newest_ms(redis_server, prefix) > TWIN_GRACE_MS, "they age")
        proxy.restore()
        # The trimmed twin of the event that it has already may look like one that never was.
        received = next_jobs(client, 29)
        repeated = received[0] == "0"
        assert received[repeated:] + next_jobs(client, repeated) == numbers(1, 30)
        publish(redis_server.client, prefix, channel, job_id="30")
        assert next_jobs(client, 1) == ["30"]
    assert "begins after the last ID read" in server.log_text()


def _age_of_newest_ms(redis_server: RedisServer, prefix: str) -> int:
    client: Any = redis_server.client
    (newest, _), *_ = client.xrevrange(prefix + "full", count=1)
    seconds, microseconds = client.time()
    return int(seconds * 1000 + microseconds // 1000 - int(newest.split(b"-")[0]))


def test_waiting_for_redis_costs_next_to_nothing(
    start_server: StartServer, proxy: TcpProxy
) -> None:
    server = start_server(redis_port=proxy.port)
    proxy.cut()
    await_log(server, DOWN)
    worker = psutil.Process(server.pids()[0])
    before, begin = sum(worker.cpu_times()[:2]), time.monotonic()
    while time.monotonic() - begin < 4:
        time.sleep(0.1)
    # Under 1 % is the aim; ten times that would still be no busy loop, whatever the machine.
    assert (sum(worker.cpu_times()[:2]) - before) / (time.monotonic() - begin) < 0.1


# --- readiness -----------------------------------------------------------------------------------


def test_it_is_ready_only_while_redis_can_be_read(
    start_server: StartServer, proxy: TcpProxy
) -> None:
    server = start_server(redis_port=proxy.port)
    eventually(lambda: status(server, "/ready") == 200, "it is ready")
    proxy.cut()
    eventually(lambda: status(server, "/ready") == 503, "it is not ready any more")
    assert status(server, "/health") == 200
    proxy.restore()
    eventually(lambda: status(server, "/ready") == 200, "it is ready again")


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        (
            {"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": "none-of-its"},
            "invalid username-password pair",
        ),
        ({"REDIS_DB": "99"}, "DB index is out of range"),
    ],
    ids=["password", "database"],
)
def test_a_wrong_setting_of_redis_is_told_with_the_address_and_who_names_it(
    start_server: StartServer, redis_server: RedisServer, environ: dict[str, str], cause: str
) -> None:
    server = start_server(environ=environ, wait=False)
    address = f"redis://127.0.0.1:{redis_server.port}/{environ.get('REDIS_DB', 0)}"
    await_log(server, DOWN)
    (line,) = (line for line in server.log_text().splitlines() if DOWN in line)
    assert cause in line
    assert f"Redis is {address}: {command()} check names the setting" in line
    eventually(server.is_ready, "it answers")
    assert f"Redis at {address} can't be read: {cause}" in not_ready_because(server)
    assert "none-of-its" not in server.log_text() + not_ready_because(server)


def not_ready_because(server: Server) -> str:
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(server.http("/ready"), timeout=DEADLINE)
    assert answer.value.code == 503
    return answer.value.read().decode()


def test_new_sockets_are_refused_during_an_outage_when_so_configured(
    start_server: StartServer, proxy: TcpProxy
) -> None:
    server = start_server(redis_port=proxy.port, environ={"REDIS_DOWN_POLICY": "refuse"})
    proxy.cut()
    await_log(server, DOWN)
    with pytest.raises(InvalidStatus) as refused:
        open_tab(server, "c")
    assert refused.value.response.status_code == 503
    proxy.restore()

    def admitted() -> Any:
        try:
            with open_tab(server, "c") as client:
                return client.ping().wait(DEADLINE)
        except InvalidStatus:
            return False

    eventually(admitted, "it is admitted again")
