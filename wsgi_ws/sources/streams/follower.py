# SPDX-License-Identifier: Apache-2.0
"""The global stream in Redis: follow it without a gap, through outages.

Knows Redis, but not what an entry means or who wants it. Positions are always concrete IDs: `$`
would skip what is written between two reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import gevent
import redis

from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.sources.link import Link
from wsgi_ws.sources.page_size import PageSize
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.redis_replies import is_cut_off, is_forbidden
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams.entry import RawEntry
from wsgi_ws.sources.streams.history import ENTRY_OVERHEAD_BYTES
from wsgi_ws.sources.streams.reader import BlockingReader
from wsgi_ws.sources.streams.trimming import SHORT, TrimWatch

log = logging.getLogger(__name__)

# Entries at most, where they are not heavy.
COUNT_MAX = 4000  # per read under a backlog: some 2 MB
PAGE = 1000  # per XRANGE or XREVRANGE: about 300 KB, a few milliseconds to parse

# How far back to look after an outage: a Sentinel makes an old master a replica within some 20 s.
LOOK_BEHIND_MS = 60_000
HEAD_START = 2.0  # seconds: a worker accepts nobody sooner unless the first read has succeeded
ALIKE_INTERVAL = 60.0  # seconds between two log lines of one kind
POLL_INTERVAL = 0.1  # seconds between two reads of a service whose reads don't wait
HASTY_READS = 3  # without entries, one after the other, before it is said of a service
READ_MARGIN = 5.0  # seconds that a blocking read may last beyond its BLOCK before it counts as dead


class Sink(Protocol):
    """Whom a follower tells what it has read."""

    def start(self, past: Sequence[RawEntry], position: StreamId) -> None:
        """The newest entries of the past, and the position where following starts.

        Called first, and again when the IDs in Redis went backwards.
        """

    def deliver(self, entries: Sequence[RawEntry]) -> None:
        """New entries, in order. Must not wait for anything but the loop."""

    def unseen(self, entries: Sequence[RawEntry]) -> list[RawEntry]:
        """Those of the entries that have not been delivered. May give way to the loop.

        :param entries: ascending.
        """

    def gap(self, position: StreamId, oldest: StreamId) -> None:
        """Entries between `position` and `oldest` may have gone before they could be read."""


class StreamFollower:
    """Reads the global stream on a connection of its own; one greenlet runs `run` for ever."""

    def __init__(
        self,
        client: redis.Redis,
        key: str,
        sink: Sink,
        link: Link,
        *,
        count: int,
        block_ms: int,
        history_bytes: int,
        clock: RedisClock,
        reach_ms: int,
    ) -> None:
        """
        :param key: name of the global stream.
        :param reach_ms: how much of the past is due to sockets that come before the first read.
        :param history_bytes: about how much of the past the sink gets, with what an entry costs
            besides its data; at least one entry.
        """
        self.caught_up = False  # whether the last read brought all that there was
        self._link = link
        self._client = client
        self._key = key
        self._sink = sink
        self._count = count
        self._block_ms = block_ms
        self._history_bytes = history_bytes
        self._clock = clock
        self._reach_ms = reach_ms
        self._position: bytes | None = None
        self._last: RawEntry | None = None  # at the position, unless that is a made-up one
        self._trimming = TrimWatch()
        self._waits_since = time.monotonic()  # for the first read
        self._pace = _Pace()
        self._limiter = LogLimiter(ALIKE_INTERVAL)
        self._size = PageSize()
        self._risked = 0  # entries asked for at once in a large reply that has not come yet

    def run(self) -> None:
        """Follow until killed. Outages are logged once each and retried with growing delays."""
        while True:
            try:
                if self._position is None:
                    self._start()
                else:
                    self._check(self._position)
                    self._look_behind(self._position)
                self._follow()
            except (redis.RedisError, OSError) as error:
                self.caught_up = False
                self._link.down(error)
                self._note_refusal(error)
                self._client.connection_pool.disconnect()  # none of them is to be trusted now
            else:
                continue
            self._link.pause()

    def _start(self) -> None:
        past = self._newest_entries()  # before TIME: who may not read needs no word about the clock
        now = StreamId(self._clock.read(self._time()), 0)
        waited = time.monotonic() - self._waits_since
        if waited < HEAD_START:
            self._begin(past)
            return
        # Redis was not there at first, and sockets have been held: they get what came since, and
        # what was due to them when they came.
        since = now.earlier(int(waited * 1000) + self._reach_ms)
        older = [entry for entry in past if StreamId.parse(entry[0]) < since]
        self._begin(older, since.predecessor() if past else ZERO)

    def _time(self) -> Any:
        """Redis's reply to TIME, or its error: the clock can do without."""
        try:
            return self._client.execute_command("TIME")
        except redis.ResponseError as error:
            return error

    def _begin(self, past: Sequence[RawEntry], beginning: StreamId = ZERO) -> None:
        """:param beginning: where to begin when there is no past."""
        position = past[-1][0] if past else bytes(beginning)
        self._sink.start(past, StreamId.parse(position))
        self._position = position
        self._last = past[-1] if past else None
        self._trimming.begin(StreamId.parse(position))

    def _check(self, position: bytes) -> None:
        """After an outage, and when nothing comes: is it still the stream that was followed?"""
        at = StreamId.parse(position)
        if at == ZERO:
            return
        newest = self._client.execute_command("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        if not newest or StreamId.parse(newest[0][0]) < at:
            self._restart_behind(at, "ends before the last ID read (Redis flushed or restored?)")

    def _look_behind(self, position: bytes) -> None:
        """After an outage: is there anything before the last ID read that was not there then?

        At a fail-over the old master may still be written to and read from here for a while, so
        that its IDs run ahead of what others have meanwhile written to the new one.

        Usually one entry tells, and live events do not have to wait. A server has its entries in
        the order of their IDs, whether it has written them itself or got them from its master. What
        it has before an entry that was read, here or from its master, was there before that one.
        """
        if self._last and self._is_there(self._last):
            return
        at = StreamId.parse(position)
        for page in self._pages(position, bytes(at.earlier(LOOK_BEHIND_MS))):
            if self._sink.unseen(page[::-1]):
                self._restart_behind(at, "was written to before the last ID read (fail-over?)")
                return

    def _is_there(self, entry: RawEntry) -> bool:
        entry_id, _ = entry
        found = self._client.execute_command("XREVRANGE", self._key, entry_id, entry_id)
        return list(found) == [entry]

    def _restart_behind(self, position: StreamId, what: str) -> None:
        """There are IDs before the last one read that were not there then: Redis was flushed or
        restored, or another server has taken over. What was not delivered yet is delivered."""
        past = self._newest_entries()
        unseen = self._sink.unseen(past)
        log.warning(
            "stream %s %s, %s: going on from its end, delivering the %d entries not seen yet",
            *(self._key, what, position, len(unseen)),
        )
        if unseen:
            self._sink.deliver(unseen)
        self._begin(past)

    def _newest_entries(self) -> list[RawEntry]:
        """The newest entries, ascending, as many as the history can keep."""
        entries: list[RawEntry] = []
        size = 0
        for page in self._pages(b"+", b"-"):
            entries += page
            size += _weight(page)
            if size >= self._history_bytes:  # 0: one entry, for its ID
                break
        entries.reverse()
        return entries

    def _pages(self, end: bytes, start: bytes) -> Iterator[Sequence[RawEntry]]:
        """The entries between two IDs, the newest first, in pages that are not empty.

        The first has one entry: whatever that weighs, Redis will send it.
        """
        count = 1
        while True:
            self._risked = count if count > 1 else 0
            page = self._client.execute_command("XREVRANGE", self._key, end, start, "COUNT", count)
            self._note_page(len(page), _weight(page))
            if page:
                yield page
            if len(page) < count:
                return
            # Without this one ("(id" needs Redis 6.2).
            end = bytes(StreamId.parse(page[-1][0]).predecessor())
            count = self._size.entries(PAGE)

    def _note_page(self, entries: int, size_bytes: int) -> None:
        self._risked = 0
        self._size.came(entries, size_bytes, time.monotonic())

    def _look_for_gap(self, reader: BlockingReader, entries: Sequence[RawEntry]) -> None:
        """Is anything gone that was between the position and these entries, which follow it?

        A stream that has been trimmed and one that was deleted and written to anew look alike.

        They have been read, so the answer is no older than they are: what is still there now was
        there then. They have not been handed out yet, so live sockets go back to just the position.
        """
        at = StreamId.parse(self._position or bytes(ZERO))
        first = StreamId.parse(entries[0][0])
        try:
            found = reader.oldest(self._key)
        except redis.ResponseError as error:
            if is_forbidden(error):  # which `Permissions` tells of
                return
            raise
        oldest = StreamId.parse(found[0][0]) if found else first
        self._trimming.looked(oldest, at)
        # Nothing is known to have been at a made-up position, so that its absence says nothing.
        if oldest > at and (self._last or len(entries) >= SHORT):
            self._limiter.write(
                *(log.error, "gap", time.monotonic()),
                "stream %s begins after the last ID read, %s: it was flushed, or Redis restarted "
                "without its data, or it was trimmed; then its limit "
                "(GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT_FIREHOSE) is too small for the rate of "
                "events, or this worker stood still",
                *(self._key, at),
            )
            self._sink.gap(at, first)

    def _follow(self) -> None:
        reader = BlockingReader(self._client)
        try:
            self._read_on(reader)
        finally:
            reader.close()

    def _read_on(self, reader: BlockingReader) -> None:
        count = self._size.entries(self._count)
        self._risked = count
        self._ask(reader, count, block_ms=1)  # the first answer shows whether reading works at all
        first = True
        while True:
            entries = reader.take()
            self._note_page(len(entries), reader.reply_bytes)
            if not self._link.connected.is_set():
                self._note_connected()
            backlog = len(entries) == count
            if entries and (first or backlog or self._trimming.doubts(len(entries))):
                self._look_for_gap(reader, entries)
            first = first and not entries
            if backlog:
                # There is more. Redis prepares it while this is handed out, and larger batches cost
                # less per entry. An error here loses nothing: the position is still the old one.
                count = self._size.entries(min(2 * count, max(self._count, COUNT_MAX)))
                self._risked = count
                self._ask(reader, count, entries[-1][0], block_ms=1)  # or nobody knows it was all
            self.caught_up = not backlog
            if entries:
                self._sink.deliver(entries)
                self._position = entries[-1][0]
                self._last = entries[-1]
                self._trimming.read(len(entries))
            else:
                if self._position is not None and self._pace.check_is_due():
                    self._check(self._position)
                self._pace.wait()
            if not backlog:
                count = self._size.entries(self._count)
                self._ask(reader, count)

    def _ask(
        self,
        reader: BlockingReader,
        count: int,
        position: bytes | None = None,
        block_ms: int | None = None,
    ) -> None:
        position = position or self._position or bytes(ZERO)
        block_ms = block_ms or self._block_ms
        reader.ask(self._key, position, count=count, block_ms=block_ms)
        self._pace.asked(block_ms)

    def _note_connected(self) -> None:
        if self._link.up():
            log.info("following stream %s from %s", self._key, (self._position or b"").decode())

    def _note_refusal(self, error: Exception) -> None:
        """Was the connection closed in place of a large reply? If so, ask for less."""
        asked, self._risked = self._risked, 0
        if not asked or not is_cut_off(error):
            return
        self._size.refused(asked, time.monotonic())
        if asked == 1:
            self._note_immense_event()
            return
        self._limiter.write(
            *(log.warning, "refused", time.monotonic()),
            "the connection to Redis was closed in place of a reply with up to %d entries: if that "
            "is Redis's client-output-buffer-limit (normal) or maxmemory-clients, it is small for "
            "these events; asking for %d at a time now",
            *(asked, self._size.entries(asked)),
        )

    def _note_immense_event(self) -> None:
        """Nothing less can be asked for, and it can't be passed over either."""
        self._limiter.write(
            *(log.error, "immense", time.monotonic()),
            "the connection to Redis was closed in place of one event, the one after %s of stream "
            "%s: raise Redis's client-output-buffer-limit (normal) or maxmemory-clients above its "
            "size; no events are delivered until then",
            *((self._position or b"").decode(), self._key),
        )


class _Pace:
    """Keeps reads apart that should have waited for entries and did not.

    BLOCK means nothing to some services and proxies that speak Redis's protocol. Without a pause
    the next read would follow at once.
    """

    def __init__(self) -> None:
        self._asked_at = self._checked_at = time.monotonic()
        self._block = 0.0
        self._hasty = 0
        self._told = False

    def asked(self, block_ms: int) -> None:
        """A read has begun that should wait for so long."""
        self._asked_at = time.monotonic()
        self._block = block_ms / 1000

    def check_is_due(self) -> bool:
        """After a read without entries: is the last check as old as a read should be?"""
        now = time.monotonic()
        if now - self._checked_at < self._block / 2:
            return False
        self._checked_at = now
        return True

    def wait(self) -> None:
        """After a read without entries: wait in its place if it has not."""
        waited = time.monotonic() - self._asked_at
        # A server's clock need not be exact, and a millisecond is soon over.
        if waited >= self._block / 2 or self._block < POLL_INTERVAL / 10:
            self._hasty = 0
            return
        self._hasty += 1
        if self._hasty == HASTY_READS and not self._told:
            self._told = True
            log.warning(
                "Redis does not wait for events when it is asked to (XREAD with BLOCK %d answers "
                "after %.0f ms, redisStreamReadBlockMs has no effect): asking every %.0f ms",
                *(self._block * 1000, waited * 1000, POLL_INTERVAL * 1000),
            )
        gevent.sleep(max(0.0, min(POLL_INTERVAL, self._block) - waited))


def _weight(entries: Sequence[RawEntry]) -> int:
    """Bytes of some entries, with what each costs besides."""
    return sum([sum(map(len, fields)) + ENTRY_OVERHEAD_BYTES for _, fields in entries])
