# SPDX-License-Identifier: Apache-2.0
"""RFC 6455, one case per MUST of its sections 4 to 8 that concerns a server.

Hand-made bytes over real sockets against the real server. Data messages get no answer from it, so
"accepted" means that a ping sent afterwards is what is answered next.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from testbed.servers import RedisServer, Server, eventually
from testbed.wire import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Wire,
    close_frame,
    frame,
    request,
    websocket,
    wire,
)

CONTROL_OPCODES = (CLOSE, PING, PONG)
CLOSE_TIMEOUT_MS = 500


@pytest.fixture(scope="module")
def port(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one server for all: no case may harm it."""
    environ = {"CLOSE_TIMEOUT_MS": str(CLOSE_TIMEOUT_MS)}
    server = Server(tmp_path_factory.mktemp("server"), redis_server.port, environ=environ)
    try:
        (worker,) = server.pids()
        yield server.port
        assert server.pids() == [worker]
        assert "Traceback" not in server.log_text()
    finally:
        server.stop()


@pytest.fixture
def client(port: int) -> Iterator[Wire]:
    """An open WebSocket."""
    with websocket(port) as client:
        yield client


def status(port: int, handshake: bytes) -> int:
    """The HTTP status that a handshake is answered with."""
    with wire(port) as client:
        client.send(handshake)
        return client.response().status


# --- §4.2.1 what the client's handshake must be ---------------------------------------------------

GOOD_HANDSHAKES = {
    "as in the RFC": request(),
    "any path": request(path="/ws/deep?last_id=1-0&x=%20"),
    "Upgrade in another case": request(Upgrade="WebSocket"),
    "Upgrade in a list": request(Upgrade="h2c, websocket"),
    "Connection in another case": request(Connection="uPGRADE"),
    "Connection in a list": request(Connection="keep-alive, Upgrade"),
    "Connection in a list without spaces": request(Connection="keep-alive,Upgrade"),
    "Connection in two lines": request(Connection="keep-alive", extra=["Connection: Upgrade"]),
    "header names in another case": request(
        without=["Sec-WebSocket-Key", "Upgrade"],
        extra=[f"SEC-WEBSOCKET-KEY: {KEY}", "upgrade: websocket"],
    ),
    "spaces around values": request(
        Sec_WebSocket_Key=f"  {KEY}\t", Sec_WebSocket_Version=" 13 ", Upgrade=" websocket "
    ),
    "unknown headers": request(extra=["X-Anything: 1", "Sec-WebSocket-Future: 2"]),
}


@pytest.mark.parametrize("handshake", GOOD_HANDSHAKES.values(), ids=GOOD_HANDSHAKES.keys())
def test_4_2_1_a_correct_handshake_is_accepted(port: int, handshake: bytes) -> None:
    assert status(port, handshake) == 101


