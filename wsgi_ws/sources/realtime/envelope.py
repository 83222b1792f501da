# SPDX-License-Identifier: Apache-2.0
"""A message of the realtime channel: whom it is for, and the frame that browsers get. Pure.

The envelope is Superset's (superset/realtime/publish.py): `topic`, `scope`, `payload`, `routes`.
Browsers get `topic` and `payload`. The payload's bytes are passed on as they came: to write them
anew would change integers above 2^53 and cost more than all the rest.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType

from wsgi_ws.superset.names import BROADCAST, ENTITY_CHANGED, TASK_STATUS
from wsgi_ws.websocket.frames import text_frame

# What a browser may get twice without harm. Others may undo what a user has done meanwhile
# (`dashboard.filters_applied`), or nobody knows.
REPEATABLE = frozenset({TASK_STATUS, ENTITY_CHANGED})
# What says no more when it comes twice: browsers read the entity anew.
MERGEABLE = frozenset({ENTITY_CHANGED})


class MalformedMessage(Exception):
    """It is no message; the text says what is wrong with it."""


class Message(NamedTuple):
    """What is to be sent.

    :ivar routes: of its sockets, each once; None: it is for everybody.
    """

    topic: str
    routes: tuple[str, ...] | None
    frame: bytes


class _Envelope(msgspec.Struct):
    topic: str
    scope: str
    payload: Raw = Raw(b"")
    routes: list[str] | UnsetType = UNSET


_envelope_of = msgspec.json.Decoder(_Envelope).decode
_scan = json.JSONDecoder().raw_decode
_INDEX = re.compile(r"\[\d+\]")
_SPACE = re.compile(r"[ \t\n\r]*")


def message_of(data: bytes) -> Message:
    """
    :param data: as it was published.
    :raises MalformedMessage: it has another form.
    """
    envelope = _read(data)
    if not envelope.topic or not envelope.scope:
        raise MalformedMessage("its topic or its scope is empty")
    payload = bytes(envelope.payload)
    text = _opening(envelope.topic) + (b',"payload":' + payload + b"}" if payload else b"}")
    return Message(envelope.topic, _routes_of(envelope), text_frame(text))


@lru_cache(maxsize=64)
def _opening(topic: str) -> bytes:
    """Superset has a handful of topics, and the encoder is the slowest step of a message."""
    return b'{"topic":' + json.dumps(topic).encode()


def _read(data: bytes) -> _Envelope:
    try:
        if not data.isascii():
            data.decode()  # the decoder passes over what it need not understand
        return _decoded(data)
    except UnicodeDecodeError:
        raise MalformedMessage("it is not UTF-8") from None
    except msgspec.ValidationError as error:  # tells a member and types, no values
        problem = _INDEX.sub("[…]", str(error))  # each kind is told once
        raise MalformedMessage(f"it is no message of Superset's: {problem}") from None
    except RecursionError:
        raise MalformedMessage("it is nested too deeply") from None
    except ValueError:
        raise MalformedMessage("it is not JSON") from None


def _decoded(data: bytes) -> _Envelope:
    try:
        return _envelope_of(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decoded_slowly(data.decode())


def _decoded_slowly(text: str) -> _Envelope:
    """What the fast decoder refuses although it is JSON: lone surrogates written as escapes."""
    members = json.loads(text, parse_constant=_no_constant)
    if isinstance(members, dict) and "payload" in members:
        members["payload"] = Raw(_raw_members(text)["payload"].encode())
    return msgspec.convert(members, _Envelope)


def _raw_members(text: str) -> dict[str, str]:
    """The members of a JSON object, which is valid, each with its value as it is written."""
    found, place = {}, _after_space(text, 0)
    while text[place] != "}":
        name, place = _scan(text, _after_space(text, place + 1))
        start = _after_space(text, _after_space(text, place) + 1)
        _, end = _scan(text, start)
        found[name] = text[start:end]
        place = _after_space(text, end)
    return found


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _routes_of(envelope: _Envelope) -> tuple[str, ...] | None:
    routes = () if envelope.routes is UNSET else tuple(envelope.routes)
    if "" in routes:
        raise MalformedMessage("one of its routes is empty")
    if envelope.scope == BROADCAST:
        return None
    return routes if len(routes) < 2 else tuple(dict.fromkeys(routes))
