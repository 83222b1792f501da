# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: who waits for whom, and what happens when Redis fails. The model has what is sent."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import Mock

import pytest
import redis

from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.hub import Hub
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams import catchup, waiting
from wsgi_ws.sources.streams.archive import Archive, Part, Snapshot
from wsgi_ws.sources.streams.catchup import CatchUp
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge, Place
from wsgi_ws.websocket.closing import State

FLOOR = StreamId(1000, 0)  # what the history of these tests reaches back to
RECENT, OLD = StreamId(1001, 0), StreamId(1, 1)
NOW_MS = 10**7


def begin(history: History) -> None:
    """Let it have nothing, from `FLOOR` to `RECENT`."""
    history.start_at(FLOOR)
    history.append((), bytes(RECENT))


class FakeArchive:
    """Answers from a script, and notes which places were asked for."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.batches: list[list[str]] = []
        self.errors: deque[Exception] = deque()  # of the next snapshots
        self.parts: dict[str, Any] = {}  # by channel
        self.defect: Exception | None = None
        self.gap = False
        self.clients_at_once = 1000

    def snapshot(self, clients: Sequence[tuple[str, Place]]) -> Snapshot:
        self.batches.append([channel for channel, _ in clients])
        if self.errors:
            raise self.errors.popleft()
        return Snapshot(self.history.generation, NOW_MS, deque(), 0, self.history.position)

    def next_part(
        self, channel: str, place: Place, snapshot: Snapshot, *, is_whole: bool = False
    ) -> Part:
        part = self.parts.get(channel, Part(()))
        if isinstance(part, Exception):
            raise part
        return cast(Part, part)

    def knowledge(self, channel: str, place: Place, part: Part, snapshot: Snapshot) -> Knowledge:
        if self.defect:
            raise self.defect
        return Knowledge((), continuous=not self.gap)


class Scene:
    """A catch-up whose archive is scripted."""

    def __init__(self) -> None:
        self.history = History(10**6)
        begin(self.history)
        self.archive = FakeArchive(self.history)
        self.hub = Hub()
        self.metrics = Mock()
        self.catch_up = CatchUp(
            cast(Archive, self.archive),
            self.history,
            hub=self.hub,
            metrics=self.metrics,
            max_backlog_bytes=0,
        )

    def socket(self, channel: str = "c") -> Any:
        """A connection that the hub knows."""
        socket: Any = Socket(channel)
        self.hub.add(socket)
        return socket

    def returns(self, channel: str = "c", last_id: StreamId = RECENT) -> Any:
        socket = self.socket(channel)
        self.catch_up.enqueue(socket, last_id)
        return socket

    def serve(self, *, waited: float = 0.0) -> None:
        """One batch, whose clients have waited so many seconds already."""
        requests = self.catch_up.next_requests()
        for request in requests:
            request.waits_since -= waited
        self.catch_up.serve(requests)

    def is_live(self, socket: Any) -> bool:
        return self.hub.is_subscribed(socket, socket.channel)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(catchup, "RETRY_DELAY", 0.001)
    return Scene()


# --- turns ---------------------------------------------------------------------------------------


def test_clients_of_several_channels_share_a_round_trip(scene: Scene) -> None:
    sockets = [scene.returns(channel) for channel in "abc"]
    scene.serve()
    assert scene.archive.batches == [["a", "b", "c"]]
    assert all(map(scene.is_live, sockets))


def test_one_client_of_a_channel_is_served_at_a_time(scene: Scene) -> None:
    for channel in "aaab":
        scene.returns(channel)
    scene.serve()
    scene.serve()
    assert scene.archive.batches == [["a", "b"], ["a"]]


def test_those_whose_place_is_remembered_do_not_wait_for_many_searches(scene: Scene) -> None:
    for number in range(10 * catchup.SEARCH_BATCH):
        scene.returns(f"old {number}", OLD)
    recent = scene.returns("recent", RECENT)
    scene.serve()
    assert scene.is_live(recent)
    assert len(scene.archive.batches[0]) == 1 + catchup.SEARCH_BATCH


def test_redis_is_asked_for_no_more_clients_than_is_good_at_once(scene: Scene) -> None:
    scene.archive.clients_at_once = 2
    for channel in "abc":
        scene.returns(channel)
    scene.serve()
    assert scene.archive.batches == [["a", "b"]]


def test_who_has_waited_too_long_for_its_turn_is_told_to_come_back(scene: Scene) -> None:
    one = scene.returns()
    (request,) = scene.catch_up._recent.take(1)
    request.waits_since -= catchup.PATIENCE
    scene.catch_up._put(request)
    scene.serve()
    assert (one.closed_with, scene.archive.batches) == (1013, [])


def test_nothing_is_read_for_a_client_that_has_gone(scene: Scene) -> None:
    scene.returns().state = State.ENDED
    scene.serve()
    assert scene.archive.batches == []


# --- Redis fails ---------------------------------------------------------------------------------


def test_a_client_waits_while_redis_fails(scene: Scene) -> None:
    one = scene.returns()
    scene.archive.errors.extend([redis.ConnectionError("gone"), OSError("gone")])
    scene.serve()
    assert scene.is_live(one)


def test_a_client_that_has_waited_too_long_for_redis_is_told_to_come_back(scene: Scene) -> None:
    one = scene.returns()
    scene.archive.errors.append(redis.ConnectionError("gone"))
    scene.serve(waited=catchup.PATIENCE)
    assert (one.closed_with, len(scene.archive.batches)) == (1012, 1)


def test_who_comes_while_redis_hangs_is_told_so(scene: Scene) -> None:
    scene.returns("a")
    scene.archive.errors.append(redis.TimeoutError("no answer"))
    scene.serve(waited=catchup.PATIENCE)
    late = scene.returns("b")
    for line in scene.catch_up._recent._lines.values():
        line[0].waits_since -= catchup.PATIENCE
    scene.serve()
    assert late.closed_with == 1012


def test_many_that_are_told_to_come_back_are_one_line_in_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    sockets = [scene.returns(f"c{number}") for number in range(20)]
    scene.archive.errors.append(redis.ConnectionError("gone"))
    scene.serve(waited=catchup.PATIENCE)
    assert {socket.closed_with for socket in sockets} == {1012}
    assert len(caplog.messages) == 1


def test_an_error_that_passes_is_waited_for(scene: Scene) -> None:
    one = scene.returns()
    scene.archive.errors.append(redis.ResponseError("BUSY Redis is busy running a script"))
    scene.serve()
    assert scene.is_live(one)


def test_an_unreadable_key_costs_its_client_its_connection(scene: Scene) -> None:
    one, other = scene.returns("a"), scene.returns("b")
    scene.archive.parts["a"] = redis.ResponseError("WRONGTYPE")
    scene.serve()
    assert (one.closed_with, scene.is_live(other)) == (1011, True)
    assert scene.archive.batches == [["a", "b"]]


def test_a_defect_costs_its_client_its_connection(scene: Scene) -> None:
    one = scene.returns()
    scene.archive.defect = ZeroDivisionError("a defect")
    scene.serve()
    assert one.closed_with == 1011


def test_a_defect_that_many_clients_meet_is_one_traceback_in_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for channel in "abc":
        scene.returns(channel)
    scene.archive.defect = ZeroDivisionError("a defect")
    scene.serve()
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]


def test_what_was_read_before_the_history_began_anew_is_read_again(scene: Scene) -> None:
    one = scene.returns()
    read = scene.archive.snapshot

    def and_then_a_gap_is_found(clients: Sequence[tuple[str, Place]]) -> Snapshot:
        snapshot = read(clients)
        if len(scene.archive.batches) == 1:
            begin(scene.history)
        return snapshot

    scene.archive.snapshot = and_then_a_gap_is_found  # type: ignore[method-assign]
    scene.serve()
    assert (len(scene.archive.batches), scene.is_live(one)) == (2, True)


def test_who_was_live_before_a_gap_is_not_sent_away(scene: Scene) -> None:
    one = scene.socket()
    scheduled: list[Any] = []
    scene.catch_up._later = lambda _seconds, function, argument: scheduled.append(
        (function, argument)
    )
    scene.catch_up.enqueue_after_gap([one], RECENT)
    ((function, request),) = scheduled
    function(request)
    request.waits_since -= 10 * catchup.PATIENCE
    scene.serve()
    assert scene.is_live(one)


# --- first connections ---------------------------------------------------------------------------


def remember(scene: Scene, number: int) -> bytes:
    """An event of channel c in the history; returns its frame."""
    place = b"%d-0" % number
    data = json.dumps({"channel_id": "c", "job_id": str(number)}).encode()
    scene.history.append([(place, "c", data)], place)
    return Entry(StreamId.parse(place), "c", data).frame()


def test_a_first_connection_gets_what_is_remembered_without_redis(scene: Scene) -> None:
    remember(scene, 2000)
    frame = remember(scene, 3000)
    one = scene.socket()
    scene.catch_up.welcome(one, StreamId(2500, 0))
    assert (one.chunks, scene.is_live(one)) == ([frame], True)
    assert scene.archive.batches == []


def test_a_first_connection_that_has_missed_nothing_is_live_at_once(scene: Scene) -> None:
    remember(scene, 2000)
    one, of_another_channel = scene.socket(), scene.socket("d")
    scene.catch_up.welcome(one, StreamId(2000, 0))
    scene.catch_up.welcome(of_another_channel, StreamId(1500, 0))
    for socket in (one, of_another_channel):
        assert (socket.chunks, scene.is_live(socket)) == ([], True)
    assert (scene.archive.batches, len(scene.catch_up)) == ([], 0)


def test_a_first_connection_waits_for_redis_when_memory_does_not_reach_back(scene: Scene) -> None:
    one = scene.socket()
    scene.catch_up.welcome(one, FLOOR.predecessor())
    assert not scene.is_live(one)
    scene.serve()
    assert (scene.is_live(one), scene.archive.batches) == (True, [["c"]])


def test_first_connections_of_a_channel_are_served_together(scene: Scene) -> None:
    sockets = [scene.socket() for _ in range(3)]
    for socket in sockets:
        scene.catch_up.welcome(socket, FLOOR.predecessor())
    scene.serve()
    assert all(map(scene.is_live, sockets))
    assert (scene.archive.batches, len(scene.catch_up)) == ([["c"]], 0)


def test_a_first_connection_is_no_gap(scene: Scene) -> None:
    scene.archive.gap = True
    scene.catch_up.welcome(scene.socket(), FLOOR.predecessor())
    scene.serve()
    assert not scene.metrics.gap.called


# --- sockets that must drain ---------------------------------------------------------------------


def test_who_does_not_read_is_not_live_before_it_has_read(scene: Scene) -> None:
    remember(scene, 2000)
    one = scene.socket()
    one.reads = False
    one.backlog_bytes = 10**9
    scene.catch_up.welcome(one, StreamId(1500, 0))
    assert not scene.is_live(one)
    one.backlog_bytes = 0
    scene.catch_up._drains.look()
    scene.serve()
    assert (len(one.chunks), scene.is_live(one)) == (1, True)


def test_a_second_look_waits_for_the_socket_too(scene: Scene) -> None:
    one = scene.socket()
    scene.hub.subscribe(one, "c")
    orphans = [
        Entry(StreamId(number, 0), "c", b'{"channel_id":"c","errors":"%b"}' % (b"x" * 400_000))
        for number in range(1100, 1110)
    ]
    one.reads = False
    scene.catch_up._put(waiting.second_look(one, RECENT, orphans))
    for _ in range(20):
        scene.serve()
        one.backlog_bytes = 0
        scene.catch_up._drains.look()
    assert b"".join(one.chunks) == b"".join(orphan.frame() for orphan in orphans)


# --- gaps ----------------------------------------------------------------------------------------


def gaps(scene: Scene) -> int:
    return int(scene.metrics.gap.call_count)


def test_a_gap_is_told_once_for_all_of_a_users_tabs(scene: Scene) -> None:
    scene.archive.gap = True
    scene.archive.parts["c"] = Part([Entry(RECENT, "c", b'{"channel_id":"c"}')])
    for _ in range(3):
        scene.returns(last_id=OLD)
        scene.serve()
    assert gaps(scene) == 1


def test_each_channel_has_its_own_gap(scene: Scene) -> None:
    scene.archive.gap = True
    for channel in "ab":
        scene.returns(channel, StreamId(NOW_MS - 1000, 0))
    scene.history.append((), b"%d-0" % NOW_MS)
    scene.serve()
    assert gaps(scene) == 2


def test_the_gaps_of_many_channels_at_once_are_counted_and_told_in_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.archive.gap = True
    for number in range(5):
        scene.returns(f"c{number}", StreamId(NOW_MS - 1000, 0))
    scene.history.append((), b"%d-0" % NOW_MS)
    scene.serve()
    assert (gaps(scene), len(caplog.messages)) == (5, 1)


def test_an_old_place_of_a_channel_that_has_nothing_is_no_gap(scene: Scene) -> None:
    scene.archive.gap = True
    one = scene.returns(last_id=OLD)
    scene.serve()
    assert (gaps(scene), scene.is_live(one)) == (0, True)


def test_a_place_from_the_future_is_told_once(scene: Scene) -> None:
    for _ in range(2):
        one = scene.returns(last_id=StreamId(NOW_MS, 0))
        while len(scene.catch_up):
            scene.serve()
        assert scene.is_live(one)
    assert gaps(scene) == 1


def test_the_gaps_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GAPS_REMEMBERED", 2)
    told = waiting.Gaps()
    assert [told.is_news(channel) for channel in "abca"] == [True] * 4
    assert not told.is_news("a")