BAD_HANDSHAKES = {
    "1: POST": request(method="POST"),
    "1: HEAD": request(method="HEAD"),
    "1: HTTP/1.0": request(http="HTTP/1.0"),
    "2: no Host": request(without=["Host"]),
    "4: no Connection": request(without=["Connection"]),
    "4: Connection without the token": request(Connection="keep-alive"),
    "4: Connection with a longer token": request(Connection="Upgraded"),
    "5: no key": request(without=["Sec-WebSocket-Key"]),
    "5: an empty key": request(Sec_WebSocket_Key=""),
    "5: a key of 15 bytes": request(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"),
    "5: a key of 17 bytes": request(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAA="),
    "5: a key that is not base64": request(Sec_WebSocket_Key="*" * 24),
    "11.3.1: two keys": request(extra=[f"Sec-WebSocket-Key: {KEY}"]),
}


@pytest.mark.parametrize("handshake", BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES.keys())
def test_4_2_1_an_incorrect_handshake_is_answered_with_an_http_error(
    port: int, handshake: bytes
) -> None:
    assert 400 <= status(port, handshake) < 500


@pytest.mark.parametrize("upgrade", ["", "websockets", "h2c"])
def test_4_2_1_without_the_upgrade_token_it_is_a_plain_request(port: int, upgrade: str) -> None:
    assert status(port, request(Upgrade=upgrade)) == 404


# --- §4.2.2 and §4.4 the server's answer ----------------------------------------------------------


def test_4_2_2_the_answer_is_101_with_upgrade_connection_and_accept(port: int) -> None:
    with wire(port) as client:
        client.send(request())
        code, headers = client.response()
    assert code == 101
    assert headers["upgrade"].lower() == "websocket"
    assert headers["connection"].lower() == "upgrade"
    assert headers["sec-websocket-accept"] == ACCEPT


def test_4_2_2_no_extension_and_no_subprotocol_is_selected(port: int) -> None:
    with wire(port) as client:
        client.send(
            request(
                Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits, x-other",
                Sec_WebSocket_Protocol="chat, superchat",
            )
        )
        code, headers = client.response()
        assert code == 101
        assert "sec-websocket-extensions" not in headers
        assert "sec-websocket-protocol" not in headers
        client.ping()


@pytest.mark.parametrize("version", ["", "0", "8", "12", "14", "130", "13, 8", "thirteen"])
def test_4_4_another_version_is_refused_with_426_naming_13(port: int, version: str) -> None:
    with wire(port) as client:
        client.send(request(Sec_WebSocket_Version=version))
        code, headers = client.response()
    assert (code, headers["sec-websocket-version"]) == (426, "13")


def test_4_4_a_missing_version_is_refused_with_426_naming_13(port: int) -> None:
    with wire(port) as client:
        client.send(request(without=["Sec-WebSocket-Version"]))
        code, headers = client.response()
    assert (code, headers["sec-websocket-version"]) == (426, "13")


@pytest.mark.parametrize(
    "cut", [0, 1, 2, 8, -1], ids=["all", "1 byte", "head", "8 bytes", "all but one"]
)
def test_4_2_2_frames_that_come_with_the_handshake_are_not_lost(port: int, cut: int) -> None:
    ping = frame(PING, b"early")
    with wire(port) as client:
        client.send(request() + ping[: cut or None])
        assert client.response().status == 101
        client.send(ping[cut or len(ping) :])
        assert client.receive() == (PONG, b"early")


def test_4_2_2_a_close_that_comes_with_the_handshake_is_answered(port: int) -> None:
    with wire(port) as client:
        client.send(request() + close_frame(1000))
        assert client.response().status == 101
        assert client.close_code() == 1000


# --- §5.1 and §5.3 masking ------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_5_1_an_unmasked_frame_fails_the_connection(client: Wire, opcode: int) -> None:
    client.send(frame(opcode, mask=None))
    assert client.close_code() == 1002


@pytest.mark.parametrize("mask", [bytes(4), b"\xff" * 4, b"\x00\x01\x02\x03", b"\x80\x00\x00\x00"])
def test_5_3_any_mask_is_taken_off(client: Wire, mask: bytes) -> None:
    client.send(frame(PING, b"0123456789", mask=mask))
    assert client.receive() == (PONG, b"0123456789")


# --- §5.2 framing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("rsv", range(1, 8))
def test_5_2_reserved_bits_fail_the_connection(client: Wire, rsv: int, opcode: int) -> None:
    client.send(frame(opcode, rsv=rsv))
    assert client.close_code() == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
@pytest.mark.parametrize("payload", [b"", b"x" * 20], ids=["empty", "20 bytes"])
def test_5_2_reserved_opcodes_fail_the_connection(
    client: Wire, opcode: int, payload: bytes
) -> None:
    client.send(frame(opcode, payload))
    assert client.close_code() == 1002


OVERLONG = {
    "125 in 16 bits": b"\x82\xfe" + struct.pack("!H", 125),
    "125 in 64 bits": b"\x82\xff" + struct.pack("!Q", 125),
    "65535 in 64 bits": b"\x82\xff" + struct.pack("!Q", 65535),
    "the highest bit of 64": b"\x82\xff" + struct.pack("!Q", 1 << 63),
}


@pytest.mark.parametrize("head", OVERLONG.values(), ids=OVERLONG.keys())
def test_5_2_a_length_not_in_its_shortest_form_fails_the_connection(
    client: Wire, head: bytes
) -> None:
    client.send(head + b"mask")
    assert client.close_code() == 1002


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 4096])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_2_each_form_of_length_is_understood(client: Wire, opcode: int, size: int) -> None:
    client.send(frame(opcode, b"x" * size))
    client.ping()


STREAM = (
    frame(TEXT, "ä".encode())
    + frame(BINARY, b"ab", fin=False)
    + frame(PING, b"p")
    + frame(CONTINUATION, b"c")
    + frame(CLOSE, struct.pack("!H", 3456))
)


def test_5_2_frames_are_understood_byte_by_byte(client: Wire) -> None:
    for position in range(len(STREAM)):
        client.send(STREAM[position : position + 1])
    assert client.receive() == (PONG, b"p")
    assert client.close_code() == 3456


@pytest.mark.parametrize("position", range(1, len(STREAM)))
def test_5_2_frames_are_understood_at_any_split(client: Wire, position: int) -> None:
    client.send(STREAM[:position])
    client.send(STREAM[position:])
    assert client.receive() == (PONG, b"p")
    assert client.close_code() == 3456


# --- §5.4 fragmentation ---------------------------------------------------------------------------

