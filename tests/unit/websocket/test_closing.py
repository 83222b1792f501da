# SPDX-License-Identifier: Apache-2.0
"""The states of a connection's closing, and the close frame of each ending."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.websocket.closing import LISTENING, Ending, Event, State, after
from wsgi_ws.websocket.frames import Close, CloseCode, ProtocolError

STATES = pytest.mark.parametrize("state", State, ids=lambda state: state.name)
EVENTS = st.lists(st.sampled_from(Event), max_size=8)


def end_of(*events: Event) -> State:
    return reduce(after, events, State.OPEN)


# What happens to an open connection → where it ends up.
COURSES: dict[str, tuple[Sequence[Event], State]] = {
    "the client closes": ([Event.CLIENT_CLOSED], State.ANSWERING),
    "the client has its answer": ([Event.CLIENT_CLOSED, Event.FLUSHED], State.ENDED),
    "the server closes": ([Event.CLOSE], State.CLOSING),
    "the server's close has left": ([Event.CLOSE, Event.FLUSHED], State.CLOSE_SENT),
    "the server's close is answered": (
        [Event.CLOSE, Event.FLUSHED, Event.CLIENT_CLOSED],
        State.ENDED,
    ),
    "both close at once": ([Event.CLOSE, Event.CLIENT_CLOSED], State.DRAINING),
    "both have closed at once": (
        [Event.CLOSE, Event.CLIENT_CLOSED, Event.FLUSHED],
        State.HALF_CLOSED,
    ),
    "a broken rule": ([Event.CLIENT_FAILED], State.DRAINING),
    "a broken rule is told": ([Event.CLIENT_FAILED, Event.FLUSHED], State.HALF_CLOSED),
    "a broken rule instead of an answer, ours is queued": (
        [Event.CLOSE, Event.CLIENT_FAILED],
        State.DRAINING,
    ),
    "a broken rule instead of an answer": (
        [Event.CLOSE, Event.FLUSHED, Event.CLIENT_FAILED],
        State.HALF_CLOSED,
    ),
}


@pytest.mark.parametrize(("events", "state"), COURSES.values(), ids=COURSES)
def test_a_course_of_events_leads_to_its_state(events: Sequence[Event], state: State) -> None:
    assert end_of(*events) is state


@STATES
def test_every_state_can_end_at_once(state: State) -> None:
    assert after(state, Event.LOST) is State.ENDED


@given(EVENTS)
def test_what_is_ended_stays_ended(events: list[Event]) -> None:
    assert reduce(after, events, State.ENDED) is State.ENDED


@given(EVENTS)
def test_a_connection_is_open_until_somebody_closes(events: list[Event]) -> None:
    assert (end_of(*events) is State.OPEN) == (set(events) <= {Event.FLUSHED})


@given(EVENTS, st.sampled_from(Event))
def test_a_client_that_is_not_heard_any_more_is_never_heard_again(
    events: list[Event], event: Event
) -> None:
    state = end_of(*events)
    assert state in LISTENING or after(state, event) not in LISTENING


@STATES
@pytest.mark.parametrize("event", [Event.CLIENT_CLOSED, Event.CLIENT_FAILED])
def test_after_its_close_frame_or_a_broken_rule_a_client_is_not_heard(
    state: State, event: Event
) -> None:
    assert after(state, event) not in LISTENING


@given(EVENTS)
def test_a_connection_ends_by_a_close_frame_only_when_both_have_one(events: list[Event]) -> None:
    peaceful = [event for event in events if event is not Event.LOST]
    if end_of(*peaceful) is State.ENDED:
        assert Event.CLIENT_CLOSED in peaceful
        assert Event.FLUSHED in peaceful


# --- endings -------------------------------------------------------------------------------------


def test_an_answer_carries_the_code_received_and_no_reason() -> None:
    assert Ending.of_close(Close(4000, "enough")).frame == b"\x88\x02\x0f\xa0"


def test_an_answer_to_a_close_without_a_code_has_none() -> None:
    assert Ending.of_close(Close(CloseCode.NO_STATUS, "")).frame == b"\x88\x00"


def test_a_broken_rule_is_told_with_code_and_reason() -> None:
    ending = Ending.of_failure(ProtocolError(CloseCode.TOO_BIG, "too big"))
    assert (ending.frame, ending.by) == (b"\x88\x09\x03\xf1too big", "server")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(104, "Connection reset by peer"), "Connection reset by peer"), (OSError("x"), "x")],
    ids=["with a number", "without"],
)
def test_an_error_of_tcp_is_told_in_its_words(error: OSError, reason: str) -> None:
    assert Ending.of_error(error) == Ending(CloseCode.ABNORMAL, reason, "network")
