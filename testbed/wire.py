# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client that can misbehave: hand-made bytes on a bare TCP connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from testbed.servers import DEADLINE
from testbed.superset import cookie, new_channel

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3
MASK = b"\x37\xfa\x21\x3d"


class ServerFrame(NamedTuple):
    """A frame that the server sent."""

    opcode: int
    payload: bytes


class Response(NamedTuple):
    """Status and headers (lower case) of an HTTP response."""

    status: int
    headers: dict[str, str]


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    announced: int | None = None,
) -> bytes:
    """A client's frame.

    :param rsv: the three reserved bits as a number.
    :param mask: None for an unmasked frame.
    :param announced: the length in the head, if it is to differ from the payload's.
    """
    first = fin << 7 | rsv << 4 | opcode
    head = struct.pack("!B", first) + length(
        len(payload) if announced is None else announced, masked=mask is not None
    )
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """RFC 6455 §5.3: each byte XOR the mask's byte whose turn it is."""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return number.to_bytes(len(payload), "big")


def length(size: int, *, masked: bool = True) -> bytes:
    """The payload length of a frame's head (RFC 6455 §5.2), in its shortest form."""
    bit = masked << 7
    if size < 126:
        return struct.pack("!B", bit | size)
    if size < 1 << 16:
        return struct.pack("!BH", bit | 126, size)
    return struct.pack("!BQ", bit | 127, size)


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def request(
    *,
    path: str = "/",
    method: str = "GET",
    http: str = "HTTP/1.1",
    without: Iterable[str] = (),
    extra: Iterable[str] = (),
    **changed: str,
) -> bytes:
    """The bytes of an opening handshake of an admitted client, or of one that breaks a rule.

    :param without: names of headers left out.
    :param extra: more header lines.
    :param changed: other values of headers, `Sec_WebSocket_Key="…"`.
    """
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Cookie": cookie(new_channel()),
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in without]
    return "\r\n".join([f"{method} {path} {http}", *lines, *extra, "", ""]).encode()


def frame_at(received: bytes, start: int = 0) -> tuple[ServerFrame, int] | None:
    """A server's frame among received bytes, checked for what every frame of a server must be, and
    where it ends; None until all of it has come."""
    payload = start + 2
    if len(received) < payload:
        return None
    first, size = received[start], received[start + 1]
    assert first & 0x70 == 0, "no extension is negotiated: the reserved bits are zero (§5.2)"
    assert first & 0x80, "this server does not fragment"
    assert size & 0x80 == 0, "a server must not mask (§5.1)"
    if size >= 126:
        payload += 2 if size == 126 else 8
        size = int.from_bytes(received[start + 2 : payload], "big")
    end = payload + size
    if len(received) < end:  # as it is when the length itself is not complete
        return None
    return ServerFrame(first & 0x0F, received[payload:end]), end


class Wire:
    """One TCP connection to a server on the loopback interface."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self) -> Response:
        """The HTTP response's head."""
        while b"\r\n\r\n" not in self._received:
            more = self.socket.recv(65536)
            assert more, f"the connection ended within the response: {self._received!r}"
            self._received += more
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return Response(int(status.split()[1]), {k.lower(): v.strip() for k, v in pairs})

    def receive(self) -> ServerFrame:
        """The next frame that is no ping: the server's heartbeat may come at any time."""
        while True:
            while (found := frame_at(self._received)) is None:
                more = self.socket.recv(65536)
                assert more, f"the connection ended with {self._received!r}"
                self._received += more
            received, end = found
            self._received = self._received[end:]
            if received.opcode != PING:
                return received

    def close_code(self) -> int | None:
        """Expect a close frame, then the end of the stream; the frame's code if it has one."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, f"frame {opcode:#x} {payload!r} instead of a close"
        assert len(payload) != 1
        assert len(payload) <= 125, "§5.5"
        payload[2:].decode()  # §5.5.1: the reason is UTF-8
        self.expect_end()
        return int(struct.unpack("!H", payload[:2])[0]) if payload else None

    def expect_end(self) -> None:
        """Expect that nothing comes any more and the server has ended its half of TCP."""
        rest = self._received + self.socket.recv(65536)
        assert rest == b"", f"{rest!r} instead of the end of the stream"

    def ping(self, payload: bytes = b"still here?") -> None:
        """Expect a pong next: so what came before was accepted, and answered with nothing."""
        self.send(frame(PING, payload))
        assert self.receive() == (PONG, payload)

    def is_cut(self) -> bool:
        """Whether TCP refuses what is sent (a pong, which is nothing to answer): to be polled."""
        try:
            self.send(frame(PONG))
        except (BrokenPipeError, ConnectionResetError):
            return True
        return False


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    """A bare connection."""
    wire = Wire(port)
    with wire.socket:
        yield wire


@contextmanager
def websocket(port: int) -> Iterator[Wire]:
    """A connection whose opening handshake is done."""
    with wire(port) as client:
        client.send(request())
        assert client.response().status == 101
        yield client
