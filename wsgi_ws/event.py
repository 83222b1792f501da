# SPDX-License-Identifier: Apache-2.0
"""The JSON of an event → its channel, its members, and the frame that browsers get. Pure.

Does not know where the JSON comes from. The frame is made of the producer's own text, with the ID
spliced in: nothing is parsed into objects and written anew, which was most of an event's cost, and
numbers, escapes and white space reach the browser as they were written.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from wsgi_ws.websocket.frames import text_frame

_WHITE_SPACE = b" \t\n\r"  # RFC 8259 §2
_BRACE = ord("{")


class MalformedEntry(Exception):
    """The data is no event; the text says what is wrong with it."""


class Head(msgspec.Struct, gc=False):
    """What this server must know of an event.

    :ivar id: a member of the event's own that is named like the one that the message gets.
    """

    channel_id: str
    id: Raw | UnsetType = UNSET


_head_of = msgspec.json.Decoder(Head).decode


def head_of(data: bytes) -> Head:
    """The event's channel, without making anything of the other members.

    Most events are for nobody at this worker, and this is all that they cost. What it returns for
    is JSON to the last byte, unless a text in it is not UTF-8: `frame_of` looks at that.

    :raises MalformedEntry: not JSON, not an object, no channel.
    """
    try:
        head = _head_of(data)
        if head.channel_id:
            return head
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    members = members_of(data)  # which knows better or says what is wrong
    return Head(members["channel_id"], Raw() if "id" in members else UNSET)


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


def frame_of(entry_id: bytes, data: bytes, head: Head) -> bytes:
    """The message for an event: its own text, and in front of its members the entry's ID.

    A member `id` of the event itself wins over the entry's, as in the Node server.

    :param head: of `data`.
    :raises MalformedEntry: not UTF-8.
    """
    if not data.isascii():
        _text_of(data)  # or it is malformed
    if head.id is not UNSET:
        return text_frame(data)
    if data[0] != _BRACE:
        data = data.lstrip(_WHITE_SPACE)
    members = data[1:]  # there is one at least, the channel
    return text_frame(b"".join((b'{"id":"', entry_id, b'",', members)))


def identity(data: bytes) -> bytes:
    """What tells two copies of one event from two events: Superset's own members.

    Both copies normally are equal to the byte; a producer may stamp each with something else, as
    the time. Data that is no event of Superset's is its own identity.
    """
    try:
        members = members_of(data)
        if "job_id" in members:
            return orjson.dumps([members.get(name) for name in _IDENTIFYING_MEMBERS])
    except (MalformedEntry, TypeError, orjson.JSONEncodeError):
        pass  # among them a lone surrogate, and what is nested too deeply
    return data


_IDENTIFYING_MEMBERS = ("channel_id", "job_id", "user_id", "status", "errors", "result_url")


def _loads_slowly(data: bytes) -> Any:
    """What the strict parser refuses although it is JSON: lone surrogates written as escapes."""
    text = _text_of(data)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedEntry("data is not JSON") from None


def _text_of(data: bytes) -> str:
    """RFC 6455 §5.6: a text frame is UTF-8, or the browser fails the connection."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedEntry("data is not UTF-8") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
