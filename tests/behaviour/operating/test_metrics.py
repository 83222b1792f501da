# SPDX-License-Identifier: Apache-2.0
"""What Prometheus scrapes: one text for all workers, right while they come and go."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection, connect

from testbed.http_client import ask, metrics, upgrade
from testbed.ports import free_port
from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from wsgi_ws.superset import realtime
from wsgi_ws.transport import Transport

StartServer = Callable[..., Server]
OBSERVED = Path(__file__).with_name("observed_conf.py")
Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(server: Server) -> Scrape:
    """Name and labels → value, by Prometheus's own parser."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics(server))
        for sample in family.samples
    }


def value(server: Server, name: str, **labels: str) -> float:
    """As PromQL's `sum(name{labels})`."""
    found = [
        number
        for (sample, all_labels), number in scrape(server).items()
        if sample == "wsgi_ws_" + name and labels.items() <= dict(all_labels).items()
    ]
    assert found, f"there is no {name} with {labels}"
    return sum(found)


@pytest.fixture
def start_observed(start_server: StartServer) -> StartServer:
    """Start servers that report several times a second, at a port of their own."""

    def start(**options: Any) -> Server:
        options["environ"] = {"METRICS_PORT": str(free_port())} | options.get("environ", {})
        return start_server(arguments=["-c", str(OBSERVED)], **options)

    return start


@pytest.fixture
def pair(start_observed: StartServer) -> Server:
    """A server with two workers."""
    server = start_observed(workers=2)
    eventually(lambda: value(server, "workers_ready") == 2, "both workers report")
    return server


@contextlib.contextmanager
def tabs(server: Server, *channels: str, query: str = "") -> Iterator[list[ClientConnection]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                connect(server.url("/" + query), additional_headers={"Cookie": cookie(channel)})
            )
            for channel in channels
        ]


def test_sockets_of_all_workers_are_added_up(pair: Server) -> None:
    with tabs(pair, *"abcdefghijkl"):
        eventually(lambda: value(pair, "connections") == 12, "all sockets are counted")
        assert value(pair, "channels") == 12
        assert value(pair, "handshakes_admitted_total") == 12  # counted by the same report
    eventually(lambda: value(pair, "connections") == 0, "they are gone")
    closed = value(pair, "connections_closed_total", by="client", code="1000")
    assert closed == 12


def test_sockets_are_told_apart_by_transport(pair: Server) -> None:
    with tabs(pair, *"abc"):
        eventually(lambda: value(pair, "connections", transport="streams") == 3, "they count")
        assert value(pair, "connections", transport="realtime") == 0
        assert value(pair, "handshakes_admitted_total", transport="realtime") == 0


@pytest.mark.parametrize("transport", Transport)
def test_each_transport_is_ready_in_each_worker(pair: Server, transport: Transport) -> None:
    eventually(lambda: value(pair, "transport_ready", transport=transport.value) == 2, "both are")


def test_a_transport_that_is_not_configured_has_no_series(start_observed: StartServer) -> None:
    server = start_observed(environ={"TRANSPORTS": "streams"})
    eventually(lambda: value(server, "workers_ready") == 1, "it reports")
    assert 'transport="realtime"' not in metrics(server)


def test_messages_of_realtime_are_counted_although_nobody_is_here(
    start_observed: StartServer, redis_server: RedisServer
) -> None:
    """Each test has the Redis of others: so a prefix of its own."""
    prefix = new_channel()
    server = start_observed(workers=2, environ={"REALTIME_CHANNEL_PREFIX": prefix})
    eventually(lambda: value(server, "transport_ready", transport="realtime") == 2, "both are")
    realtime.publish(
        *(redis_server.client, prefix, "entity.changed", "authenticated_global"),
        {"entity_type": "task", "id": 1},
    )
    eventually(lambda: value(server, "events_read_total", transport="realtime") == 2, "by each")
    assert value(server, "events_unmatched_total", transport="realtime") == 2


def test_a_silence_of_realtime_grows_until_a_message_comes(
    start_observed: StartServer, redis_server: RedisServer
) -> None:
    prefix = new_channel()
    server = start_observed(environ={"REALTIME_CHANNEL_PREFIX": prefix})
    eventually(lambda: value(server, "realtime_silence_seconds") > 2, "nothing has come")

    def ended() -> bool:
        realtime.publish(redis_server.client, prefix, "some.day", "authenticated_global", {})
        return value(server, "realtime_silence_seconds") < 1

    eventually(ended, "something has come")


def test_any_worker_tells_of_all(pair: Server) -> None:
    with tabs(pair, "a"):
        eventually(lambda: value(pair, "connections") == 1, "the socket is counted")
        assert {value(pair, "connections") for _ in range(20)} == {1}


