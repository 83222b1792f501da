# SPDX-License-Identifier: Apache-2.0
"""RFC 6455's frame layer: what it accepts, what it refuses, and that neither depends on how the
bytes are cut. A second implementation, the `websockets` package, is the witness.
"""

from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedOK
from websockets.frames import Frame as WitnessFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from wsgi_ws.websocket.allowance import Allowance
from wsgi_ws.websocket.frames import (
    CONTROL_PAYLOAD_MAX,
    Close,
    CloseCode,
    Data,
    Frame,
    FrameReader,
    Ping,
    Pong,
    ProtocolError,
    binary_frame,
    close_frame,
    parse_close,
    ping_frame,
    ping_of,
    pong_frame,
    text_frame,
)

LIMIT = 200  # bytes of a message, for the readers here
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x5a\x00\xff\x37"


def from_client(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = MASK, rsv: int = 0
) -> bytes:
    """A client's frame, encoded as the RFC's picture has it (§5.2)."""
    size = len(payload)
    if size <= 125:
        length = bytes([0x80 | size])
    elif size <= 0xFFFF:
        length = b"\xfe" + struct.pack("!H", size)
    else:
        length = b"\xff" + struct.pack("!Q", size)
    masked = bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + mask + masked


def unlimited() -> Allowance:
    return Allowance(max_frames=0, max_bytes=0)


Outcome = tuple[list[Frame], CloseCode | None]


def outcome(pieces: list[bytes], limit: int = LIMIT) -> Outcome:
    """What a new reader makes of the pieces: frames, and the error's code if there is one."""
    reader = FrameReader(limit)
    frames: list[Frame] = []
    try:
        for piece in pieces:
            for frame in reader.feed(piece, unlimited()):
                frames.append(frame)
            if frames and isinstance(frames[-1], Close):
                break  # a reader must not be fed after it
    except ProtocolError as error:
        return frames, error.code
    return frames, None


def read(data: bytes, limit: int = LIMIT) -> list[Frame]:
    frames, error = outcome([data], limit)
    assert error is None
    return frames


def refusal(*pieces: bytes, limit: int = LIMIT) -> CloseCode | None:
    return outcome(list(pieces), limit)[1]


# --- inbound: what is accepted -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (from_client(TEXT, "héllo".encode()), Data("héllo".encode(), is_text=True)),
        (from_client(TEXT), Data(b"", is_text=True)),
        (from_client(BINARY, b"\x00\xff"), Data(b"\x00\xff", is_text=False)),
        (from_client(PING), Ping(b"")),
        (from_client(PING, b"x" * 125), Ping(b"x" * 125)),
        (from_client(PONG, b"abc"), Pong(b"abc")),
        (from_client(CLOSE), Close(CloseCode.NO_STATUS, "")),
        (from_client(CLOSE, b"\x03\xe8bye"), Close(1000, "bye")),
    ],
)
def test_a_frame_is_read(data: bytes, frame: Frame) -> None:
    assert read(data) == [frame]


def test_fragments_come_out_as_one_message() -> None:
    data = (
        from_client(TEXT, b"a", fin=False)
        + from_client(CONTINUATION, b"b", fin=False)
        + from_client(CONTINUATION, b"c")
    )
    assert read(data) == [Data(b"abc", is_text=True)]


def test_a_character_may_be_split_between_fragments() -> None:
    data = from_client(TEXT, b"\xc3", fin=False) + from_client(CONTINUATION, b"\xa9")
    assert read(data) == [Data("é".encode(), is_text=True)]


def test_a_ping_between_fragments_is_answered_first() -> None:
    data = (
        from_client(BINARY, b"a", fin=False)
        + from_client(PING, b"now")
        + from_client(CONTINUATION, b"b")
    )
    assert read(data) == [Ping(b"now"), Data(b"ab", is_text=False)]


def test_a_message_of_exactly_the_limit_is_read() -> None:
    assert read(from_client(BINARY, b"x" * LIMIT)) == [Data(b"x" * LIMIT, is_text=False)]


def test_the_limit_is_per_message_not_per_connection() -> None:
    assert len(read(from_client(BINARY, b"x" * LIMIT) * 3)) == 3


def test_control_frames_do_not_count_against_a_messages_limit() -> None:
    data = (
        from_client(BINARY, b"x" * 8, fin=False)
        + from_client(PING, b"y" * 125)
        + from_client(CONTINUATION, b"x" * 2)
    )
    assert read(data, limit=10) == [Ping(b"y" * 125), Data(b"x" * 10, is_text=False)]


