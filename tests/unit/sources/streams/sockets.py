# SPDX-License-Identifier: Apache-2.0
"""Connections as catch-ups see them, without a socket."""

from __future__ import annotations

import json
import time

from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.websocket.closing import State


class Socket:
    """A connection whose client reads all at once, or nothing."""

    def __init__(self, channel: str = "c", *, reads: bool = True) -> None:
        self.channel = channel
        self.state = State.OPEN
        self.events_sent = 0
        self.backlog_bytes = 0
        self.chunks: list[bytes] = []
        self.closed_with: int | None = None
        self.reads = reads
        self.opened_at = time.monotonic()

    def send(self, chunk: bytes) -> None:
        if self.state is State.OPEN:
            self.chunks.append(chunk)
            if not self.reads:
                self.backlog_bytes += len(chunk)

    def close(self, code: int, reason: str) -> None:
        self.state, self.closed_with = State.CLOSING, code


def entry(number: int, size: int = 0, data: bytes | None = None, *, seq: int = 0) -> Entry:
    event = {"channel_id": "c", "job_id": f"{number}-{seq}", "errors": ["x" * size]}
    return Entry(StreamId(number, seq), "c", data or json.dumps(event).encode())