def test_events_are_counted(pair: Server, redis_server: RedisServer, prefix: str) -> None:
    channel = new_channel()
    with tabs(pair, channel, channel) as both:
        for number in range(5):
            publish(redis_server.client, prefix, channel, job_id=f"{number}")
        publish(redis_server.client, prefix, new_channel())
        redis_server.client.xadd(prefix + "full", {"data": "no JSON"})
        for socket in both:
            for _ in range(5):
                socket.recv(timeout=DEADLINE)
        eventually(lambda: value(pair, "events_read_total") == 2 * 6, "each worker reads all")
        eventually(lambda: value(pair, "events_malformed_total") == 2, "by each worker")
        assert value(pair, "events_delivered_total") == 10
        matched = value(pair, "delivery_latency_seconds_count")
        assert value(pair, "events_unmatched_total") == 12 - matched
        assert matched in (5, 10)  # the two sockets are at one worker or at both
        assert 0 < value(pair, "delivery_latency_seconds_sum") < matched * DEADLINE


def test_catch_ups_are_measured(pair: Server, redis_server: RedisServer, prefix: str) -> None:
    channel = new_channel()
    first, _ = publish(redis_server.client, prefix, channel)
    for _ in range(3):
        publish(redis_server.client, prefix, channel)
    with tabs(pair, channel, query=f"?last_id={first}") as (socket,):
        for _ in range(3):
            socket.recv(timeout=DEADLINE)
        eventually(lambda: value(pair, "catch_up_events_count") == 1, "it is counted")
    assert value(pair, "catch_up_events_sum") == 3
    assert value(pair, "catch_up_events_bucket", le="1.0") == 0
    assert value(pair, "catch_up_duration_seconds_count") == 1
    assert value(pair, "stream_gaps_total") == 0


def test_of_a_worker_that_died_the_sockets_go_and_the_counts_stay(pair: Server) -> None:
    with tabs(pair, *"abcdefghijkl"):
        eventually(lambda: value(pair, "connections") == 12, "all sockets are counted")
        for pid in pair.pids():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: pair.log_text().count("following stream") == 4, "two new workers")
        eventually(lambda: value(pair, "workers") == 2, "both report")
    assert value(pair, "connections") == 0
    assert value(pair, "handshakes_admitted_total") == 12


def test_the_event_loops_delay_is_measured(pair: Server) -> None:
    eventually(lambda: value(pair, "loop_delay_seconds_count") > 5, "it is measured")
    assert value(pair, "loop_delay_seconds_sum") > 0


def test_an_outage_of_redis_shows(start_observed: StartServer, tmp_path: Path) -> None:
    redis_server = RedisServer(tmp_path)
    with contextlib.closing(redis_server):
        server = start_observed(redis_port=redis_server.port)
        eventually(lambda: value(server, "workers_ready") == 1, "it is ready")
        redis_server.stop()
        eventually(lambda: value(server, "workers_ready") == 0, "it is not ready")
        redis_server.start()
        eventually(
            lambda: value(server, "redis_reconnects_total", transport="streams") == 1, "it is back"
        )
        eventually(lambda: value(server, "reader_lag_seconds") == 0, "nothing is left to read")


def test_a_transport_that_redis_forbids_is_not_ready_and_keeps_no_worker_from_it(
    start_observed: StartServer, tmp_path: Path
) -> None:
    redis_server = RedisServer(tmp_path)
    with contextlib.closing(redis_server):
        redis_server.client.execute_command(
            *("ACL", "SETUSER", "ws", "on", ">pw", "~*", "+@all", "resetchannels")
        )
        user = {"REDIS_USERNAME": "ws", "REDIS_PASSWORD": "pw"}
        server = start_observed(redis_port=redis_server.port, environ=user)
        eventually(lambda: value(server, "workers_ready") == 1, "the streams are enough")
        assert value(server, "transport_ready", transport="realtime") == 0
        assert value(server, "reader_lag_seconds") == 0


def test_a_slow_client_shows(
    start_observed: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_observed(environ={"MAX_SOCKET_BUFFER_BYTES": "10000000"})
    channel = new_channel()

    def publish_until(condition: Callable[[], bool], what: str) -> None:
        def published() -> bool:
            publish(redis_server.client, prefix, channel, errors=["x" * 300_000])
            return condition()

        eventually(published, what)

    with tabs(server, channel):  # whose library reads ahead only so far
        publish_until(lambda: value(server, "backlog_bytes") > 0, "the kernel's buffers are full")
        publish_until(lambda: value(server, "slow_disconnects_total") == 1, "it is cut")
        eventually(lambda: value(server, "backlog_bytes") == 0, "and nothing is kept for it")


# --- who may see them ----------------------------------------------------------------------------


def test_a_port_of_its_own_serves_them_and_no_sockets(start_observed: StartServer) -> None:
    server = start_observed(workers=2)
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"X-Forwarded-For": "1.2.3.4", "Host": "a"})
        response = connection.getresponse()
        assert response.read()
        assert response.status == 200
        connection.request("GET", "/", headers=upgrade())
        assert connection.getresponse().status == 404