# --- inbound: what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x01a", id="not masked"),
        pytest.param(from_client(TEXT, b"a", rsv=1), id="RSV3"),
        pytest.param(from_client(TEXT, b"a", rsv=2), id="RSV2"),
        pytest.param(from_client(TEXT, b"a", rsv=4), id="RSV1, no extension was agreed"),
        pytest.param(from_client(PING, rsv=4), id="RSV1 on a ping"),
        *(pytest.param(from_client(code), id=f"opcode {code}") for code in (3, 4, 5, 6, 7)),
        *(pytest.param(from_client(code), id=f"opcode {code}") for code in range(11, 16)),
        pytest.param(from_client(PING, fin=False), id="a fragmented ping"),
        pytest.param(from_client(CLOSE, fin=False), id="a fragmented close"),
        pytest.param(from_client(PING, b"x" * 126), id="a ping of 126 bytes"),
        pytest.param(from_client(CLOSE, b"\x03\xe8" + b"x" * 124), id="a close of 126 bytes"),
        pytest.param(b"\x82\xfe\x00\x7d" + MASK, id="125 written in two bytes"),
        pytest.param(b"\x82\xff" + struct.pack("!Q", 65535) + MASK, id="65535 in eight bytes"),
        pytest.param(b"\x82\xff" + struct.pack("!Q", 1 << 63) + MASK, id="a negative length"),
        pytest.param(from_client(CONTINUATION, b"a"), id="a continuation of nothing"),
        pytest.param(
            from_client(TEXT, b"a", fin=False) + from_client(TEXT, b"b"),
            id="a message inside a message",
        ),
        pytest.param(from_client(CLOSE, b"\x03"), id="a close of one byte"),
        pytest.param(from_client(CLOSE, b"\x03\xed"), id="a close with code 1005"),
    ],
)
def test_a_broken_rule_is_a_protocol_error(data: bytes) -> None:
    assert refusal(data) is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82"],
)
def test_text_that_is_not_utf8_is_invalid_data(text: bytes) -> None:
    assert refusal(from_client(TEXT, text)) is CloseCode.INVALID_DATA


def test_text_that_is_not_utf8_is_refused_before_the_message_ends() -> None:
    assert refusal(from_client(TEXT, b"\xff", fin=False)) is CloseCode.INVALID_DATA


def test_a_close_reason_that_is_not_utf8_is_invalid_data() -> None:
    assert refusal(from_client(CLOSE, b"\x03\xe8\xff")) is CloseCode.INVALID_DATA


def test_a_message_over_the_limit_is_refused_when_its_head_announces_it() -> None:
    head = from_client(BINARY, b"x" * (LIMIT + 1))[:8]
    assert refusal(head) is CloseCode.TOO_BIG


def test_a_message_over_the_limit_is_refused_also_when_it_comes_in_one_piece() -> None:
    assert refusal(from_client(BINARY, b"x" * (LIMIT + 1))) is CloseCode.TOO_BIG


def test_fragments_that_add_up_to_more_than_the_limit_are_refused() -> None:
    first = from_client(BINARY, b"x", fin=False)
    more = from_client(CONTINUATION, b"x", fin=False)
    assert refusal(first, *[more] * LIMIT) is CloseCode.TOO_BIG


def test_fragments_without_content_do_not_pile_up() -> None:
    reader = FrameReader(LIMIT)
    list(reader.feed(from_client(BINARY, b"", fin=False), unlimited()))
    empty = from_client(CONTINUATION, b"", fin=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            list(reader.feed(empty, unlimited()))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 50_000


def test_frames_before_the_broken_rule_are_still_delivered() -> None:
    data = from_client(PING, b"a") + from_client(PING, fin=False)
    assert outcome([data]) == ([Ping(b"a")], CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("what", [from_client(PING), b"\x81\x00", b"\xff" * 20])
def test_what_follows_a_close_frame_is_not_looked_at(what: bytes) -> None:
    assert read(from_client(CLOSE) + what) == [Close(CloseCode.NO_STATUS, "")]


# --- inbound: how much a client may send ---------------------------------------------------------


def frames_left_after(*pieces: bytes) -> int:
    allowance = Allowance(max_frames=10, max_bytes=0)
    reader = FrameReader(LIMIT)
    for piece in pieces:
        list(reader.feed(piece, allowance))
    return allowance.frames_left


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        pytest.param([from_client(PING) * 3], 7, id="pings"),
        pytest.param([from_client(TEXT, b"a") * 2], 8, id="messages"),
        pytest.param([from_client(TEXT, fin=False), from_client(CONTINUATION)], 8, id="fragments"),
        pytest.param([from_client(TEXT, b"a")[:2]] * 1, 9, id="half a head"),
        pytest.param([b"\x81", b"\x81", MASK, b"a"], 6, id="bytes that complete nothing"),
    ],
)
def test_what_a_client_sends_is_counted(pieces: list[bytes], left: int) -> None:
    assert frames_left_after(*pieces) == left


