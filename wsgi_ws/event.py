# SPDX-License-Identifier: Apache-2.0
"""The JSON of an event → its channel, its members, and the frame that browsers get. Pure.

Does not know where the JSON comes from.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec
import orjson

from wsgi_ws.websocket.frames import text_frame


class MalformedEntry(Exception):
    """The data is no event; the text says what is wrong with it."""


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


def identity(data: bytes, members: dict[str, Any]) -> bytes:
    """What tells two copies of one event from two events: Superset's own members.

    Both copies normally are equal to the byte; a producer may stamp each with something else, as
    the time. Data that is no event of Superset's is its own identity.

    :param members: those of `data`.
    """
    if "job_id" not in members:
        return data
    try:
        return orjson.dumps([members.get(name) for name in _IDENTIFYING_MEMBERS])
    except (TypeError, orjson.JSONEncodeError):  # a lone surrogate, or nested too deeply
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