FRAGMENTED = {
    "two": [frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b")],
    "three": [
        frame(BINARY, b"a", fin=False),
        frame(CONTINUATION, b"b", fin=False),
        frame(CONTINUATION, b"c"),
    ],
    "empty": [frame(TEXT, fin=False), frame(CONTINUATION, fin=False), frame(CONTINUATION)],
    "within a character": [
        frame(TEXT, "€".encode()[:1], fin=False),
        frame(CONTINUATION, "€".encode()[1:]),
    ],
    "two messages": [
        *(frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b")),
        *(frame(BINARY, b"\xff", fin=False), frame(CONTINUATION, b"\xff")),
    ],
}


@pytest.mark.parametrize("parts", FRAGMENTED.values(), ids=FRAGMENTED.keys())
def test_5_4_fragmented_messages_are_accepted(client: Wire, parts: list[bytes]) -> None:
    client.send(b"".join(parts))
    client.ping()


@pytest.mark.parametrize("parts", FRAGMENTED.values(), ids=FRAGMENTED.keys())
def test_5_4_control_frames_may_come_between_fragments(client: Wire, parts: list[bytes]) -> None:
    for part in parts:
        client.send(part)
        client.ping()


def test_5_4_a_close_may_come_between_fragments(client: Wire) -> None:
    client.send(frame(TEXT, b"a", fin=False) + close_frame(1001))
    assert client.close_code() == 1001


OUT_OF_ORDER = {
    "a continuation of nothing": frame(CONTINUATION, b"a"),
    "an unfinished continuation of nothing": frame(CONTINUATION, b"a", fin=False),
    "a continuation after the end": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c")
    ),
    "a new text within a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "a new binary within a message": frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"),
    "a new fragment within a message": frame(BINARY, fin=False) + frame(BINARY, fin=False),
}


@pytest.mark.parametrize("data", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER.keys())
def test_5_4_fragments_out_of_order_fail_the_connection(client: Wire, data: bytes) -> None:
    client.send(data)
    assert client.close_code() == 1002


# --- §5.5 control frames --------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_5_5_control_frames_over_125_bytes_fail_the_connection(client: Wire, opcode: int) -> None:
    client.send(frame(opcode, b"\x03\xe8" + b"x" * 124))
    assert client.close_code() == 1002


@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_5_5_fragmented_control_frames_fail_the_connection(client: Wire, opcode: int) -> None:
    client.send(frame(opcode, fin=False))
    assert client.close_code() == 1002


@pytest.mark.parametrize("size", [0, 1, 124, 125])
def test_5_5_3_a_ping_is_answered_with_the_same_payload(client: Wire, size: int) -> None:
    payload = os.urandom(size)
    client.send(frame(PING, payload))
    assert client.receive() == (PONG, payload)


def test_5_5_3_pings_are_answered_in_order(client: Wire) -> None:
    payloads = [str(number).encode() for number in range(20)]
    client.send(b"".join(frame(PING, payload) for payload in payloads))
    assert [client.receive() for _ in payloads] == [(PONG, payload) for payload in payloads]


@pytest.mark.parametrize("payload", [b"", b"unasked", b"x" * 125], ids=["empty", "text", "125"])
def test_5_5_3_an_unsolicited_pong_is_ignored(client: Wire, payload: bytes) -> None:
    client.send(frame(PONG, payload))
    client.ping()


# --- §5.5.1, §7.1 and §7.4 closing ----------------------------------------------------------------

CODES_ALLOWED = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
CODES_FORBIDDEN = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", CODES_ALLOWED)
def test_5_5_1_a_close_is_answered_with_its_code_and_the_end_of_tcp(
    client: Wire, code: int
) -> None:
    client.send(close_frame(code, "grüß Gott".encode()))
    assert client.close_code() == code


def test_5_5_1_a_close_without_a_body_is_answered(client: Wire) -> None:
    client.send(close_frame())
    assert client.close_code() is None


def test_5_5_1_a_reason_of_123_bytes_is_accepted(client: Wire) -> None:
    client.send(close_frame(1000, b"x" * 123))
    assert client.close_code() == 1000


def test_5_5_1_a_body_of_one_byte_fails_the_connection(client: Wire) -> None:
    client.send(frame(CLOSE, b"\x03"))
    assert client.close_code() == 1002


@pytest.mark.parametrize("code", CODES_FORBIDDEN)
def test_7_4_a_code_that_must_not_be_sent_fails_the_connection(client: Wire, code: int) -> None:
    client.send(close_frame(code))
    assert client.close_code() == 1002


AFTER_CLOSE = {
    "a ping": frame(PING, b"late"),
    "a message": frame(TEXT, b"late"),
    "another close": close_frame(3001),
    "garbage": b"\xff" * 40,
}