def test_the_frame_beyond_the_count_is_a_policy_violation() -> None:
    allowance = Allowance(max_frames=2, max_bytes=0)
    frames = FrameReader(LIMIT).feed(from_client(PING) * 3, allowance)
    assert [next(frames), next(frames)] == [Ping(b"")] * 2
    with pytest.raises(ProtocolError) as caught:
        next(frames)
    assert caught.value.code is CloseCode.POLICY_VIOLATION


# --- inbound: any input, any split ---------------------------------------------------------------

MASKS = st.binary(min_size=4, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Frame]]:
    """Bytes of a well-behaved client and the frames that they are."""
    data = b""
    frames: list[Frame] = []

    def control() -> None:
        nonlocal data
        payload = draw(st.binary(max_size=125))
        opcode = draw(st.sampled_from([PING, PONG]))
        data += from_client(opcode, payload, mask=draw(MASKS))
        frames.append(Ping(payload) if opcode == PING else Pong(payload))

    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            control()
            continue
        is_text = draw(st.booleans())
        payload = (
            draw(st.text(max_size=50)).encode() if is_text else draw(st.binary(max_size=LIMIT))
        )
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        edges = [0, *cuts, len(payload)]
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            opcode = CONTINUATION if number else TEXT if is_text else BINARY
            last = number == len(edges) - 2
            data += from_client(opcode, payload[start:end], fin=last, mask=draw(MASKS))
            if not last and draw(st.booleans()):
                control()
        frames.append(Data(payload, is_text))
    if draw(st.booleans()):
        reason = draw(st.text(max_size=30))
        data += from_client(CLOSE, struct.pack("!H", 1000) + reason.encode(), mask=draw(MASKS))
        frames.append(Close(1000, reason))
    return data, frames


@st.composite
def plausible_garbage(draw: st.DrawFn) -> bytes:
    """Frames of a client that breaks every rule now and then."""
    data = b""
    for _ in range(draw(st.integers(1, 6))):
        data += from_client(
            draw(st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 3, 15])),
            draw(st.binary(max_size=8) | st.binary(min_size=120, max_size=260)),
            fin=draw(st.booleans()),
            mask=draw(MASKS),
            rsv=draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 4])),
        )
    return data[: draw(st.integers(0, len(data)))]


GARBAGE = st.binary(max_size=300) | plausible_garbage()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


CUTS = st.lists(st.integers(0, 900), max_size=12)


@given(conversations(), CUTS)
def test_frames_are_the_same_however_the_bytes_are_cut(
    conversation: tuple[bytes, list[Frame]], cuts: list[int]
) -> None:
    data, frames = conversation
    assert outcome(cut(data, cuts)) == (frames, None)


@given(conversations())
def test_frames_are_the_same_when_bytes_come_one_by_one(
    conversation: tuple[bytes, list[Frame]],
) -> None:
    data, frames = conversation
    assert outcome([data[i : i + 1] for i in range(len(data))]) == (frames, None)


@given(GARBAGE, CUTS)
@example(from_client(BINARY, b"x" * (LIMIT + 1)), [8])
@example(from_client(TEXT, b"\xff" * (LIMIT + 1)), [8])
def test_garbage_has_the_same_outcome_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    assert outcome(cut(data, cuts)) == outcome([data])


@given(GARBAGE, CUTS)
def test_garbage_gives_frames_or_a_protocol_error_and_never_another_exception(
    data: bytes, cuts: list[int]
) -> None:
    frames, _ = outcome(cut(data, cuts))
    assert all(isinstance(frame, Ping | Pong | Close | Data) for frame in frames)


@given(GARBAGE, CUTS)
def test_no_message_is_ever_larger_than_the_limit(data: bytes, cuts: list[int]) -> None:
    frames, _ = outcome(cut(data, cuts))
    sizes = [len(frame.payload) for frame in frames if isinstance(frame, Data)]
    assert max(sizes, default=0) <= LIMIT


@given(st.binary(max_size=LIMIT), MASKS)
def test_unmasking_agrees_with_another_implementation(payload: bytes, mask: bytes) -> None:
    assert read(from_client(BINARY, payload, mask=mask)) == [Data(payload, is_text=False)]


