# SPDX-License-Identifier: Apache-2.0
"""Catch-ups: how they are sent, and what happens when Redis fails. The model has what is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
import redis

from wsgi_ws.hub import Hub
from wsgi_ws.observe.metrics import Metrics
from wsgi_ws.sources.streams import catchup
from wsgi_ws.sources.streams.archive import Archive, Snapshot
from wsgi_ws.sources.streams.catchup import SEND_CHUNK, CatchUp, ReturningClient, send_in_chunks
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.stream_id import StreamId
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection

UNLIMITED = 0


class Socket:
    """A connection whose client reads nothing, or all at once."""

    channel = "c"
    events_sent = 0

    def __init__(self, *, reads: bool = True) -> None:
        self.state = State.OPEN
        self.chunks: list[bytes] = []
        self.closed_with: int | None = None
        self.backlog_bytes = 0
        self._reads = reads

    def send(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        if not self._reads:
            self.backlog_bytes += len(chunk)

    def close(self, code: int, reason: str) -> None:
        self.state, self.closed_with = State.CLOSING, code


def entry(number: int, size: int = 0, data: bytes | None = None) -> Entry:
    event = {"channel_id": "c", "job_id": str(number), "errors": ["x" * size]}
    return Entry(StreamId(number, 0), "c", data or json.dumps(event).encode())


def sent(socket: Socket, entries: Sequence[Entry], limit: int = UNLIMITED) -> int | None:
    return send_in_chunks(cast(Connection, socket), entries, limit)


# --- sending -------------------------------------------------------------------------------------


def test_events_are_sent_as_frames_in_their_order() -> None:
    socket, entries = Socket(), [entry(1), entry(2)]
    assert sent(socket, entries) == 2
    assert b"".join(socket.chunks) == entries[0].frame() + entries[1].frame()


def test_small_events_share_a_chunk() -> None:
    socket = Socket()
    sent(socket, [entry(number, 1000) for number in range(200)])
    assert len(socket.chunks) < 5
    assert max(map(len, socket.chunks)) <= SEND_CHUNK


def test_an_event_larger_than_a_chunk_is_sent_whole() -> None:
    socket, large = Socket(), entry(2, 2 * SEND_CHUNK)
    sent(socket, [entry(1), large, entry(3)])
    assert socket.chunks == [entry(1).frame(), large.frame(), entry(3).frame()]


def test_nothing_missed_means_that_nothing_is_sent() -> None:
    socket = Socket()
    assert (sent(socket, []), socket.chunks) == (0, [])


def test_an_event_that_nobody_can_get_is_skipped_and_not_counted() -> None:
    socket = Socket()
    poison = entry(2, data=b'{"channel_id":"c","errors":"\xff"}')
    assert sent(socket, [entry(1), poison, entry(3)]) == 2


def test_a_client_that_leaves_too_much_unread_is_told_to_come_back() -> None:
    socket = Socket(reads=False)
    assert sent(socket, [entry(number, 400) for number in range(9)], limit=1000) is None
    assert (socket.closed_with, sum(map(len, socket.chunks)) <= 1000) == (1013, True)


def test_a_client_that_reads_gets_more_than_it_may_leave_unread() -> None:
    assert sent(Socket(), [entry(number, 400) for number in range(9)], limit=1000) == 9


def test_nothing_is_sent_to_a_client_that_has_gone() -> None:
    socket = Socket()
    socket.state = State.ENDED
    assert sent(socket, [entry(1), entry(2, 2 * SEND_CHUNK)]) is None


# --- Redis fails ---------------------------------------------------------------------------------


class FailingArchive:
    def __init__(self) -> None:
        self.asked = 0

    def snapshot(self, clients: Sequence[tuple[str, StreamId]]) -> Snapshot:
        self.asked += 1
        raise redis.ConnectionError("gone")


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> FailingArchive:
    monkeypatch.setattr(catchup, "RETRY_DELAY", 0.001)
    return FailingArchive()


def served(archive: FailingArchive, socket: Any, *, waited: float) -> None:
    """A client that came so many seconds ago."""
    catch_up = CatchUp(
        cast(Archive, archive),
        History(0),
        hub=Hub(),
        metrics=cast(Metrics, None),
        max_backlog_bytes=UNLIMITED,
    )
    client = ReturningClient(socket, StreamId(1, 1))
    client.since -= waited
    catch_up.serve([client])


def test_a_client_waits_while_redis_fails(archive: FailingArchive) -> None:
    socket = Socket()
    served(archive, socket, waited=catchup.PATIENCE - 0.1)
    assert archive.asked > 1


def test_a_client_that_has_waited_too_long_is_told_to_come_back(archive: FailingArchive) -> None:
    socket = Socket()
    served(archive, socket, waited=catchup.PATIENCE)
    assert (socket.closed_with, archive.asked) == (1012, 1)


def test_nothing_is_read_for_a_client_that_has_gone(archive: FailingArchive) -> None:
    socket = Socket()
    socket.state = State.ENDED
    served(archive, socket, waited=0)
    assert archive.asked == 0
