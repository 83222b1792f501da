# SPDX-License-Identifier: Apache-2.0
"""What is known of the past for a catch-up: the history's part, and from Redis all the rest.

Everything that a catch-up reads of Redis is read here, on a connection of its own.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from wsgi_ws.event import MalformedEntry
from wsgi_ws.sources.redis_client import StreamClient, clock_ms
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.entry import Entry, RawEntry
from wsgi_ws.sources.streams.follower import PAGE
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Knowledge, Window
from wsgi_ws.sources.streams.stream_id import MAX_SEQUENCE, ZERO, StreamId
from wsgi_ws.superset.stream_names import channel_stream, global_stream

# How much of the global stream is searched for what neither the history nor the channel's stream
# has any more: pages. A client may ask for it with any last_id it likes.
SEARCH_PAGES = 10
# How far the second half of an event is looked for behind the first. Nearly all come at once, and
# what is read at each step grows with the whole stream's rate.
REACHES_MS = (20, 200, replay.TWIN_GRACE_MS)
WINDOWS = 32  # of the global stream, read in one round trip
_END = StreamId(MAX_SEQUENCE, MAX_SEQUENCE)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one round trip has read, for all of its clients.

    :ivar now_ms: Redis's clock before that.
    :ivar channels: for each client its channel's stream; taken out by the catch-up one by one, so
        that what has been served needs no memory.
    :ivar newest: the global stream's newest ID, read last.
    :ivar existing: whether the global stream has an entry with an ID, as far as that was asked.
    """

    now_ms: int
    channels: deque[Sequence[Entry]]
    newest: StreamId
    existing: dict[StreamId, bool] = field(default_factory=dict)


