# SPDX-License-Identifier: Apache-2.0
"""WebSocket clients for one event loop, cheap enough for a thousand of them to share a core."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from testbed.wire import CLOSE, PING, PONG, TEXT, close_frame, frame, frame_at

SLOW_PAUSE = 0.5  # seconds between two reads of a slow reader
SLOW_BUFFER = 4096  # bytes that its kernel takes in advance
# Of its TCP connection: the server's kernel then buffers some KiB for it instead of some MiB.
SLOW_SEGMENT = 536
# Of <linux/in.h>; the socket module has it from Python 3.12 on. The port is chosen at connect(),
# when the kernel knows the other end: one port then serves for several destinations.
IP_BIND_ADDRESS_NO_PORT = 24


@dataclass
class Census:
    """What all clients together have seen since it was last asked.

    :ivar open: connections right now.
    :ivar latencies: from the producer's stamp to a client that reads: milliseconds.
    :ivar happened: connections, endings and misdeeds, since the start.
    """

    open: int = 0
    deliveries: int = 0
    latencies: list[float] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def take(self) -> tuple[int, list[float]]:
        """Deliveries and latencies since the last call."""
        taken = self.deliveries, self.latencies
        self.happened["delivered"] += self.deliveries
        self.deliveries, self.latencies = 0, []
        return taken


class Socket(asyncio.Protocol):
    """One connection, from its handshake to its end.

    :ivar status: of the answer to the handshake; 0 before.
    :ivar opened_ns: when it was admitted, by `time.monotonic_ns`.
    :ivar code: that the server closed it with; 0 until then.
    :ivar reason: likewise.
    """

    def __init__(
        self,
        census: Census,
        request: bytes,
        on_open: Callable[[], None],
        on_text: OnText,
    ) -> None:
        """:param request: the opening handshake."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_open = False
        self.status = 0
        self.opened_ns = 0
        self.code = 0
        self.reason = ""
        self.slow = False
        self._census = census
        self._request = request
        self._on_open = on_open
        self._on_text = on_text
        self._deaf = False
        self._received = b""
        self._transport: Any = None

    # --- what its owner does ---------------------------------------------------------------------

    def close(self, code: int | None = 1001) -> None:
        """Say goodbye; the server ends TCP."""
        self._transport.write(close_frame(code))

    def reset(self) -> None:
        """End TCP at once, with a reset."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def hang_up(self) -> None:
        """End TCP without a word, as a closed lid does when there is still time."""
        self._transport.close()

    def vanish(self) -> None:
        """Be gone without the server hearing of it: nothing counts, nothing is answered."""
        self._deaf = True
        self.is_open = False

    # --- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._census.open += 1
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._census.open -= 1
        self.is_open = False
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._received += data
        if not self.status and not self._take_answer():
            return
        self._take_frames()
        if self.slow:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(SLOW_PAUSE, self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _take_answer(self) -> bool:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        self.status = int(head[9:12])
        self._received = rest
        self._census.happened[f"answered {self.status}"] += 1
        if self.status != 101:
            self.hang_up()
            return False
        self.is_open = True
        self.opened_ns = time.monotonic_ns()
        self._on_open()
        return True

    def _take_frames(self) -> None:
        place = 0
        while not self._deaf and (found := frame_at(self._received, place)):
            (opcode, payload), place = found
            if opcode == TEXT:
                self._census.deliveries += 1
                self._on_text(self, payload)
            elif opcode == PING:
                self._transport.write(frame(PONG, payload))
            elif opcode == CLOSE:
                self._take_close(payload)
        self._received = self._received[place:]

    def _take_close(self, payload: bytes) -> None:
        self.is_open = False
        self.code = int.from_bytes(payload[:2], "big") if payload else 1005
        self.reason = payload[2:].decode()
        self._census.happened[f"closed {self.code}"] += 1
        self._transport.write(frame(CLOSE, payload[:2]))
        self._transport.close()


OnText: TypeAlias = "Callable[[Socket, bytes], None]"


async def open_socket(
    port: int,
    census: Census,
    request: bytes,
    on_open: Callable[[], None],
    on_text: OnText,
    *,
    slow: bool = False,
    source: str | None = None,
) -> Socket:
    """Connect and send the handshake.

    :param slow: it will read too little.
    :param source: the address to connect from. One has 28,000 ports for each destination.
    :raises OSError: when there is no connection.
    """
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    try:
        raw.setblocking(False)
        if slow:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SLOW_SEGMENT)
        if source is not None:
            raw.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            raw.bind((source, 0))
        await loop.sock_connect(raw, ("127.0.0.1", port))
        _, protocol = await loop.create_connection(
            lambda: Socket(census, request, on_open, on_text), sock=raw
        )
    except BaseException:
        raw.close()
        raise
    protocol.slow = slow
    return protocol
