# SPDX-License-Identifier: Apache-2.0
"""How missed events are sent: in chunks, no faster than the client reads, in whole places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tests.unit.sources.streams.sockets import Socket, entry
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.sources.streams.sending import PART_BYTES, SEND_CHUNK, Drains, Sender
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection

UNLIMITED = 0


def sent(socket: Socket, entries: Sequence[Entry], limit: int = UNLIMITED) -> tuple[int, int]:
    return sender(limit).send(cast(Connection, socket), entries)


def sender(limit: int) -> Sender:
    return Sender(limit, on_malformed=lambda connection, entry, error: None)


# --- frames and chunks ---------------------------------------------------------------------------


def test_events_are_sent_as_frames_in_their_order() -> None:
    socket, entries = Socket(), [entry(1), entry(2)]
    assert sent(socket, entries) == (2, 2)
    assert b"".join(socket.chunks) == entries[0].frame() + entries[1].frame()


def test_small_events_share_a_chunk() -> None:
    socket = Socket()
    sent(socket, [entry(number, 1000) for number in range(200)])
    assert len(socket.chunks) < 5


def test_nothing_missed_means_that_nothing_is_sent() -> None:
    socket = Socket()
    assert (sent(socket, []), socket.chunks) == ((0, 0), [])


def test_an_event_that_nobody_can_get_is_skipped_and_not_counted() -> None:
    socket = Socket()
    poison = entry(2, data=b'{"channel_id":"c","errors":"\xff"}')
    assert sent(socket, [entry(1), poison, entry(3)]) == (3, 2)


def test_what_is_skipped_is_told() -> None:
    told: list[tuple[Entry, str]] = []
    teller = Sender(UNLIMITED, lambda connection, entry, error: told.append((entry, str(error))))
    poison = entry(2, data=b'{"channel_id":"c","errors":"\xff"}')
    teller.send(cast(Connection, Socket()), [entry(1), poison, entry(3)])
    assert told == [(poison, "data is not UTF-8")]


def test_nothing_is_sent_to_a_client_that_has_gone() -> None:
    socket = Socket()
    socket.state = State.ENDED
    sent(socket, [entry(1), entry(2, 2 * SEND_CHUNK)])
    assert socket.chunks == []


# --- no more than is good ------------------------------------------------------------------------


def test_a_client_that_reads_nothing_gets_a_part() -> None:
    socket, entries = Socket(reads=False), [entry(number, 400) for number in range(9)]
    done, events = sent(socket, entries, limit=1000)
    assert 0 < done == events < 9
    assert socket.state is State.OPEN


def test_a_part_and_the_rest_are_all() -> None:
    entries = [entry(number, 400) for number in range(9)]
    socket, left = Socket(reads=False), entries
    while left:
        done, _ = sent(socket, left, limit=1000)
        left = left[done:]
        socket.backlog_bytes = 0  # it has read meanwhile
    assert b"".join(socket.chunks) == b"".join(one.frame() for one in entries)


def test_a_client_that_reads_gets_more_than_it_may_leave_unread() -> None:
    assert sent(Socket(), [entry(number, 400) for number in range(9)], limit=1000) == (9, 9)


def test_an_event_larger_than_any_limit_is_sent_whole() -> None:
    socket, large = Socket(reads=False), entry(1, 2 * SEND_CHUNK)
    assert sent(socket, [large, entry(2)], limit=1000) == (1, 1)
    assert socket.chunks == [large.frame()]


def test_others_have_their_turn_after_a_part() -> None:
    entries = [entry(number, 1000) for number in range(3 * PART_BYTES // 1000)]
    done, _ = sent(Socket(), entries)
    assert 0 < done < len(entries)


def test_events_with_one_id_are_not_separated() -> None:
    """The client would come back with that ID and not get the others."""
    entries = [entry(1, 400).at(StreamId(1, 0)) for _ in range(9)] + [entry(2)]
    assert sent(Socket(reads=False), entries, limit=100) == (9, 9)


# --- sockets that must drain ---------------------------------------------------------------------


def drains(socket: Socket) -> tuple[Drains, list[str]]:
    went_on: list[str] = []
    waiting = Drains(sender(1000))
    waiting.add(cast(Connection, socket), lambda: went_on.append("on"))
    return waiting, went_on


def test_a_socket_waits_until_it_has_drained() -> None:
    socket = Socket()
    socket.backlog_bytes = 501
    waiting, went_on = drains(socket)
    waiting.look()
    assert went_on == []
    socket.backlog_bytes = 500
    waiting.look()
    assert went_on == ["on"]


def test_a_socket_goes_on_once() -> None:
    waiting, went_on = drains(Socket())
    waiting.look()
    waiting.look()
    assert went_on == ["on"]


def test_a_socket_that_has_gone_is_forgotten() -> None:
    socket = Socket()
    socket.state = State.ENDED
    waiting, went_on = drains(socket)
    waiting.look()
    assert (went_on, waiting._waiting) == ([], [])
