# SPDX-License-Identifier: Apache-2.0
"""How a connection comes to its end: its states, and what leads from one to the next. Pure.

Theory. RFC 6455 §7 closes a connection in steps: each side sends one close frame, then the server
ends TCP. Three ways lead out of `OPEN`, and each sends our close frame behind what is queued:

- We close. The client's answer is awaited (`CLOSING`, then `CLOSE_SENT`), and ends the connection.
- The client closes. Our close frame is the answer (`ANSWERING`); when it has left, we end TCP.
- The client breaks a rule (§7.1.7). Our close frame says which (`DRAINING`); when it has left, our
  half of TCP is closed (`HALF_CLOSED`), and the client's end is awaited. Closing a socket with
  unread input makes the kernel send a reset, which can destroy our close frame. So what the client
  still sends is read and dropped.

When both sides close at once while ours is still queued, `CLOSING` becomes `DRAINING`. A failure or
the end of TCP, or the timer that starts when `OPEN` is left, can end every state (`Event.LOST`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from wsgi_ws.websocket.frames import Close, CloseCode, ProtocolError, close_frame


class State(Enum):
    OPEN = auto()  # messages go both ways
    CLOSING = auto()  # our close frame is queued; the client is heard
    CLOSE_SENT = auto()  # our close frame has left; the client's is awaited
    ANSWERING = auto()  # the client's close frame has come; ours is queued
    DRAINING = auto()  # our close frame is queued; what the client sends is dropped
    HALF_CLOSED = auto()  # our half of TCP is closed; what the client sends is dropped
    ENDED = auto()  # the descriptor is closed


class Event(Enum):
    CLOSE = auto()  # the server wants to close
    CLIENT_CLOSED = auto()  # a close frame has come
    CLIENT_FAILED = auto()  # the client has broken a rule
    FLUSHED = auto()  # the kernel has taken all that was queued
    LOST = auto()  # TCP has failed or ended, the time is over, or the server cuts


# What is not in the table changes nothing: an event that comes too late to matter.
TRANSITIONS = {
    (State.OPEN, Event.CLOSE): State.CLOSING,
    (State.OPEN, Event.CLIENT_CLOSED): State.ANSWERING,
    (State.OPEN, Event.CLIENT_FAILED): State.DRAINING,
    (State.CLOSING, Event.FLUSHED): State.CLOSE_SENT,
    (State.CLOSING, Event.CLIENT_CLOSED): State.DRAINING,
    (State.CLOSING, Event.CLIENT_FAILED): State.DRAINING,
    (State.CLOSE_SENT, Event.CLIENT_CLOSED): State.ENDED,
    (State.CLOSE_SENT, Event.CLIENT_FAILED): State.HALF_CLOSED,
    (State.ANSWERING, Event.FLUSHED): State.ENDED,
    (State.DRAINING, Event.FLUSHED): State.HALF_CLOSED,
} | {(state, Event.LOST): State.ENDED for state in State}

# The states in which frames of the client are read.
LISTENING = (State.OPEN, State.CLOSING, State.CLOSE_SENT)


def after(state: State, event: Event) -> State:
    """The state that an event leads to."""
    return TRANSITIONS.get((state, event), state)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection is over: RFC 6455 close code, reason, and who began it.

    :ivar answer: the code of the client's close frame, if one came after we had begun. A client
        that has not begun to close before ours reached it sends our code back.
    """

    code: int
    reason: str
    by: str  # "client", "server" or "network"
    answer: int | None = None

    @classmethod
    def of_close(cls, frame: Close) -> Ending:
        """The client closes."""
        return cls(frame.code, frame.reason, "client")

    @classmethod
    def of_failure(cls, error: ProtocolError) -> Ending:
        """The client has broken a rule."""
        return cls(error.code, error.reason, "server")

    @classmethod
    def of_error(cls, error: OSError) -> Ending:
        """TCP has failed."""
        return cls(CloseCode.ABNORMAL, error.strerror or str(error), "network")

    def answered_by(self, other: Ending) -> Ending:
        """With the client's close frame behind ours."""
        return replace(self, answer=other.code)

    @property
    def frame(self) -> bytes:
        """Our close frame. As an answer it carries the code received (RFC 6455 §5.5.1)."""
        return close_frame(self.code, self.reason if self.by == "server" else "")