def test_a_port_that_is_taken_stops_the_start_with_one_line(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    server = start_server(environ={"METRICS_PORT": str(redis_server.port)}, wait=False)
    assert server.process.wait(DEADLINE) == 1
    (line,) = [line for line in server.log_text().splitlines() if "ERROR" in line]
    assert f"metricsPort {redis_server.port} can't be listened at" in line


def test_a_master_that_replaces_another_takes_over_their_port(
    start_observed: StartServer,
) -> None:
    server = start_observed()
    workers = server.pids()
    server.process.send_signal(signal.SIGUSR2)
    (pid,) = eventually(lambda: set(server.pids()) - set(workers), "a second master starts")
    successor = psutil.Process(pid)
    try:
        eventually(lambda: server.log_text().count("following stream") == 2, "it serves")
        assert server.terminate() == 0
        assert value(server, "handshakes_admitted_total") == 0
    finally:
        successor.terminate()
        successor.wait(DEADLINE)


def test_at_the_main_port_there_are_none(start_observed: StartServer) -> None:
    """Whoever asks there may be a proxy that passes on a request of anybody's."""
    server = start_observed()
    assert ask(server, path="/metrics", headers={"Host": "localhost"})[0] == 404
    eventually(lambda: "/metrics is not at this port" in server.log_text(), "the key is named")


# --- the directory -------------------------------------------------------------------------------


def test_nothing_is_left_of_the_directory(start_observed: StartServer, tmp_path: Path) -> None:
    place = tmp_path / "metrics"
    place.mkdir()
    (place / "counter_1.db").write_bytes(b"Superset's")
    server = start_observed(environ={"PROMETHEUS_MULTIPROC_DIR": str(place)}, workers=2)
    (own,) = place.glob("*/")
    eventually(lambda: len(list(own.glob("worker-*.json"))) == 2, "both workers report")
    assert value(server, "handshakes_admitted_total") == 0
    assert server.terminate() == 0
    assert [path.name for path in place.iterdir()] == ["counter_1.db"]


def test_supersets_variable_may_point_nowhere(start_observed: StartServer) -> None:
    server = start_observed(environ={"PROMETHEUS_MULTIPROC_DIR": "/not/in/this/container"})
    assert value(server, "handshakes_admitted_total") == 0
    assert server.log_text().count("/not/in/this/container") == 1


@pytest.fixture
def observed(start_observed: StartServer, tmp_path: Path) -> tuple[Server, Path]:
    """A server with two workers, and the directory of its metrics."""
    place = tmp_path / "metrics"
    place.mkdir()
    server = start_observed(workers=2, environ={"PROMETHEUS_MULTIPROC_DIR": str(place)})
    eventually(lambda: value(server, "workers") == 2, "both workers report")
    (own,) = place.glob("*/")
    return server, own


def reload(server: Server) -> None:
    """Replace the workers."""
    before = set(server.pids())
    server.process.send_signal(signal.SIGHUP)
    eventually(
        lambda: len(pids := set(server.pids())) == 2 and not pids & before, "the workers are new"
    )


def test_a_directory_that_is_removed_takes_no_worker_with_it(observed: tuple[Server, Path]) -> None:
    server, own = observed
    shutil.rmtree(own.parent)  # so that it can't be made again either
    reload(server)
    with tabs(server, "a"):
        assert scrape(server)
    assert "Traceback" not in server.log_text()


def test_ended_workers_leave_one_file_and_their_counts(observed: tuple[Server, Path]) -> None:
    server, own = observed
    with tabs(server, *"abcde"):
        eventually(lambda: value(server, "handshakes_admitted_total") == 5, "all are counted")
    for _ in range(3):
        reload(server)
        eventually(lambda: value(server, "workers") == 2, "both report")
        assert value(server, "handshakes_admitted_total") == 5
    ended = [path.name for path in own.glob("*.json") if not path.name.startswith("worker-")]
    assert ended == ["sum.json"]


def test_a_damaged_file_costs_no_scrape(observed: tuple[Server, Path]) -> None:
    server, own = observed
    (own / "worker-0.json").write_text("")
    for _ in range(5):
        assert value(server, "workers") == 2
    assert server.log_text().count("worker-0.json is damaged") <= 2  # once for each worker
