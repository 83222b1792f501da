# SPDX-License-Identifier: Apache-2.0
"""Which connections are there, and which of them get a channel's events. No I/O.

A connection is first *added* (it exists, is pinged and counted) and then *subscribed* (live events
reach it); between the two lies its catch-up. `by_channel` is the look-up of the hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsgi_ws.connection import Connection, State


class Registry:
    """Connections of one worker."""

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        self.by_channel: dict[str, set[Connection]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._all)

    def add(self, connection: Connection) -> None:
        """Take note of a new connection; it gets no events yet."""
        self._all.add(connection)

    def subscribe(self, connection: Connection) -> None:
        """From now on the connection gets its channel's events."""
        self.by_channel.setdefault(connection.channel, set()).add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection, and its channel when it was the last one there."""
        self._all.discard(connection)
        peers = self.by_channel.get(connection.channel)
        if peers is not None:
            peers.discard(connection)
            if not peers:
                del self.by_channel[connection.channel]

    def sweep(self) -> int:
        """Drop what should have gone already; returns how many stale references there were.

        Every end of a connection removes it, so anything but 0 is a defect worth a log line.
        """
        stale: Iterable[Connection] = [c for c in self._all if c.state is State.ENDED]
        stale = {*stale, *(c for peers in self.by_channel.values() for c in peers - self._all)}
        for connection in stale:
            self.remove(connection)
        return len(stale)