@pytest.mark.parametrize("data", AFTER_CLOSE.values(), ids=AFTER_CLOSE.keys())
def test_5_5_1_nothing_is_processed_after_a_close(client: Wire, data: bytes) -> None:
    client.send(close_frame(3000) + data)
    assert client.close_code() == 3000


def test_7_1_1_both_halves_of_tcp_are_closed_after_the_answer(client: Wire) -> None:
    client.send(close_frame(1000))
    assert client.close_code() == 1000
    eventually(client.is_cut, "the server's side of TCP is gone")


BROKEN = {
    "a broken rule": frame(TEXT, mask=None),
    "a broken rule, then more": frame(TEXT, mask=None) + b"\x00" * 50_000,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_7_1_7_a_failed_client_that_stays_is_cut(client: Wire, data: bytes) -> None:
    client.send(data)
    assert client.close_code() == 1002
    eventually(client.is_cut, "the server's side of TCP is gone")


def test_7_1_7_nothing_is_processed_after_a_broken_rule(client: Wire) -> None:
    client.send(frame(PING, b"before") + frame(TEXT, rsv=1) + frame(PING, b"behind"))
    assert client.receive() == (PONG, b"before")
    assert client.close_code() == 1002


def test_7_1_2_a_client_that_does_not_answer_a_close_is_cut(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(environ={"CLOSE_TIMEOUT_MS": str(CLOSE_TIMEOUT_MS)})
    with websocket(server.port) as client:
        server.process.terminate()
        opcode, payload = client.receive()
        while opcode == PING:  # its turn may come just then
            opcode, payload = client.receive()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1001))
        eventually(client.is_cut, "the server's side of TCP is gone")


def test_7_1_2_the_server_keeps_tcp_until_its_close_is_answered(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(environ={"CLOSE_TIMEOUT_MS": "60000"})
    with websocket(server.port) as client:
        server.process.terminate()
        assert client.receive().opcode == CLOSE
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.setblocking(True)
        client.send(close_frame(1001))
        client.expect_end()


def test_7_2_1_a_client_that_just_goes_away_is_no_problem(port: int) -> None:
    with websocket(port) as client:
        client.send(frame(TEXT, b"half", announced=100))
        client.socket.shutdown(socket.SHUT_WR)
        client.expect_end()


# --- §8.1 UTF-8, §5.6 data ------------------------------------------------------------------------

INVALID_UTF8 = {
    "a lone continuation byte": b"a\x80b",
    "a byte that never occurs": b"\xff",
    "a character cut at the end": "€".encode()[:2],
    "an overlong slash": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
}


@pytest.mark.parametrize("text", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_8_1_a_text_that_is_not_utf8_fails_the_connection(client: Wire, text: bytes) -> None:
    client.send(frame(TEXT, text))
    assert client.close_code() == 1007


@pytest.mark.parametrize("text", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_8_1_a_fragmented_text_that_is_not_utf8_fails_the_connection(
    client: Wire, text: bytes
) -> None:
    client.send(frame(TEXT, text[:1], fin=False) + frame(CONTINUATION, text[1:]))
    assert client.close_code() == 1007


@pytest.mark.parametrize("reason", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_8_1_a_close_reason_that_is_not_utf8_fails_the_connection(
    client: Wire, reason: bytes
) -> None:
    client.send(close_frame(1000, reason))
    assert client.close_code() == 1007


@pytest.mark.parametrize("data", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
def test_5_6_binary_messages_may_hold_anything(client: Wire, data: bytes) -> None:
    client.send(frame(BINARY, data))
    client.ping()


# --- §10.4 limits ---------------------------------------------------------------------------------

LIMIT = 4096
TOO_BIG = {
    "one frame": frame(BINARY, bytes(LIMIT + 1)),
    "one frame, by its head alone": frame(TEXT, announced=LIMIT + 1),
    "a frame of 2⁶² bytes": frame(BINARY, announced=1 << 62),
    "fragments, together": (
        frame(BINARY, bytes(LIMIT), fin=False) + frame(CONTINUATION, bytes(1), fin=False)
    ),
    "fragments, by the last one's head": (
        frame(BINARY, bytes(LIMIT), fin=False) + frame(CONTINUATION, announced=1)
    ),
}


@pytest.mark.parametrize("data", TOO_BIG.values(), ids=TOO_BIG.keys())
def test_10_4_a_message_over_the_limit_fails_the_connection(client: Wire, data: bytes) -> None:
    client.send(data)
    assert client.close_code() == 1009


def test_10_4_a_message_at_the_limit_is_accepted(client: Wire) -> None:
    client.send(
        frame(BINARY, bytes(LIMIT - 1), fin=False) + frame(PONG) + frame(CONTINUATION, bytes(1))
    )
    client.ping()
