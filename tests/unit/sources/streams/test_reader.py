# SPDX-License-Identifier: Apache-2.0
"""What a blocking read sends to Redis."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from wsgi_ws.sources.streams import reader as module
from wsgi_ws.sources.streams.reader import BlockingReader


class Wire:
    """Keeps what is sent."""

    def __init__(self, client: object) -> None:
        self.sent = b""

    def check_master(self) -> None:
        pass

    def send_packed(self, command: bytes) -> None:
        self.sent += command


def test_a_read_asks_for_what_follows_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(None)
    monkeypatch.setattr(module, "RedisWire", lambda _: wire)
    reader = BlockingReader(None)  # type: ignore[arg-type]
    expected = b""
    for key, position, count, block_ms in (
        ("full", b"0-0", 100, 1),
        ("full", b"1796068884145-12", 100, 5000),  # only the position differs from …
        ("full", b"1796068884146-0", 100, 5000),  # … this one
        ("Schlüssel", b"7-0", 4000, 5000),
    ):
        reader.ask(key, position, count=count, block_ms=block_ms)
        words: Any = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", key, position)
        expected += hiredis.pack_command(words)
    assert wire.sent == expected
