# SPDX-License-Identifier: Apache-2.0
"""When a follower must look whether the stream was trimmed past the last entry that it read. Pure.

Trimming takes the oldest entries first. So as long as the stream still has one at or before the
position of a read, nothing behind that position is gone. To ask for the oldest one is a command,
and a read that brings one event should not cost two. Most reads need no question:

A read brings what follows its position, up to a number. If that brought fewer entries than it asked
for, it brought all there were. If something between its position and its first entry was trimmed,
then nothing older is left either: *the whole stream is as short as this read*. Superset trims at
each write to a limit (GLOBAL_ASYNC_QUERIES_REDIS_STREAM_LIMIT_FIREHOSE, a million), so a stream
that has been seen to be longer never gets that short. There remain the reads of these kinds:

- the first one of a connection: during an outage anybody may have done anything;
- one that brought as many as it asked for: what is behind it is not known;
- one with so many entries that the whole stream may be no longer;
- all of them while the stream has not been seen to be long, which is where limits are tiny.

Now and then the others are asked too, since limits can be changed. What this leaves is a person who
trims a long stream by hand to next to nothing while a worker is just behind.
"""

from __future__ import annotations

from wsgi_ws.sources.stream_id import ZERO, StreamId

SHORT = 100  # entries; a read of fewer can't be the whole of a stream that has been seen to be long
# Entries at which a stream counts as long. Redis trims by nodes of 100 entries (its default), so
# that a stream with this many may be 100 shorter after the next write.
LONG = 3 * SHORT
LOOK_EVERY = 10_000  # entries read


class TrimWatch:
    """Knows whether the stream is long."""

    def __init__(self) -> None:
        self.begin(ZERO)

    def begin(self, position: StreamId) -> None:
        """Nothing is known any more, except that entries after `position` will be read."""
        self._long = False
        self._anchor = position
        self._read = 0  # entries after the anchor

    def doubts(self, count: int) -> bool:
        """Must a look be taken at the oldest entry before these are handed out?

        :param count: how many entries a read has brought, fewer than it asked for.
        """
        return not self._long or count >= SHORT or self._read >= LOOK_EVERY

    def looked(self, oldest: StreamId, position: StreamId) -> None:
        """Learn how long the stream is.

        :param oldest: the stream's oldest entry.
        :param position: the last entry that was noted as read.
        """
        if oldest > self._anchor:
            self.begin(position)
        elif self._read >= LONG:
            self.begin(position)
            self._long = True

    def read(self, count: int) -> None:
        """Note entries that have been read."""
        self._read += count
