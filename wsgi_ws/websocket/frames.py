# SPDX-License-Identifier: Apache-2.0
"""RFC 6455 from the server's side, pure: bytes in → frames or an error, values in → bytes out.

No sockets, no clock. Inbound, the frame layer of wsproto does the work (this service's clients
send next to nothing, so a library's speed is enough); it is made when bytes arrive and thrown away
when no frame is pending, so that an idle socket keeps none of it. Outbound, a frame is a head in
front of the payload, built once and shared by every socket that gets it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from wsproto.frame_protocol import Frame as RawFrame
from wsproto.frame_protocol import FrameDecoder, Header, MessageDecoder, Opcode, ParseFailed

from wsgi_ws.websocket.allowance import Allowance

CONTROL_PAYLOAD_MAX = 125  # RFC 6455 §5.5
_TIME = struct.Struct("!d")
_PING = struct.Struct("!BBd")  # a frame's head and its payload


class CloseCode(IntEnum):
    """RFC 6455 §7.4.1 and the IANA registry: the codes that this server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005  # never on the wire: a close frame without a code
    ABNORMAL = 1006  # never on the wire: the connection ended without a close frame
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class ProtocolError(Exception):
    """The peer broke a rule; the connection must be failed with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Ping:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """:ivar code: `NO_STATUS` when the frame carried none."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Data:
    """A whole text or binary message."""

    payload: bytes
    is_text: bool


Frame = Ping | Pong | Close | Data


# --- outbound ------------------------------------------------------------------------------------


def text_frame(payload: bytes) -> bytes:
    """One unfragmented, unmasked text frame (RFC 6455 §5.2); `payload` must be UTF-8."""
    size = len(payload)
    return (_TEXT_HEADS[size] if size < len(_TEXT_HEADS) else _head(0x81, size)) + payload


def binary_frame(payload: bytes) -> bytes:
    """One unfragmented, unmasked binary frame."""
    return _head(0x82, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping: the same payload (RFC 6455 §5.5.3)."""
    return _head(0x8A, len(payload)) + payload


def ping_frame(sent_at: float) -> bytes:
    """A ping that has its time as payload, so that its pong tells which ping it answers."""
    return _PING.pack(0x89, _TIME.size, sent_at)


def ping_of(payload: bytes) -> float | None:
    """The time of the ping that a pong answers; None: the pong has none, and answers nothing."""
    if len(payload) != _TIME.size:
        return None
    (sent_at,) = _TIME.unpack(payload)
    return float(sent_at)


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut at a character so that it fits (RFC 6455 §5.5.1)."""
    if code == CloseCode.NO_STATUS:
        return b"\x88\x00"
    text = reason.encode()[: CONTROL_PAYLOAD_MAX - 2].decode("utf-8", "ignore").encode()
    return _head(0x88, 2 + len(text)) + struct.pack("!H", code) + text


def _head(first: int, size: int) -> bytes:
    if size <= CONTROL_PAYLOAD_MAX:
        return bytes((first, size))
    if size <= 0xFFFF:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


# By size; nearly every event's is one of them.
_TEXT_HEADS = tuple(_head(0x81, size) for size in range(1024))


# --- inbound -------------------------------------------------------------------------------------


class FrameReader:
    """Frames of one client, parsed incrementally at any split of the bytes.

    After `ProtocolError` or a close frame it must not be fed again.

    Frames are counted as they are on the wire, so a message's fragments count too. Bytes that
    complete no frame count as one, so that no client can keep the parser busy for nothing.
    """

    __slots__ = ("_decoder", "_limit", "_message", "_octets", "_size")

    def __init__(self, max_message_bytes: int) -> None:
        self._decoder = FrameDecoder(client=False)
        self._message = MessageDecoder()
        self._limit = max_message_bytes
        self._octets = bytearray()  # of the message under way
        self._size = 0  # what its frames so far have announced

    @property
    def at_rest(self) -> bool:
        """Whether no part of a frame or message is pending: the reader can be thrown away."""
        decoder = self._decoder
        return not len(decoder.buffer) and decoder.header is None and self._message.opcode is None

    def feed(self, data: bytes, allowance: Allowance) -> Iterator[Frame]:
        """Yield the frames that `data` completes, and count them.

        :raises ProtocolError: at the first broken rule; frames before it have been yielded.
        """
        before = allowance.frames_left
        self._decoder.receive_bytes(data)
        try:
            while (frame := self._next(allowance)) is not None:
                yield frame
                if isinstance(frame, Close):
                    return  # RFC 6455 §5.5.1: nothing may follow; it is not even looked at
        except ParseFailed as error:
            raise ProtocolError(CloseCode(error.code), str(error)) from None
        if allowance.frames_left == before:
            _count_frame(allowance)

    def _next(self, allowance: Allowance) -> Frame | None:
        decoder = self._decoder
        while True:
            # By hand, so that a head is judged before its payload at any split of the bytes.
            if decoder.header is None and decoder.parse_header():
                self._check_size(decoder.header)
            raw = decoder.process_buffer()
            if raw is None:
                return None
            if raw.frame_finished:
                _count_frame(allowance)
            frame = self._take(raw)
            if frame is not None:
                return frame

    def _take(self, raw: RawFrame) -> Frame | None:
        """A frame, or a part of one: what it completes."""
        if raw.opcode is Opcode.PING:
            return Ping(_bytes(raw.payload))
        if raw.opcode is Opcode.PONG:
            return Pong(_bytes(raw.payload))
        if raw.opcode is Opcode.CLOSE:
            return parse_close(_bytes(raw.payload))
        part = self._message.process_frame(raw)
        self._octets += _bytes(part.payload)
        if not part.message_finished:
            return None
        whole = bytes(self._octets)
        self._octets.clear()
        self._size = 0
        return Data(whole, part.opcode is Opcode.TEXT)

    def _check_size(self, head: Header | None) -> None:
        """Refuse a message as soon as a frame's head announces that it will be too big."""
        if head is None or head.opcode.iscontrol():
            return
        self._size += head.payload_len
        if self._size > self._limit:
            raise ProtocolError(CloseCode.TOO_BIG, f"a message is limited to {self._limit} bytes")


def _count_frame(allowance: Allowance) -> None:
    if not allowance.take_frame():
        raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many frames per second")


def parse_close(payload: bytes) -> Close:
    """The body of a close frame (RFC 6455 §5.5.1, §7.4).

    :raises ProtocolError: for a body of one byte, a code that must not be on the wire, or a reason
        that is not UTF-8.
    """
    if not payload:
        return Close(CloseCode.NO_STATUS, "")
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a close frame's body has 0 or 2+ bytes")
    (code,) = struct.unpack_from("!H", payload)
    if not _may_be_received(code):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"close code {code} is not allowed")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.INVALID_DATA, "the close reason is not UTF-8") from None


def _may_be_received(code: int) -> bool:
    # 1004 to 1006 and 1015 are reserved (RFC 6455 §7.4.1); 1012 to 1014 were registered later.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _bytes(payload: object) -> bytes:
    """wsproto's payloads: bytes, but str where it has checked UTF-8."""
    if isinstance(payload, str):
        return payload.encode()
    assert isinstance(payload, bytes | bytearray)
    return bytes(payload)