class Archive:
    """The past as the history and Redis know it together."""

    def __init__(self, client: StreamClient, prefix: str, history: History) -> None:
        """
        :param client: used by nobody else.
        :param prefix: of the streams' keys.
        """
        self._client = client
        self._prefix = prefix
        self._history = history
        self._global = _GlobalStream(client, global_stream(prefix))

    def snapshot(self, clients: Sequence[tuple[str, StreamId]]) -> Snapshot:
        """Read the streams of some clients: first the clock, last the global stream's end.

        The order makes the ages of entries right: see `replay.plan`.

        :param clients: channel and last_id of each.
        :raises redis.RedisError: also OSError, as everything here that reads Redis.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("TIME")
        for channel, last_id in clients:
            key = channel_stream(self._prefix, channel)
            start = bytes(replay.look_back_from(last_id))
            pipe.execute_command("XRANGE", key, start, "+", "COUNT", PAGE)
        pipe.execute_command("XREVRANGE", self._global.key, "+", "-", "COUNT", 1)
        time_reply, *pages, newest = pipe.execute()
        channels = deque(
            self._whole_stream(channel, page)
            for (channel, _), page in zip(clients, pages, strict=True)
        )
        newest_id = StreamId.parse(newest[0][0]) if newest else ZERO
        return Snapshot(clock_ms(time_reply), channels, newest_id)

    def knowledge(
        self, channel: str, last_id: StreamId, channel_entries: Sequence[Entry], snapshot: Snapshot
    ) -> Knowledge:
        """What is known of the global stream for a client.

        The last step is a look into the history: until the caller lets other greenlets run, the
        answer has everything that was handed to live sockets.

        :param channel_entries: the client's part of the snapshot.
        """
        after = replay.look_back_from(last_id).predecessor()
        remembered = self._history.of_channel(channel, after)
        exists = _has(channel_entries, last_id) or _has(remembered, last_id)
        if not exists:  # in this channel
            exists = self._exists(last_id, snapshot)
            remembered = self._history.of_channel(channel, after)
        floor = self._history.floor
        if last_id > floor and not _alone(channel_entries, remembered, floor):
            return Knowledge(remembered, True, exists)
        found = _by_id(remembered)
        continuous = self._search(channel, last_id, channel_entries, snapshot.now_ms, found)
        return Knowledge(replay.in_order(found.values()), continuous, exists)

    def _whole_stream(self, channel: str, page: Sequence[RawEntry]) -> Sequence[Entry]:
        entries = _of_channel(page, channel)
        if len(page) == PAGE:
            start = StreamId.parse(page[-1][0]).successor()
            key = channel_stream(self._prefix, channel)
            entries += _between(self._client, key, channel, start, _END)
        return entries

    def _exists(self, last_id: StreamId, snapshot: Snapshot) -> bool:
        if last_id not in snapshot.existing:
            snapshot.existing[last_id] = bool(self._global.newest(last_id, last_id, 1))
        return snapshot.existing[last_id]

    # --- beyond the history ----------------------------------------------------------------------

    def _search(
        self,
        channel: str,
        last_id: StreamId,
        channel_entries: Sequence[Entry],
        now_ms: int,
        found: dict[StreamId, Entry],
    ) -> bool:
        """Add to `found` what the history does not have. Is nothing after `last_id` missing then?

        This reads only the places of the global stream where the channel's entries must be, and
        what is newer than these if the history has forgotten that, too.
        """
        floor = self._history.floor
        read_to = min(self._history.position, StreamId(now_ms, 0))
        continuous = True
        if last_id <= floor:
            end = max(last_id, min(floor, _end_of_first_twin(channel_entries)))
            lost, continuous = self._global.back_to(last_id, end, channel)
            found.update(_by_id(lost))
        alone = _alone(channel_entries, replay.in_order(found.values()), floor)
        self._find_twins(channel, alone, floor, found)
        while read_to < self._history.floor:  # which goes on during the search
            start, read_to = read_to, self._history.floor
            found.update(_by_id(self._global.between(channel, start, read_to)))
        found.update(_by_id(self._history.of_channel(channel, read_to)))
        return continuous

    def _find_twins(
        self, channel: str, alone: Sequence[Entry], floor: StreamId, found: dict[StreamId, Entry]
    ) -> None:
        """Look further and further behind each entry for its second half, up to `floor`."""
        for reach_ms in REACHES_MS:
            windows = replay.twin_windows(alone, reach_ms)
            clipped = [(start, min(end, floor)) for start, end in windows if start <= floor]
            part = replay.in_order(self._global.windows(channel, clipped))
            found.update(_by_id(part))
            alone = replay.without_twin(alone, part)


class _GlobalStream:
    """Parts of the global stream in Redis, page by page."""

    def __init__(self, client: StreamClient, key: str) -> None:
        self.key = key
        self._client = client

    def newest(self, end: StreamId, start: StreamId, count: int) -> Sequence[RawEntry]:
        """The newest entries between two IDs, the newest first."""
        page: Sequence[RawEntry] = self._client.execute_command(
            "XREVRANGE", self.key, bytes(end), bytes(start), "COUNT", count
        )
        return page

    def between(self, channel: str, start: StreamId, end: StreamId) -> Iterator[Entry]:
        """The channel's entries between two IDs, both included."""
        return _between(self._client, self.key, channel, start, end)

    def windows(self, channel: str, windows: Iterable[Window]) -> Iterator[Entry]:
        """The channel's entries in some parts, many parts in one round trip."""
        waiting = deque(windows)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(WINDOWS, len(waiting)))]
            pipe = self._client.pipeline(transaction=False)
            for start, end in batch:
                pipe.execute_command("XRANGE", self.key, bytes(start), bytes(end), "COUNT", PAGE)
            for (_, end), page in zip(batch, pipe.execute(), strict=True):
                yield from _of_channel(page, channel)
                if len(page) == PAGE:
                    waiting.append((StreamId.parse(page[-1][0]).successor(), end))

    def back_to(
        self, last_id: StreamId, end: StreamId, channel: str
    ) -> tuple[Sequence[Entry], bool]:
        """The channel's entries from `last_id` on whose twins the channel's stream may have lost.

        The search has a bound and begins with the newest.

        :returns: the entries, and whether nothing between `last_id` and `end` is missing.
        """
        count = PAGE if end > last_id else 1
        entries: list[Entry] = []
        for _ in range(SEARCH_PAGES):
            page = self.newest(end, ZERO, count)
            entries += [e for e in _of_channel(page, channel) if e.id >= last_id]
            if len(page) < count or StreamId.parse(page[-1][0]) <= last_id:
                break
            end = StreamId.parse(page[-1][0])
        # Something at or before last_id is still there: the stream has not been trimmed past it.
        return entries, bool(page) and StreamId.parse(page[-1][0]) <= last_id


# --- helpers -------------------------------------------------------------------------------------


def _between(
    client: StreamClient, key: str, channel: str, start: StreamId, end: StreamId
) -> Iterator[Entry]:
    """The channel's entries in a part of a stream, both ends included."""
    while start <= end:
        page = client.execute_command("XRANGE", key, bytes(start), bytes(end), "COUNT", PAGE)
        yield from _of_channel(page, channel)
        if len(page) < PAGE:
            break
        start = StreamId.parse(page[-1][0]).successor()


def _of_channel(page: Iterable[RawEntry], channel: str) -> list[Entry]:
    """The entries of a page that belong to the channel."""
    name, found = channel.encode(), []
    for raw in page:
        # Most of a piece of the global stream is others': not worth parsing. An escape may spell
        # the name in another way.
        if not any(name in value or b"\\u" in value for value in raw[1]):
            continue
        with contextlib.suppress(MalformedEntry):
            entry = Entry.parse(raw)
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