@given(st.sampled_from([Opcode.BINARY, Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
def test_another_implementations_frames_are_understood(opcode: Opcode, payload: bytes) -> None:
    frames: dict[Opcode, Frame] = {
        Opcode.BINARY: Data(payload, is_text=False),
        Opcode.PING: Ping(payload),
        Opcode.PONG: Pong(payload),
    }
    expected = frames[opcode]
    assert read(WitnessFrame(opcode, payload).serialize(mask=True)) == [expected]


# --- when a reader can be thrown away ------------------------------------------------------------


@given(conversations())
def test_a_reader_is_at_rest_after_whole_messages(
    conversation: tuple[bytes, list[Frame]],
) -> None:
    reader = FrameReader(LIMIT)
    list(reader.feed(conversation[0], unlimited()))
    assert reader.at_rest


def test_a_new_reader_is_at_rest() -> None:
    assert FrameReader(LIMIT).at_rest


@pytest.mark.parametrize("length", range(1, len(from_client(TEXT, b"abc"))))
def test_a_reader_is_not_at_rest_inside_a_frame(length: int) -> None:
    reader = FrameReader(LIMIT)
    list(reader.feed(from_client(TEXT, b"abc")[:length], unlimited()))
    assert not reader.at_rest


def test_a_reader_is_not_at_rest_between_fragments() -> None:
    reader = FrameReader(LIMIT)
    list(reader.feed(from_client(TEXT, b"abc", fin=False), unlimited()))
    assert not reader.at_rest


# --- close codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
)
def test_a_close_code_that_may_be_on_the_wire_is_taken(code: int) -> None:
    assert parse_close(struct.pack("!H", code)) == Close(code, "")


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
)
def test_a_close_code_that_must_not_be_on_the_wire_is_a_protocol_error(code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_close(struct.pack("!H", code))
    assert caught.value.code is CloseCode.PROTOCOL_ERROR


def test_the_error_names_the_close_code() -> None:
    with pytest.raises(ProtocolError, match="1006"):
        parse_close(struct.pack("!H", 1006))


@given(st.binary(max_size=125))
def test_any_body_of_a_close_frame_gives_a_close_or_a_protocol_error(body: bytes) -> None:
    try:
        result: object = parse_close(body)
    except ProtocolError as error:
        result = error
    assert isinstance(result, Close | ProtocolError)


# --- outbound: the witness understands it --------------------------------------------------------


def witness(data: bytes) -> list[WitnessFrame]:
    """What another implementation's client makes of the server's bytes."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None or isinstance(client.parser_exc, ConnectionClosedOK)
    return [event for event in client.events_received() if isinstance(event, WitnessFrame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_a_text_frame_of_any_size_is_understood(size: int) -> None:
    assert witness(text_frame(b"x" * size)) == [WitnessFrame(Opcode.TEXT, b"x" * size)]


@pytest.mark.parametrize(("size", "head"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_a_length_is_written_in_the_shortest_form(size: int, head: int) -> None:
    assert len(text_frame(b"x" * size)) == head + size


@given(st.binary(max_size=300))
def test_a_binary_frame_is_understood(payload: bytes) -> None:
    assert witness(binary_frame(payload)) == [WitnessFrame(Opcode.BINARY, payload)]


@given(st.binary(max_size=125))
def test_a_pong_carries_the_pings_payload(payload: bytes) -> None:
    assert witness(pong_frame(payload)) == [WitnessFrame(Opcode.PONG, payload)]


def test_a_ping_carries_its_time() -> None:
    (ping,) = witness(ping_frame(12.5))
    assert (ping.opcode, ping_of(bytes(ping.data))) == (Opcode.PING, 12.5)


def test_several_frames_in_a_row_are_told_apart() -> None:
    frames = witness(text_frame(b"a") + ping_frame(1.0) + text_frame(b"b"))
    assert [frame.data for frame in frames] == [b"a", ping_frame(1.0)[2:], b"b"]


@pytest.mark.parametrize(
    "frame",
    [text_frame(b"a"), binary_frame(b"a"), pong_frame(b"a"), ping_frame(1.0), close_frame(1000)],
)
def test_a_server_never_masks(frame: bytes) -> None:
    assert not frame[1] & 0x80


def test_a_close_frame_carries_code_and_reason() -> None:
    assert witness(close_frame(1001, "bye")) == [WitnessFrame(Opcode.CLOSE, b"\x03\xe9bye")]


def test_a_close_frame_without_status_has_no_body() -> None:
    assert close_frame(CloseCode.NO_STATUS, "ignored") == b"\x88\x00"


@given(st.text(max_size=200))
@example("é" * 62)  # its 124 bytes don't fit, and the limit cuts a character in two
def test_a_close_reason_is_cut_between_characters_so_that_it_fits(reason: str) -> None:
    (frame,) = witness(close_frame(1000, reason))
    sent = bytes(frame.data)[2:]
    assert len(frame.data) <= CONTROL_PAYLOAD_MAX
    assert reason.startswith(sent.decode())
    assert len(sent) == len(reason.encode()) or len(sent) > CONTROL_PAYLOAD_MAX - 2 - 4
