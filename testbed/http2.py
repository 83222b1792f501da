# SPDX-License-Identifier: Apache-2.0
"""As much of HTTP/2 (RFC 9113) as it takes to open a WebSocket on it (RFC 8441).

One stream per connection, short messages, no flow control: for tests of a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

DATA, HEADERS, SETTINGS = 0x0, 0x1, 0x4
ACK, END_HEADERS = 0x1, 0x4
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441 §3
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STATUS_200 = 0x88  # HPACK's index of `:status: 200` in its static table (RFC 7541, appendix A)
STREAM = 1


def offers_websockets(connection: ssl.SSLSocket) -> bool:
    """Begin HTTP/2 on a connection: whether the server's settings permit a WebSocket on it."""
    connection.sendall(PREFACE + _frame(SETTINGS, 0, 0, b""))
    while True:
        kind, flags, _, payload = _read_frame(connection)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(_frame(SETTINGS, ACK, 0, b""))
            pairs = (payload[at : at + 6] for at in range(0, len(payload), 6))
            values = {int.from_bytes(p[:2], "big"): int.from_bytes(p[2:], "big") for p in pairs}
            return bool(values.get(ENABLE_CONNECT_PROTOCOL))


class WebSocketStream:
    """A WebSocket on a stream of HTTP/2."""

    def __init__(
        self, connection: ssl.SSLSocket, host: str, path: str, headers: Mapping[str, str]
    ) -> None:
        """Open it.

        :param headers: names in lower case.
        """
        assert offers_websockets(connection)
        self._connection = connection
        asked = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": path,
            ":authority": host,
            "sec-websocket-version": "13",
        }
        block = b"".join(_literal(name, value) for name, value in {**asked, **headers}.items())
        connection.sendall(_frame(HEADERS, END_HEADERS, STREAM, block))
        answer = self._next(HEADERS)
        assert answer[0] == STATUS_200, answer

    def receive(self) -> bytes:
        """What has come on the stream next: bytes of WebSocket frames."""
        return self._next(DATA)

    def _next(self, wanted: int) -> bytes:
        while True:
            kind, _, stream, payload = _read_frame(self._connection)
            if (kind, stream) == (wanted, STREAM):
                return payload


def _literal(name: str, value: str) -> bytes:
    """A field without index and Huffman's code (RFC 7541 §6.2.2)."""
    return b"\0" + b"".join(_integer(len(text)) + text.encode() for text in (name, value))


def _integer(number: int) -> bytes:
    """With a prefix of seven bits (RFC 7541 §5.1)."""
    if number < 127:
        return bytes([number])
    encoded, number = [127], number - 127
    while number >= 128:
        encoded.append(number % 128 + 128)
        number //= 128
    return bytes([*encoded, number])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def _read_frame(connection: ssl.SSLSocket) -> tuple[int, int, int, bytes]:
    head = _read(connection, 9)
    payload = _read(connection, int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload


def _read(connection: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        assert piece, "the server has closed"
        data += piece
    return data
