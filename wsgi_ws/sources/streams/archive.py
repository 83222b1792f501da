# SPDX-License-Identifier: Apache-2.0
"""What is known of the past for a catch-up: the history's part, and from Redis all the rest.

Everything that a catch-up reads of Redis is read here, on a connection of its own, in portions that
have a bound in bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any

import redis

from wsgi_ws.event import MalformedEntry
from wsgi_ws.sources.page_size import PageSize
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.redis_replies import is_cut_off
from wsgi_ws.sources.redis_wire import Asked, Command
from wsgi_ws.sources.stream_id import MAX_SEQUENCE, ZERO, StreamId
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.entry import Entry, RawEntry
from wsgi_ws.sources.streams.follower import PAGE
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge, Place, Whose, Window
from wsgi_ws.superset.stream_names import channel_stream, global_stream

# How much of a channel's stream is read for a client at once. It gets the events of this part, and
# then the next part is read.
PART_BYTES = 2**20
# How much of the global stream is searched for what neither the history nor the channel's stream
# has any more: entries and bytes. A client may ask for it with any last_id it likes.
SEARCH_ENTRIES = 10_000
SEARCH_BYTES = 32 * 2**20
# How far the second half of an event is looked for behind the first. Nearly all come at once, and
# what is read at each step grows with the whole stream's rate.
REACHES_MS = (2, 20, 200, replay.TWIN_GRACE_MS)
WINDOWS = 256  # of the global stream, read in one round trip
ENTRIES_AT_LEAST = 8  # per client of a round trip: fewer clients rather than fewer entries
# For all clients of a round trip while nothing is known: 2 MB if they are events as Superset's.
FIRST_ENTRIES = 4096
_END = StreamId(MAX_SEQUENCE, MAX_SEQUENCE)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a channel's stream.

    :ivar end: all entries up to here are among them, and this is the end of a millisecond, since
        finer than that the IDs of two streams can't be compared; None at the end of the stream.
    """

    entries: Sequence[Entry]
    end: StreamId | None = None


@dataclass(slots=True)
class Snapshot:
    """What one round trip has read, for all of its clients.

    :ivar generation: the history's, before anything was read.
    :ivar now_ms: Redis's clock before that.
    :ivar pages: for each client the beginning of what it needs of its channel's stream, or why that
        can't be read. `Archive.next_part` takes them out one by one, so that what has been served
        needs no memory.
    :ivar count: how many entries a page has that is not the last one.
    :ivar newest: the global stream's newest ID, read last.
    :ivar existing: whether the global stream has an entry with an ID, as far as that was asked.
    :ivar tail: what has been searched of the global stream for one of the clients.
    """

    generation: int
    now_ms: int
    pages: deque[Sequence[RawEntry] | redis.ResponseError]
    count: int
    newest: StreamId
    existing: dict[StreamId, bool] = field(default_factory=dict)
    tail: _Backwards | None = None


