# SPDX-License-Identifier: Apache-2.0
"""Coming back with a `last_id`: what is missed comes once and in order, whatever has happened."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import RedisServer, Server, eventually
from testbed.superset import cookie, event, new_channel, publish
from tests.behaviour.reconnection.tabs import (
    END,
    Superset,
    close_code,
    jobs,
    jobs_until_end,
    message,
    tab,
)
from wsgi_ws.sources.streams.replay import TWIN_GRACE_MS

StartServer = Callable[..., Server]
IMPATIENT = Path(__file__).with_name("impatient_conf.py")


def let_the_grace_pass() -> None:
    """An event without a second half is now known to be an orphan."""
    time.sleep(TWIN_GRACE_MS / 1000 + 0.1)


# --- what was missed -----------------------------------------------------------------------------


def test_missed_events_come_once_and_in_order_before_live_ones(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed 1", "missed 2", "missed 3")
    with tab(server, channel, last_id) as ws:
        assert message(ws)["job_id"] == "missed 1"  # so it is connected
        superset.says(channel, "live", END)
        assert jobs_until_end(ws) == ["missed 2", "missed 3", "live"]


def test_missed_events_have_the_ids_of_the_global_stream(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    last_id, *missed = superset.says(channel, "got", "missed 1", "missed 2")
    with tab(server, channel, last_id) as ws:
        assert [message(ws)["id"] for _ in missed] == missed


def test_missed_events_come_to_the_new_socket_only(server: Server, superset: Superset) -> None:
    channel = new_channel()
    with tab(server, channel) as other:
        (last_id,) = superset.says(channel, "got")
        superset.says(channel, "missed")
        assert jobs(other, 2) == ["got", "missed"]
        with tab(server, channel, last_id) as ws:
            assert jobs(ws, 1) == ["missed"]
        superset.says(channel, END)
        assert jobs_until_end(other) == []


@pytest.mark.parametrize("history_bytes", ["", "0"], ids=["with history", "without history"])
@pytest.mark.parametrize(
    "member",
    [
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b"9" * 5000, id="5,000 digits"),
        pytest.param(b"[" * 1500 + b"]" * 1500, id="1,500 levels"),
    ],
)
def test_an_event_that_is_skipped_live_is_skipped_in_a_catch_up(
    start_server: StartServer, superset: Superset, member: bytes, history_bytes: str
) -> None:
    server = start_server(environ={"HISTORY_BYTES": history_bytes})
    channel = new_channel()
    (last_id,) = superset.says(channel, "got")
    data = b'{"channel_id":"%b","job_id":"poison","status":%b}' % (channel.encode(), member)
    superset.says_raw(channel, data)
    superset.says(channel, "missed", END)
    with tab(server, channel, last_id) as ws:
        assert [job for job in jobs_until_end(ws) if job != "poison"] == ["missed"]
    assert "died" not in server.log_text()


def test_two_tabs_of_a_channel_miss_different_events(server: Server, superset: Superset) -> None:
    channel = new_channel()
    first, second, _ = superset.says(channel, "1", "2", "3")
    with tab(server, channel, first) as one, tab(server, channel, second) as other:
        assert (jobs(one, 2), jobs(other, 1)) == (["2", "3"], ["3"])


def test_nothing_comes_to_a_client_that_missed_nothing(server: Server, superset: Superset) -> None:
    channel = new_channel()
    *_, last_id = superset.says(channel, "1", "2", "3")
    with tab(server, channel, last_id) as ws:
        superset.says(channel, END)
        assert jobs_until_end(ws) == []


def test_a_malformed_last_id_is_ignored_with_a_warning(server: Server, superset: Superset) -> None:
    channel = new_channel()
    superset.says(channel, "before")
    with tab(server, channel, "nonsense") as ws:
        superset.says(channel, "after", END)
        assert jobs_until_end(ws)[-1:] == ["after"]
    assert "last_id 'nonsense' is ignored" in server.log_text()


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_the_id_of_a_catch_ups_message_is_a_good_last_id(
    server: Server, superset: Superset, stop_at: int
) -> None:
    channel = new_channel()
    last_id, *_ = superset.says(channel, "0", "1", "2", "3", END)
    with tab(server, channel, last_id) as ws:
        got = [message(ws) for _ in range(stop_at)]
    with tab(server, channel, got[-1]["id"]) as ws:
        assert [m["job_id"] for m in got] + jobs_until_end(ws) == ["1", "2", "3"]


# --- producers between their two XADDs -----------------------------------------------------------


def test_a_dead_producers_event_comes_by_catch_up_after_the_grace(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    (last_id,) = superset.says(channel, "got")
    superset.says_half(channel, "orphan")
    with tab(server, channel, last_id) as ws:
        assert jobs(ws, 1) == ["orphan"]


def test_a_dead_producers_event_has_its_place_among_the_others(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    (last_id,) = superset.says(channel, "got")
    superset.says(channel, "1")
    time.sleep(0.005)  # IDs are milliseconds
    superset.says_half(channel, "orphan")
    time.sleep(0.005)
    superset.says(channel, "2", END)
    let_the_grace_pass()
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["1", "orphan", "2"]


def test_the_id_of_a_dead_producers_event_is_a_good_last_id(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    (last_id,) = superset.says(channel, "got")
    time.sleep(0.005)
    superset.says_half(channel, "orphan")
    time.sleep(0.005)
    superset.says(channel, "1", END)
    let_the_grace_pass()
    with tab(server, channel, last_id) as ws:
        orphan = message(ws)
    with tab(server, channel, orphan["id"]) as ws:
        assert jobs_until_end(ws) == ["1"]


def test_an_event_whose_second_half_comes_during_the_catch_up_comes_once(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    (last_id,) = superset.says(channel, "got")
    half = superset.says_half(channel, "in flight")
    superset.says(channel, "overtaking")
    with tab(server, channel, last_id) as ws:
        assert jobs(ws, 1) == ["overtaking"]
        superset.says_the_rest(half)
        let_the_grace_pass()  # so that a second look has been taken
        superset.says(channel, END)
        assert jobs_until_end(ws) == ["in flight"]


def test_an_event_that_overtook_last_ids_own_first_half_is_not_lost(
    server: Server, superset: Superset
) -> None:
    """The two streams have the events in different orders."""
    channel = new_channel()
    early = superset.says_half(channel, "first half before, second half after last_id")
    (last_id,) = superset.says(channel, "got")
    superset.says_the_rest(early)
    superset.says(channel, END)
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["first half before, second half after last_id"]


def test_equal_ids_in_both_streams_may_mean_different_events(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    now = int(superset.client.time()[0]) * 1000
    one, two = (json.dumps(event(channel, job_id=job)) for job in ("one", "two"))
    for stream, data, entry_id in [
        (superset.stream(channel), one, f"{now}-0"),
        (superset.stream(channel), two, f"{now}-1"),
        (superset.full, two, f"{now}-0"),
        (superset.full, one, f"{now}-1"),
    ]:
        superset.client.xadd(stream, {"data": data}, id=entry_id)
    superset.says(channel, END)
    with tab(server, channel, f"{now}-0") as ws:
        assert jobs_until_end(ws) == ["one"]


# --- other servers, other workers ----------------------------------------------------------------


@pytest.mark.parametrize("history_bytes", ["", "0"], ids=["with history", "without history"])
def test_a_last_id_from_before_a_restart_is_good(
    start_server: StartServer, superset: Superset, history_bytes: str
) -> None:
    channel = new_channel()
    before = start_server()
    with tab(before, channel) as ws:
        superset.says(channel, "got")
        last_id = message(ws)["id"]
    before.stop()
    superset.says(channel, "missed 1", "missed 2", END)
    after = start_server(environ={"HISTORY_BYTES": history_bytes})
    with tab(after, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["missed 1", "missed 2"]


def test_a_last_id_is_good_at_every_worker(start_server: StartServer, superset: Superset) -> None:
    server = start_server(workers=2)
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed 1", "missed 2", END)
    for _ in range(12):  # the kernel deals connections out
        with tab(server, channel, last_id) as ws:
            assert jobs_until_end(ws) == ["missed 1", "missed 2"]


@pytest.mark.parametrize("history_bytes", ["", "3000", "0"], ids=["long", "short", "no history"])
def test_what_the_history_has_forgotten_comes_from_redis_in_the_global_order(
    start_server: StartServer, superset: Superset, history_bytes: str
) -> None:
    server = start_server(environ={"HISTORY_BYTES": history_bytes})
    mine, others = new_channel(), new_channel()
    (last_id,) = superset.says(mine, "got")
    expected = []
    for number in range(300):
        late = superset.says_half(mine, f"late {number}")
        superset.says(mine, f"{number}")
        superset.says(others, *("theirs" for _ in range(3)))
        superset.says_the_rest(late)
        expected += [f"{number}", f"late {number}"]
    superset.says(mine, END)
    with tab(server, mine, last_id) as ws:
        assert jobs_until_end(ws) == expected


# --- what Redis has lost -------------------------------------------------------------------------


class Statsd:
    """A StatsD server that remembers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.received = ""

    @property
    def environ(self) -> dict[str, str]:
        """What sends a server's metrics here."""
        return {"STATSD_PORT": str(self._socket.getsockname()[1])}

    def has(self, metric: str) -> bool:
        """Whether it has come by now."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.received += self._socket.recv(65536).decode() + "\n"
        return f"{metric}:" in self.received

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def statsd() -> Iterator[Statsd]:
    server = Statsd()
    yield server
    server.close()


def assert_gap_is_known(server: Server, statsd: Statsd) -> None:
    """It is logged and counted."""
    eventually(lambda: statsd.has("stream_gap"), f"the gap is counted; {statsd.received}")
    assert "may be lost" in server.log_text() or "newer than anything" in server.log_text()


def test_after_a_loss_of_nothing_no_gap_is_counted(
    start_server: StartServer, superset: Superset, statsd: Statsd
) -> None:
    server = start_server(environ=statsd.environ)
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed", END)
    with tab(server, channel, last_id) as ws:
        jobs_until_end(ws)
    eventually(lambda: statsd.has("ws_catch_up"), "the catch-up is counted")
    assert not statsd.has("stream_gap")


def test_a_channels_stream_trimmed_past_last_id(
    start_server: StartServer, superset: Superset, statsd: Statsd
) -> None:
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "1", "2", "3", END)
    superset.client.xtrim(superset.stream(channel), maxlen=2, approximate=False)
    server = start_server(environ=statsd.environ)
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["1", "2", "3"]  # the global stream has them all
    assert_gap_is_known(server, statsd)  # but an orphan would be gone


def test_a_global_stream_trimmed_past_last_id(
    start_server: StartServer, superset: Superset, statsd: Statsd
) -> None:
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "1", "2", "3", END)
    superset.client.xtrim(superset.full, maxlen=2, approximate=False)
    server = start_server(environ=statsd.environ)
    let_the_grace_pass()
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws)[-3:] == ["1", "2", "3"]  # the channel's stream has them all
    assert_gap_is_known(server, statsd)  # but it may not have what came just before last_id


def test_both_streams_trimmed_past_last_id(
    start_server: StartServer, superset: Superset, statsd: Statsd
) -> None:
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "lost", "2", "3", END)
    superset.client.xtrim(superset.stream(channel), maxlen=3, approximate=False)
    superset.client.xtrim(superset.full, maxlen=2, approximate=False)
    server = start_server(environ=statsd.environ)
    let_the_grace_pass()
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["2", "3"]
    assert_gap_is_known(server, statsd)


def test_an_id_from_the_future_gets_everything_there_is(
    start_server: StartServer, superset: Superset, statsd: Statsd
) -> None:
    channel = new_channel()
    server = start_server(environ=statsd.environ)
    superset.says(channel, "1", "2", END)
    with tab(server, channel, "999999999999999-0") as ws:
        assert jobs_until_end(ws) == ["1", "2"]
    assert_gap_is_known(server, statsd)


@pytest.mark.parametrize("restarted", [False, True], ids=["same server", "new server"])
def test_after_flushall_everything_there_is_comes(
    start_server: StartServer, own_redis: RedisServer, prefix: str, statsd: Statsd, restarted: bool
) -> None:
    superset = Superset(own_redis.client, prefix)
    options = {"redis_port": own_redis.port, "environ": statsd.environ}
    server = start_server(**options)
    channel = new_channel()
    with tab(server, channel) as ws:
        superset.says(channel, "got")
        last_id = message(ws)["id"]
    own_redis.client.flushall()
    time.sleep(0.005)  # so that no ID is given twice
    superset.says(channel, "1", "2", END)
    let_the_grace_pass()
    if restarted:
        server.stop()
        server = start_server(**options)
    with tab(server, channel, last_id) as ws:
        assert jobs_until_end(ws) == ["1", "2"]
    assert_gap_is_known(server, statsd)


# --- Redis fails ---------------------------------------------------------------------------------


def test_a_catch_up_goes_on_when_redis_does(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    superset = Superset(own_redis.client, prefix)
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed")
    own_redis.process.send_signal(signal.SIGSTOP)
    with tab(server, channel, last_id) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(timeout=1.5)
        own_redis.process.send_signal(signal.SIGCONT)
        assert jobs(ws, 1) == ["missed"]
        superset.says(channel, END)
        assert jobs_until_end(ws) == []


def test_a_catch_up_goes_on_when_redis_has_been_restarted(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    superset = Superset(own_redis.client, prefix)
    server = start_server(redis_port=own_redis.port)
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed")
    own_redis.stop()
    with tab(server, channel, last_id) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(timeout=1.0)
        own_redis.start()
        assert jobs(ws, 1) == ["missed"]
        superset.says(channel, END)
        assert jobs_until_end(ws) == []


def test_when_redis_stays_away_the_client_is_sent_away_too(
    start_server: StartServer, own_redis: RedisServer, prefix: str
) -> None:
    superset = Superset(own_redis.client, prefix)
    server = start_server(redis_port=own_redis.port, arguments=["-c", str(IMPATIENT)])
    channel = new_channel()
    last_id, *_ = superset.says(channel, "got", "missed")
    own_redis.stop()
    with tab(server, channel, last_id) as ws:
        assert close_code(ws) in (1011, 1012)
    own_redis.start()
    eventually(lambda: server.log_text().count("following stream") == 2, "Redis is read again")
    with tab(server, channel, last_id) as ws:
        assert jobs(ws, 1) == ["missed"]


# --- bounds --------------------------------------------------------------------------------------


def big_catch_up(superset: Superset, channel: str, count: int) -> str:
    """Miss `count` events of 20 KB each; returns the last_id."""
    (last_id,) = superset.says(channel, "got")
    for number in range(count):
        publish(
            superset.client,
            superset.full.removesuffix("full"),
            channel,
            job_id=str(number),
            errors=["x" * 20_000],
        )
    return last_id


def test_a_client_that_begins_to_read_late_gets_its_whole_catch_up_on_one_connection(
    start_server: StartServer, superset: Superset
) -> None:
    channel, count = new_channel(), 900
    last_id = big_catch_up(superset, channel, count)
    server = start_server(environ={"MAX_SOCKET_BUFFER_BYTES": "1000000"})
    with stalled(server, channel, last_id) as ws:
        superset.says(channel, END)
        assert jobs_until_end(ws) == [str(number) for number in range(count)]


@contextlib.contextmanager
def stalled(server: Server, channel: str, last_id: str | None) -> Iterator[ClientConnection]:
    """A tab with a small receive buffer that begins to read when the server can't send more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.connect(("127.0.0.1", server.port))
    with connect(
        server.url(f"/?last_id={last_id}"),
        sock=sock,
        additional_headers={"Cookie": cookie(channel)},
        max_queue=1,
        compression=None,
    ) as ws:
        time.sleep(0.3)
        yield ws


def test_a_bound_smaller_than_a_catch_up_does_not_keep_a_reading_client_from_it(
    start_server: StartServer, superset: Superset
) -> None:
    channel, count = new_channel(), 20
    last_id = big_catch_up(superset, channel, count)
    server = start_server(environ={"MAX_SOCKET_BUFFER_BYTES": "30000"})
    with tab(server, channel, last_id) as ws:
        assert jobs(ws, count) == [str(number) for number in range(count)]
