# SPDX-License-Identifier: Apache-2.0
"""Log lines that are data: a text for people, the same values as fields for machines. Pure.

Each is handed to a logger as its message: `log_formats` writes `str(line)`, or its fields as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from wsgi_ws.wording import counted

CHANNEL_SHOWN = 8  # characters: enough to tell users apart, too few to be anybody's key
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class HandshakeLine(NamedTuple):
    """The answer to an opening handshake: `socket` and `channel` if admitted, else `reason`."""

    address: str
    path: str
    status: int
    duration_ms: float
    channel: str | None = None
    socket: int | None = None
    reason: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        who = f"socket {self.socket} of channel {self.channel}" if self.socket else self.reason
        request = f", request {self.request_id}" if self.request_id else ""
        return (
            f"handshake from {self.address}: {self.path} {self.status} {who}, "
            f"{self.duration_ms:.1f} ms{request}"
        )


class CloseLine(NamedTuple):
    """The end of a socket: `by` is client, server or network."""

    socket: int
    channel: str
    code: int
    reason: str
    by: str
    lifetime_s: float
    events_sent: int

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return (
            f"socket {self.socket} of channel {self.channel} closed by {self.by}: {self.code}"
            f"{reason}, after {self.lifetime_s:.1f} s and {counted(self.events_sent, 'event')}"
        )


class RefusalLine(NamedTuple):
    """Why a handshake was refused, and what to do.

    :ivar held_back: alike refusals since the last such line, which have none.
    """

    address: str
    reason: str
    problem: str
    remedy: str
    held_back: int
    request_id: str | None = None

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return (
            f"handshake from {self.address} refused{request}: {self.problem}{remedy}"
            f"{and_more(self.held_back)}"
        )


class SummaryLine(NamedTuple):
    """What a worker did in an interval, and what it holds now.

    :ivar refused: handshakes, by reason.
    :ivar closed: sockets whose end the server began, by close code; those that it turns away at
        once are among them.
    :ivar sockets_by_transport: in the text when there are some of several.
    """

    seconds: float
    sockets: int
    channels: int
    events_read: int
    events_delivered: int
    events_malformed: int
    admitted: int
    refused: Mapping[str, int]
    closed: Mapping[str, int]
    catch_ups: int
    gaps: int
    slow_disconnects: int
    lag_s: float
    sockets_by_transport: Mapping[str, int]

    def __str__(self) -> str:
        reasons, codes = _listed(self.refused), _listed(self.closed)
        shares = [f"{name} {count}" for name, count in self.sockets_by_transport.items() if count]
        by_transport = f" ({', '.join(shares)})" if len(shares) > 1 else ""
        return (
            f"{counted(self.sockets, 'socket')}{by_transport} of "
            f"{counted(self.channels, 'channel')}, "
            f"lag {self.lag_s:.1f} s; "
            f"in {self.seconds:.0f} s: events {self.events_read} read, "
            f"{self.events_delivered} delivered, {self.events_malformed} malformed; "
            f"handshakes {self.admitted} admitted, {sum(self.refused.values())} refused"
            f"{f' ({reasons})' if reasons else ''}; "
            f"{f'closed by the server {codes}; ' if codes else ''}"
            f"{counted(self.catch_ups, 'catch-up')}, {counted(self.gaps, 'gap')}; "
            f"{counted(self.slow_disconnects, 'slow client')} cut"
        )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def abbreviated(channel: str) -> str:
    """A channel's first characters, as logs show it: a whole ID would be a key to its events."""
    return printable(channel, CHANNEL_SHOWN)


def printable(text: str, limit: int = 200) -> str:
    """A foreign text as a part of one line: at most `limit` characters, no control characters."""
    shown = text if len(text) <= limit else text[:limit]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return shown


def request_id(header: str) -> str | None:
    """An `X-Request-ID` that may be repeated in logs and headers; None for any other text."""
    return header if _REQUEST_ID.fullmatch(header) else None


def and_more(held_back: int) -> str:
    """The end of a line: how many others it stands for, or nothing."""
    return f" [and {held_back} more since the last such line]" if held_back else ""