class Archive:
    """The past as the history and Redis know it together."""

    def __init__(self, client: Asked, prefix: str, history: History, clock: RedisClock) -> None:
        """
        :param client: used by nobody else.
        :param prefix: of the streams' keys.
        """
        self._client = client
        self._prefix = prefix
        self._history = history
        self._clock = clock
        self._size = PageSize(FIRST_ENTRIES)
        self._global = _GlobalStream(client, global_stream(prefix), self._size)

    @property
    def clients_at_once(self) -> int:
        """How many clients one round trip may serve."""
        return max(1, self._size.entries(FIRST_ENTRIES) // ENTRIES_AT_LEAST)

    def snapshot(self, clients: Sequence[tuple[str, Place]]) -> Snapshot:
        """Read the streams of some clients: first the clock, last the global stream's end.

        The order makes the ages of entries right: see `replay.plan`.

        :param clients: channel and place of each.
        :raises redis.RedisError: also OSError, as everything here that reads Redis.
        """
        generation = self._history.generation
        count = self._size.entries_each(PAGE, len(clients))
        try:
            time_reply, *pages, newest = self._ask(clients, count)
        except (redis.ConnectionError, ConnectionError) as error:
            if is_cut_off(error):  # perhaps because of a large reply
                self._size.refused(count * len(clients), time.monotonic())
            raise
        if isinstance(newest, redis.RedisError):
            raise newest
        good_pages = [page for page in pages if not isinstance(page, redis.RedisError)]
        entries, size_bytes = sum(map(len, good_pages)), sum(map(_weight, good_pages))
        self._size.came(entries, size_bytes, time.monotonic())
        newest_id = StreamId.parse(newest[0][0]) if newest else ZERO
        return Snapshot(generation, self._clock.read(time_reply), deque(pages), count, newest_id)

    def next_part(
        self, channel: str, place: Place, snapshot: Snapshot, *, is_whole: bool = False
    ) -> Part:
        """What the next client of a snapshot needs of its channel's stream.

        Reads on until there is something behind the place, but not more than is good at once. That
        this is later than the end of the global stream in the snapshot does no harm: what is old by
        the snapshot's clock had its second half by then, and the rest is in flight.

        :param is_whole: read to the end of the stream.
        :raises redis.ResponseError: this stream can't be read.
        """
        page, count = snapshot.pages.popleft(), snapshot.count
        if isinstance(page, redis.ResponseError):
            raise page
        key = channel_stream(self._prefix, channel)
        entries, size = _of_channel(page, channel), _weight(page)
        while len(page) == count:
            last = StreamId.parse(page[-1][0])
            end = StreamId(last.ms, 0).predecessor()
            if size >= PART_BYTES and end > place.id and not is_whole:
                return Part(entries, end)
            count = self._size.entries(PAGE)
            page = _page(self._client, key, last.successor(), _END, count, self._size)
            entries += _of_channel(page, channel)
            size += _weight(page)
        return Part(entries)

    def knowledge(self, channel: str, place: Place, part: Part, snapshot: Snapshot) -> Knowledge:
        """What is known of the global stream for a client.

        The last step is a look into the history: until the caller lets other greenlets run, the
        answer has everything that was handed to live sockets.

        :param part: the client's part of the snapshot.
        """
        after = replay.look_back_from(place).predecessor()
        remembered = self._remembered(channel, after, part)
        exists = place.is_ours or _has(part.entries, place.id) or _has(remembered, place.id)
        if not exists:  # in this channel
            exists = self._exists(place.id, snapshot)
            remembered = self._remembered(channel, after, part)
        floor = self._history.floor
        if place.id > floor and not _alone(part.entries, remembered, floor):
            # A stream that has had nothing so far may be new, or emptied.
            return Knowledge(remembered, self._history.position != ZERO, exists)
        found = _by_id(remembered)
        continuous = self._search(channel, place, part, snapshot, found)
        return Knowledge(replay.in_order(found.values()), continuous, exists)

    def _ask(self, clients: Sequence[tuple[str, Place]], count: int) -> list[Any]:
        commands: list[Command] = [("TIME",)]
        for channel, place in clients:
            key = channel_stream(self._prefix, channel)
            start = bytes(replay.look_back_from(place))
            commands.append(("XRANGE", key, start, "+", "COUNT", count))
        commands.append(("XREVRANGE", self._global.key, "+", "-", "COUNT", 1))
        return self._client.ask(commands)

    def _remembered(self, channel: str, after: StreamId, part: Part) -> list[Entry]:
        entries = self._history.of_channel(channel, after)
        if part.end is None:
            return entries
        # Of what is behind the part, only the second halves of its last entries are of interest.
        end = StreamId(part.end.ms + replay.TWIN_GRACE_MS, MAX_SEQUENCE)
        return [entry for entry in entries if entry.id <= end]

    def _exists(self, last_id: StreamId, snapshot: Snapshot) -> bool:
        if last_id not in snapshot.existing:
            snapshot.existing[last_id] = bool(self._global.newest(last_id, last_id, 1))
        return snapshot.existing[last_id]

    # --- beyond the history ----------------------------------------------------------------------

    def _search(
        self,
        channel: str,
        place: Place,
        part: Part,
        snapshot: Snapshot,
        found: dict[StreamId, Entry],
    ) -> bool:
        """Add to `found` what the history does not have. Is nothing after the place missing then?

        This reads only the places of the global stream where the channel's entries must be, and
        what is newer than these if the history has forgotten that, too.
        """
        floor = self._history.floor
        # What is written in the snapshot's millisecond may be behind what it read of the channel.
        read_to = min(self._history.position, StreamId(snapshot.now_ms, 0).predecessor())
        continuous = True
        # A browser that has no place yet waits for nothing that its channel's stream has lost.
        if place.id <= floor and place.whose is not Whose.FIRST:
            lost, continuous = self._lost(channel, place.id, part.entries, snapshot)
            found.update(_by_id(lost))
        self._find_twins(channel, part.entries, floor, found)
        while read_to < self._history.floor:  # which goes on during the search
            start, read_to = read_to, self._history.floor
            found.update(_by_id(self._global.between(channel, start, read_to)))
            continuous = continuous and self._global.reaches(max(start, place.id))
        found.update(_by_id(self._history.of_channel(channel, read_to)))
        return continuous

    def _lost(
        self, channel: str, last_id: StreamId, channel_entries: Sequence[Entry], snapshot: Snapshot
    ) -> tuple[Sequence[Entry], bool]:
        """The channel's entries from `last_id` on whose twins the channel's stream may have lost.

        The search has a bound and begins with the newest. Clients whose channels have nothing, as
        on the morning after, need the same of the global stream: it is read once for them.

        :returns: the entries, and whether none is missing.
        """
        floor = self._history.floor
        end = max(last_id, min(floor, _end_of_first_twin(channel_entries)))
        if end == last_id:  # nothing can be missing but what is there at all
            return _back_to(last_id, channel, [self._global.newest(end, ZERO, 1)])
        if end < floor:
            return _back_to(last_id, channel, self._global.backwards(end))
        if snapshot.tail is None:
            snapshot.tail = self._global.backwards(end)
        lost, continuous = _back_to(last_id, channel, snapshot.tail)
        if snapshot.tail.end < end:  # it was read for another client, some time ago
            lost += self._global.between(channel, snapshot.tail.end.successor(), end)
            continuous = continuous and self._global.reaches(last_id)
        return lost, continuous

    def _find_twins(
        self,
        channel: str,
        channel_entries: Sequence[Entry],
        floor: StreamId,
        found: dict[StreamId, Entry],
    ) -> None:
        """Look further and further behind each entry that is alone for its second half, up to
        `floor`, and add what is there to `found`.

        All entries are matched anew each time: one that is alone could be matched by itself to the
        second half of another one that is alike.
        """
        for reach_ms in REACHES_MS:
            alone = _alone(channel_entries, replay.in_order(found.values()), floor)
            if not alone:
                return
            windows = replay.twin_windows(alone, reach_ms)
            clipped = [(start, min(end, floor)) for start, end in windows]
            found.update(_by_id(self._global.windows(channel, clipped, alone)))


class _GlobalStream:
    """Parts of the global stream in Redis, page by page."""

    def __init__(self, client: Asked, key: str, size: PageSize) -> None:
        self.key = key
        self._client = client
        self._size = size

    def newest(self, end: StreamId, start: StreamId, count: int) -> Sequence[RawEntry]:
        """The newest entries between two IDs, the newest first."""
        (page,) = _pages(
            self._client,
            [("XREVRANGE", self.key, bytes(end), bytes(start), "COUNT", count)],
            self._size,
        )
        return page

    def reaches(self, place: StreamId) -> bool:
        """Is an entry at or before a place still there? Trimming takes the oldest first, so what
        was read behind the place before this question was all there was."""
        return bool(self.newest(place, ZERO, 1))

    def backwards(self, end: StreamId) -> _Backwards:
        """The pages up to an ID, the newest first."""
        # A page has room for the last entry of the one before and for another.
        return _Backwards(self.newest, end, lambda: max(2, self._size.entries(PAGE)))

    def between(self, channel: str, start: StreamId, end: StreamId) -> Iterator[Entry]:
        """The channel's entries between two IDs, both included."""
        while start <= end:
            count = self._size.entries(PAGE)
            page = _page(self._client, self.key, start, end, count, self._size)
            yield from _of_channel(page, channel)
            if len(page) < count:
                break
            start = StreamId.parse(page[-1][0]).successor()

    def windows(
        self, channel: str, windows: Iterable[Window], copies: Iterable[Entry]
    ) -> Iterator[Entry]:
        """The channel's entries in some parts, many parts in one round trip.

        :param copies: entries of the channel that are likely to be there too.
        """
        waiting = deque(windows)
        by_data = {entry.data: entry for entry in copies}
        while waiting:
            batch = [waiting.popleft() for _ in range(min(WINDOWS, len(waiting)))]
            count = self._size.entries_each(PAGE, len(batch))
            commands: list[Command] = [
                ("XRANGE", self.key, bytes(start), bytes(end), "COUNT", count)
                for start, end in batch
            ]
            pages = _pages(self._client, commands, self._size)
            yield from _of_channel(chain.from_iterable(pages), channel, by_data)
            for (_, end), page in zip(batch, pages, strict=True):
                if len(page) == count:
                    waiting.append((StreamId.parse(page[-1][0]).successor(), end))


class _Backwards:
    """Pages of a stream from a place on back, each read when somebody needs it first.

    Each page but the first begins with the last entry of the one before.
    """

    def __init__(
        self,
        read: Callable[[StreamId, StreamId, int], Sequence[RawEntry]],
        end: StreamId,
        next_count: Callable[[], int],
    ) -> None:
        """
        :param read: gives the newest entries between two IDs, the newest first.
        :param next_count: how many entries to ask for now, at least two.
        """
        self.end = end
        self._read = read
        self._next_count = next_count
        self._pages: list[Sequence[RawEntry]] = []
        self._entries = self._bytes = 0
        self._is_complete = False  # nothing is left, or more is not searched

    def __iter__(self) -> Iterator[Sequence[RawEntry]]:
        number = 0
        while number < len(self._pages) or not self._is_complete:
            if number == len(self._pages):
                self._read_on()
            yield self._pages[number]
            number += 1

    def _read_on(self) -> None:
        end = StreamId.parse(self._pages[-1][-1][0]) if self._pages else self.end
        count = self._next_count()
        page = self._read(end, ZERO, count)
        self._pages.append(page)
        self._entries += len(page)
        self._bytes += _weight(page)
        self._is_complete = (
            len(page) < count or self._entries >= SEARCH_ENTRIES or self._bytes >= SEARCH_BYTES
        )


# --- helpers -------------------------------------------------------------------------------------


def _pages(client: Asked, commands: Sequence[Command], size: PageSize) -> list[Sequence[RawEntry]]:
    """What commands for entries of streams bring; `size` learns from it.

    :raises redis.RedisError: also OSError: one of them has failed.
    """
    pages = client.ask(commands)
    for page in pages:
        if isinstance(page, redis.RedisError):
            raise page
    size.came(sum(map(len, pages)), sum(map(_weight, pages)), time.monotonic())
    return pages


def _page(
    client: Asked, key: str, start: StreamId, end: StreamId, count: int, size: PageSize
) -> Sequence[RawEntry]:
    (page,) = _pages(client, [("XRANGE", key, bytes(start), bytes(end), "COUNT", count)], size)
    return page


def _weight(page: Sequence[RawEntry]) -> int:
    return sum([len(value) for _, fields in page for value in fields])


def _back_to(
    last_id: StreamId, channel: str, pages: Iterable[Sequence[RawEntry]]
) -> tuple[list[Entry], bool]:
    """The channel's entries in pages, the newest first, until one reaches `last_id`.

    :returns: the entries from `last_id` on, and whether something at or before it is still there:
        then the stream has not been trimmed past it.
    """
    entries: list[Entry] = []
    for page in pages:
        entries += [entry for entry in _of_channel(page, channel) if entry.id >= last_id]
        if page and StreamId.parse(page[-1][0]) <= last_id:
            return entries, True
    return entries, False


def _of_channel(
    page: Iterable[RawEntry], channel: str, copies: Mapping[bytes, Entry] = MappingProxyType({})
) -> list[Entry]:
    """The entries of a page that belong to the channel.

    :param copies: entries of the channel by their data: what is equal to one need not be parsed.
    """
    name, found = channel.encode(), []
    for raw in page:
        entry_id, fields = raw
        # Most of a piece of the global stream is others': not worth parsing. An escape may spell
        # the name in another way.
        text = fields[1] if len(fields) == 2 else b" ".join(fields)
        if name not in text and b"\\u" not in text:
            continue
        copy = copies.get(text)
        if copy is not None and fields[0] == b"data":
            found.append(copy.at(StreamId.parse(entry_id)))
            continue
        try:
            entry = Entry.parse(raw)
        except MalformedEntry:
            continue
        if entry.channel == channel:
            found.append(entry)
    return found


def _end_of_first_twin(channel_entries: Sequence[Entry]) -> StreamId:
    """Up to here, the twins of entries that the channel's stream has lost are looked for."""
    if not channel_entries:
        return _END
    return replay.twin_windows(channel_entries[:1], replay.TWIN_GRACE_MS)[0][1]


def _alone(
    channel_entries: Sequence[Entry], known: Sequence[Entry], floor: StreamId
) -> Sequence[Entry]:
    """The channel's entries whose twin may be one that the history has forgotten."""
    if not channel_entries or channel_entries[0].id.ms > floor.ms:
        return ()
    return [e for e in replay.without_twin(channel_entries, known) if e.id.ms <= floor.ms]


def _has(entries: Iterable[Entry], entry_id: StreamId) -> bool:
    return any(entry.id == entry_id for entry in entries)


def _by_id(entries: Iterable[Entry]) -> dict[StreamId, Entry]:
    return {entry.id: entry for entry in entries}
