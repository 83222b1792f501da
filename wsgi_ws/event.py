# SPDX-License-Identifier: Apache-2.0
"""One stream entry → the event that browsers get. Pure.

An entry is what Redis returns: an ID and a flat list of field names and values, all bytes. The
producer puts the event as JSON into the one field `data`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec
import orjson

from wsgi_ws.websocket.frames import text_frame

Entry = tuple[bytes, Sequence[bytes]]


class MalformedEntry(Exception):
    """The entry is no event; its text says what is wrong with it."""


class Event:
    """A parsed event of the stream; its WebSocket frame is built once, when somebody wants it."""

    __slots__ = ("_frame", "channel", "data", "id", "members")

    def __init__(self, entry_id: bytes, data: bytes, channel: str, members: dict[str, Any]) -> None:
        self.id = entry_id
        self.data = data
        self.channel = channel
        self.members = members
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The text frame with this entry's own ID, shared by every socket that gets it."""
        if self._frame is None:
            self._frame = frame_of(self.id, self.members)
        return self._frame


def parse_entry(entry: Entry) -> Event:
    """The event of a stream entry.

    :raises MalformedEntry: no field `data`, not UTF-8, not JSON, not an object, no channel.
    """
    entry_id, fields = entry
    data = data_of(fields)
    members = members_of(data)
    return Event(entry_id, data, members["channel_id"], members)


def data_of(fields: Sequence[bytes]) -> bytes:
    """The value of the field `data`.

    :raises MalformedEntry: there is none.
    """
    if len(fields) == 2 and fields[0] == b"data":  # Superset writes exactly this one field
        return fields[1]
    for i in range(0, len(fields) - 1, 2):
        if fields[i] == b"data":
            return fields[i + 1]
    raise MalformedEntry("it has no field data")


class _Head(msgspec.Struct):
    channel_id: str


_head_of = msgspec.json.Decoder(_Head).decode


def channel_of(data: bytes) -> str:
    """The event's channel, without making anything of the other members.

    Most events are for nobody at this worker, and this is all that they cost. What is wrong in the
    text of other members is seen by `members_of`, when somebody wants them.

    :raises MalformedEntry: not JSON, not an object, no channel.
    """
    try:
        channel = _head_of(data).channel_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        channel = ""
    return channel or members_of(data)["channel_id"]  # which knows better or says what is wrong


def members_of(data: bytes) -> dict[str, Any]:
    """The event's members; `channel_id` is among them and a text.

    :raises MalformedEntry: not UTF-8, not JSON, not an object, no channel.
    """
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError:
        members = _loads_slowly(data)
    if type(members) is not dict:
        raise MalformedEntry("data is not a JSON object")
    channel = members.get("channel_id")
    if type(channel) is not str or not channel:
        raise MalformedEntry("data has no channel_id")
    return members


def frame_of(entry_id: bytes, members: dict[str, Any]) -> bytes:
    """The message for an event: compact JSON, `id` first, then the members as they came.

    A member `id` of the event itself wins over the entry's, as in the Node server.

    :raises MalformedEntry: the event is nested too deeply to be written.
    """
    own_id = "id" in members
    if own_id:
        members = {"id": members["id"]} | members
    try:
        text = orjson.dumps(members)
    except (TypeError, orjson.JSONEncodeError):
        text = _dumps_slowly(members)
    if not own_id:
        text = b'{"id":"' + entry_id + b'",' + text[1:]  # never empty: it has a channel
    return text_frame(text)


def identity(data: bytes) -> bytes:
    """What tells two copies of one event from two events: Superset's own members.

    Both copies normally are equal to the byte; a producer may stamp each with something else, as
    the time. Data that is no event of Superset's is its own identity.
    """
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if type(members) is not dict or "job_id" not in members:
        return data
    try:
        return orjson.dumps([members.get(name) for name in _IDENTIFYING_MEMBERS])
    except orjson.JSONEncodeError:  # nested too deeply for it
        return data


_IDENTIFYING_MEMBERS = ("channel_id", "job_id", "user_id", "status", "errors", "result_url")


def _loads_slowly(data: bytes) -> Any:
    """What the strict parser refuses although it is JSON: lone surrogates written as escapes."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedEntry("data is not UTF-8") from None
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise MalformedEntry("data is not JSON") from None


def _dumps_slowly(message: dict[str, Any]) -> bytes:
    """What the fast encoder refuses: lone surrogates, integers beyond 64 bits, 255 levels."""
    try:
        return json.dumps(message, separators=(",", ":")).encode("ascii")
    except RecursionError:
        raise MalformedEntry("data is nested too deeply") from None


def _finite(text: str) -> float | None:
    """As orjson and the Node server write it: what is too large for a float becomes null."""
    number = float(text)
    return number if math.isfinite(number) else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
