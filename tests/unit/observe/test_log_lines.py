# SPDX-License-Identifier: Apache-2.0
"""Lines that are data: what people read, and what must not get into them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.observe.log_lines import (
    CloseLine,
    HandshakeLine,
    RefusalLine,
    SummaryLine,
    abbreviated,
    printable,
    request_id,
)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            HandshakeLine("203.0.113.7", "/ws", 101, 1.26, channel="1a2b3c4d", socket=7),
            "handshake from 203.0.113.7: /ws 101 socket 7 of channel 1a2b3c4d, 1.3 ms",
        ),
        (
            HandshakeLine("203.0.113.7", "/ws", 401, 0.5, reason="expired", request_id="r-1"),
            "handshake from 203.0.113.7: /ws 401 expired, 0.5 ms, request r-1",
        ),
        (
            CloseLine(7, "1a2b3c4d", 1000, "bye", "client", 12.345, 3),
            "socket 7 of channel 1a2b3c4d closed by client: 1000 (bye), after 12.3 s and 3 events",
        ),
        (
            CloseLine(7, "1a2b3c4d", 1001, "", "server", 0.0, 0),
            "socket 7 of channel 1a2b3c4d closed by server: 1001, after 0.0 s and 0 events",
        ),
        (
            CloseLine(7, "1a2b3c4d", 1001, "", "server", 1.0, 1),
            "socket 7 of channel 1a2b3c4d closed by server: 1001, after 1.0 s and 1 event",
        ),
        (
            RefusalLine("::1", "expired", "the token has expired", "Reload", 0),
            "handshake from ::1 refused: the token has expired. Reload",
        ),
        (
            RefusalLine("::1", "expired", "the token has expired", "Reload", 41, "r-1"),
            "handshake from ::1 refused (request r-1): the token has expired. Reload "
            "[and 41 more since the last such line]",
        ),
        (
            SummaryLine(
                *(60.0, 5, 3, 100, 40, 1, 7, {"expired": 2, "closed": 1}),
                *({"1013": 2, "1008": 1}, 4, 0, 9, 0.0),
                {"streams": 2, "realtime": 3},
            ),
            "5 sockets (streams 2, realtime 3) of 3 channels, lag 0.0 s; in 60 s: events 100 read, "
            "40 delivered, "
            "1 malformed; handshakes 7 admitted, 3 refused (closed 1, expired 2); "
            "closed by the server 1008 1, 1013 2; 4 catch-ups, 0 gaps; 9 slow clients cut",
        ),
        (
            SummaryLine(
                *(60.0, 1, 1, 1, 1, 0, 1, {}, {}, 1, 1, 1, 0.0), {"streams": 0, "realtime": 1}
            ),
            "1 socket of 1 channel, lag 0.0 s; in 60 s: events 1 read, 1 delivered, 0 malformed; "
            "handshakes 1 admitted, 0 refused; 1 catch-up, 1 gap; 1 slow client cut",
        ),
    ],
)
def test_a_line_reads(line: object, text: str) -> None:
    assert str(line) == text


def test_a_channel_is_abbreviated() -> None:
    assert abbreviated("1a2b3c4d-0000-4000-8000-000000000000") == "1a2b3c4d"


@given(st.text(max_size=300), st.integers(0, 300))
def test_a_foreign_text_stays_one_bounded_line_that_a_terminal_just_shows(
    text: str, limit: int
) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown == "" or shown.isprintable() or "\N{REPLACEMENT CHARACTER}" in shown
    assert not set(shown) & {"\n", "\r", "\x1b", "\x9b", "\u2028"}


@pytest.mark.parametrize("text", ["a", "7f3c:01/x+y=@z", "0" * 128])
def test_a_usual_request_id_is_passed_on(text: str) -> None:
    assert request_id(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a\r\nSet-Cookie: x", "ä", "0" * 129, "<script>"])
def test_any_other_text_is_no_request_id(text: str) -> None:
    assert request_id(text) is None
