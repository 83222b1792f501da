# SPDX-License-Identifier: Apache-2.0
"""What a worker has lately read of the global stream, by channel, bounded in bytes. Pure.

It answers most reconnections without Redis and in the right order, and it is what closes the seam
between a catch-up and live events: whatever has been handed to live sockets is in here, always.

Entries come in chunks and are only indexed when somebody asks, so that following the stream costs
next to nothing while nobody reconnects.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import chain, islice

from wsgi_ws.sources.stream_id import ZERO, StreamId, follows
from wsgi_ws.sources.streams.entry import Entry

# What an entry costs besides its data: the tuple, the ID, the channel's name, its place in the
# index.
ENTRY_OVERHEAD_BYTES = 320


# What is kept of an `Entry`: ID, channel, data. A plain tuple of plain values costs a tenth of an
# object to make, and the garbage collector leaves it alone.
Kept = tuple[bytes, str, bytes]


class History:
    """The last entries of the global stream: all of them in (`floor`, `position`], and perhaps some
    from before a gap.

    :ivar generation: counts the beginnings. What was read of Redis before the last one says nothing
        about what is in here.
    """

    def __init__(self, max_bytes: int) -> None:
        """:param max_bytes: about how much memory to use; 0 keeps nothing."""
        self.generation = 0
        # As they came: they are asked for more rarely than they are set.
        self._floor = self._position = bytes(ZERO)
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._indexed: deque[tuple[Sequence[Kept], int]] = deque()
        self._fresh: deque[tuple[Sequence[Kept], int]] = deque()
        self._by_channel: dict[str, deque[Kept]] = {}

    @property
    def floor(self) -> StreamId:
        """All that follows it, up to the position, is here."""
        return StreamId.parse(self._floor)

    @property
    def position(self) -> StreamId:
        """ID of the last entry that was kept, or that was malformed."""
        return StreamId.parse(self._position)

    def start_at(self, floor: StreamId) -> None:
        """Begin anew: what comes next is all that follows `floor`."""
        self.generation += 1
        self._floor = self._position = bytes(floor)
        self.size_bytes = 0
        self._indexed.clear()
        self._fresh.clear()
        self._by_channel.clear()

    def begin_behind_gap(self, floor: StreamId) -> None:
        """What comes next is all that follows `floor`, but not what follows the position so far.
        What is here is kept: it has been handed out."""
        self.generation += 1
        self._floor = self._position = bytes(floor)

    def append(self, chunk: Sequence[Kept], position: bytes) -> None:
        """Keep the well-formed entries of a piece of the stream.

        :param position: ID of the piece's last entry, well-formed or not.
        """
        self._position = position
        if not chunk:
            return
        size = sum([len(data) for _, _, data in chunk]) + ENTRY_OVERHEAD_BYTES * len(chunk)
        self._fresh.append((chunk, size))
        self.size_bytes += size
        while self.size_bytes > self._max_bytes and (self._indexed or self._fresh):
            self._forget_oldest()

    def between(self, start: StreamId, end: StreamId) -> list[Kept]:
        """The entries of all channels from `start` to `end`, both included, ascending.

        Costs a search and what is between, not the whole history.
        """
        found: list[Kept] = []
        for chunks in (self._indexed, self._fresh):
            first = bisect_left(chunks, start, key=lambda chunk: _place(chunk[0][-1]))
            beyond = bisect_right(chunks, end, key=lambda chunk: _place(chunk[0][0]))
            parts = [chunk for chunk, _ in islice(chunks, first, beyond)]
            if parts:  # only the outer two may have more than what is between
                parts[-1] = parts[-1][: bisect_right(parts[-1], end, key=_place)]
                parts[0] = parts[0][bisect_left(parts[0], start, key=_place) :]
            found += chain.from_iterable(parts)
        return found

    def of_channel(self, channel: str, after: StreamId = ZERO) -> list[Entry]:
        """The channel's entries with IDs above `after`, in the order of the stream."""
        while self._fresh:
            chunk = self._fresh.popleft()
            self._indexed.append(chunk)
            for kept in chunk[0]:
                self._by_channel.setdefault(kept[1], deque()).append(kept)
        if channel not in self._by_channel:
            return []
        entries = list(self._by_channel[channel])
        first = bisect_right(entries, after, key=_place)
        return [
            Entry(StreamId.parse(entry_id), channel, data) for entry_id, _, data in entries[first:]
        ]

    def _forget_oldest(self) -> None:
        indexed = bool(self._indexed)
        chunk, size = (self._indexed if indexed else self._fresh).popleft()
        self.size_bytes -= size
        if follows(chunk[-1][0], self._floor):
            self._floor = chunk[-1][0]
        if indexed:
            for _, channel, _ in chunk:
                entries = self._by_channel[channel]
                entries.popleft()
                if not entries:
                    del self._by_channel[channel]


def _place(kept: Kept) -> StreamId:
    return StreamId.parse(kept[0])
