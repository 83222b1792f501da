# SPDX-License-Identifier: Apache-2.0
"""Which connections are there, and which of them get a channel's events. No I/O.

A connection is first *added* (it exists, is pinged and counted) and then *subscribed* (live events
reach it); between the two lies its catch-up. `by_channel` is the look-up of the hot path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wsgi_ws.websocket.connection import Connection


class Registry:
    """Connections of one worker."""

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        self._ended: list[Connection] = []  # as of the last sweep
        self._waiting: Counter[str] = Counter()  # channel → connections that are catching up
        self.by_channel: dict[str, set[Connection]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._all)

    @property
    def channels(self) -> int:
        """How many channels have connections."""
        return len(self.by_channel.keys() | self._waiting.keys())

    def add(self, connection: Connection) -> None:
        """Take note of a new connection; it gets no events yet."""
        self._all.add(connection)
        self._waiting[connection.channel] += 1

    def count(self, channel: str) -> int:
        """How many connections the channel has."""
        return len(self.by_channel.get(channel, ())) + self._waiting[channel]

    def subscribe(self, connection: Connection) -> None:
        """From now on the connection gets its channel's events."""
        if connection in self._all:
            self._forget_waiting(connection.channel)
            self.by_channel.setdefault(connection.channel, set()).add(connection)

    def unsubscribe(self, connection: Connection) -> None:
        """Stop its events for a while; it stays connected."""
        peers = self.by_channel.get(connection.channel, set())
        if connection in peers:
            self._drop_peer(peers, connection)
            self._waiting[connection.channel] += 1

    def remove(self, connection: Connection) -> None:
        """Forget a connection, and its channel when it was the last one there."""
        if connection not in self._all:
            return
        self._all.remove(connection)
        peers = self.by_channel.get(connection.channel, set())
        if connection not in peers:
            self._forget_waiting(connection.channel)
            return
        self._drop_peer(peers, connection)

    def sweep(self) -> int:
        """Drop what should have gone already; returns how many stale references there were.

        Every end of a connection removes it, a moment later, so whatever had ended at the sweep
        before and is still here is a defect worth a log line.
        """
        stale = [connection for connection in self._ended if connection in self._all]
        for connection in stale:
            self.remove(connection)
        self._ended = [connection for connection in self._all if connection.ended]
        return len(stale)

    def _drop_peer(self, peers: set[Connection], connection: Connection) -> None:
        peers.remove(connection)
        if not peers:
            del self.by_channel[connection.channel]

    def _forget_waiting(self, channel: str) -> None:
        self._waiting[channel] -= 1
        if not self._waiting[channel]:
            del self._waiting[channel]
