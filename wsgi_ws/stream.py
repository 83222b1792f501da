# SPDX-License-Identifier: Apache-2.0
"""The global stream in Redis: follow it without a gap, through outages; read ranges of any stream.

Knows Redis, but not what an entry means or who wants it. Positions are always concrete IDs: `$`
would skip what is written between two reads.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

import gevent
import redis
from gevent.event import Event

from wsgi_ws.redis_client import StreamClient
from wsgi_ws.stream_id import ZERO, StreamId

log = logging.getLogger(__name__)

RawEntry = tuple[bytes, Sequence[bytes]]  # ID; name, value, name, … as Redis sends them
PAGE = 1000  # entries per XRANGE or XREVRANGE: about 300 KB, a few milliseconds to parse

RETRY_DELAY_MIN, RETRY_DELAY_MAX = 0.1, 5.0  # seconds
READ_MARGIN = 5.0  # seconds that a blocking read may last beyond its BLOCK before it counts as dead


class StreamFollower:
    """Reads the global stream on a connection of its own; one greenlet runs `run` for ever."""

    def __init__(
        self,
        client: StreamClient,
        key: str,
        *,
        count: int,
        block_ms: int,
        on_start: Callable[[Sequence[RawEntry], StreamId], None],
        on_entries: Callable[[Sequence[RawEntry]], None],
        history_pages: int,
    ) -> None:
        """
        :param key: name of the global stream.
        :param on_start: gets the newest entries of the past and the position where following
            starts; called once, before any `on_entries`.
        :param on_entries: gets each batch of new entries; must not wait for anything but the loop.
        :param history_pages: how many pages of the past `on_start` gets at most.
        """
        self.connected = Event()
        self._client = client
        self._key = key
        self._count = count
        self._block_ms = block_ms
        self._on_start = on_start
        self._on_entries = on_entries
        self._history_pages = history_pages
        self._position: bytes | None = None
        self._delay = RETRY_DELAY_MIN

    def run(self) -> None:
        """Follow until killed. Outages are logged once each and retried with growing delays."""
        while True:
            try:
                if self._position is None:
                    self._start()
                self._follow()
            except (redis.RedisError, OSError) as error:
                self._note_outage(error)
                gevent.sleep(self._delay * random.uniform(0.5, 1.0))
                self._delay = min(self._delay * 2, RETRY_DELAY_MAX)

    def _start(self) -> None:
        past = newest_entries(self._client, self._key, self._history_pages)
        position = past[-1][0] if past else bytes(ZERO)
        self._on_start(past, StreamId.parse(position))
        self._position = position
        self._note_connected()

    def _follow(self) -> None:
        while True:
            reply = self._client.execute_command(
                *("XREAD", "COUNT", self._count, "BLOCK", self._block_ms),
                *("STREAMS", self._key, self._position),
            )
            if not self.connected.is_set():
                self._note_connected()
            if reply:
                entries = reply[0][1]
                self._on_entries(entries)
                self._position = entries[-1][0]

    def _note_connected(self) -> None:
        log.info("following stream %s from %s", self._key, (self._position or b"").decode())
        self._delay = RETRY_DELAY_MIN
        self.connected.set()

    def _note_outage(self, error: Exception) -> None:
        if self.connected.is_set() or self._delay == RETRY_DELAY_MIN:
            log.error("Redis can't be read (%s); sockets stay open, retrying until it can", error)
        self.connected.clear()


def newest_entries(client: StreamClient, key: str, pages: int) -> list[RawEntry]:
    """The newest entries of a stream, ascending, at most `pages` times `PAGE` and at least one."""
    entries: list[RawEntry] = []
    end = b"+"
    for _ in range(max(1, pages)):
        count = PAGE if pages else 1
        page = client.execute_command("XREVRANGE", key, end, "-", "COUNT", count)
        # The end of a range is included ("(id" needs Redis 6.2): the first one is known already.
        entries += page[1:] if entries else page
        if len(page) < count:
            break
        end = page[-1][0]
    entries.reverse()
    return entries
