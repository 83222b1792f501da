# SPDX-License-Identifier: Apache-2.0
"""One connection for following a stream: XREAD with BLOCK."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any

import hiredis
import redis

from wsgi_ws.sources.redis_replies import MalformedReply, entries_of, stream_of
from wsgi_ws.sources.redis_wire import RedisWire
from wsgi_ws.sources.stream_id import follows


class BlockingReader:
    """XREAD on one connection that nobody else uses, in two steps: `ask`, and later `take`.

    Redis can fill the next reply while the last one is worked on. After an error the reader is of
    no use any more.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Connect.

        :param client: whose server to read, with its `socket_timeout` as the longest silence.
        :raises redis.RedisError: when that doesn't work.
        """
        self._wire = RedisWire(client)
        self._asked_after: deque[bytes] = deque()

    @property
    def reply_bytes(self) -> int:
        """Of the last reply: none is asked for before the last one has come."""
        return self._wire.reply_bytes

    def ask(self, key: str, position: bytes, *, count: int, block_ms: int) -> None:
        """Send a command for the entries of a stream after `position`.

        :raises redis.RedisError: when the master has moved.
        :raises OSError: when it can't be sent.
        """
        self._wire.check_master()
        self._wire.send_packed(
            b"%b$%d\r\n%b\r\n" % (_xread(key, count, block_ms), len(position), position)
        )
        self._asked_after.append(position)

    def take(self) -> Any:
        """The entries that were asked for, oldest first; empty when none came in time.

        :raises redis.RedisError: Redis answers with an error, or with something else.
        :raises OSError: the connection is lost, or silent for too long.
        """
        entries = stream_of(self._wire.reply())
        position = self._asked_after.popleft()
        if entries and not follows(entries[0][0], position):
            raise MalformedReply("entries from before the position that was asked for")
        return entries

    def oldest(self, key: str) -> Any:
        """The oldest entry of a stream, in a sequence; empty when there is none.

        Only between `take` and the next `ask`.

        :raises redis.RedisError: also OSError, as `take`.
        """
        self._wire.send(("XRANGE", key, "-", "+", "COUNT", 1))
        return entries_of(self._wire.reply())

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()


@lru_cache(maxsize=16)
def _xread(key: str, count: int, block_ms: int) -> bytes:
    """The command but for the position, its eighth and last word: all that reads differ in."""
    seven: Any = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", key)
    packed: bytes = hiredis.pack_command(seven)
    return b"*8" + packed.removeprefix(b"*7")
