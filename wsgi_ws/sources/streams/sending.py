# SPDX-License-Identifier: Apache-2.0
"""What a catch-up sends to a socket, and how it waits for one that reads more slowly.

Nothing is kept for a socket that must drain first: it goes on from the last ID that it was sent, as
if it had come back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from wsgi_ws.event import MalformedEntry
from wsgi_ws.sources.streams.entry import Entry
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection

SEND_CHUNK = 65536  # bytes handed to a socket at once
PART_BYTES = 2**20  # bytes sent to one client before others have their turn
AHEAD_BYTES = 2**19  # bytes that may wait for a client when the next chunk comes
LOOK_INTERVAL = 0.05  # seconds between two looks at sockets that must drain


class Sender:
    """Sends events to sockets, never more than these can take."""

    def __init__(
        self,
        max_backlog_bytes: int,
        on_malformed: Callable[[Connection, Entry, MalformedEntry], None],
    ) -> None:
        """
        :param max_backlog_bytes: what a client may leave unread; 0 for no limit.
        :param on_malformed: called with what is skipped.
        """
        self._on_malformed = on_malformed
        limit = max_backlog_bytes // 2 or 1 if max_backlog_bytes else AHEAD_BYTES
        self._ahead = min(AHEAD_BYTES, limit)

    def send(self, connection: Connection, entries: Sequence[Entry]) -> tuple[int, int]:
        """Send the first of the entries, as many as is good at once, at least one of them.

        Entries with one ID are not separated: the ID says that the client has got all of them. What
        nobody can read is skipped, as on the live path.

        :returns: how many of the entries are done with, and how many of them were sent.
        """
        buffer, events, left = bytearray(), 0, PART_BYTES
        chunk_bytes = min(SEND_CHUNK, self._ahead)
        for number, entry in enumerate(entries):
            if len(buffer) >= chunk_bytes and entry.id != entries[number - 1].id:
                connection.send(bytes(buffer))
                left -= len(buffer)
                buffer.clear()
                if left <= 0 or not self.may_send(connection):
                    return number, events
            try:
                buffer += entry.frame()
                events += 1
            except MalformedEntry as error:
                self._on_malformed(connection, entry, error)
        if buffer:
            connection.send(bytes(buffer))
        return len(entries), events

    def may_send(self, connection: Connection) -> bool:
        """Whether the client is there and has read enough for more."""
        return connection.state is State.OPEN and connection.backlog_bytes <= self._ahead


class Drains:
    """Sockets that must drain before they get more."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._waiting: list[tuple[Connection, Callable[[], None]]] = []
        self._arrived = Event()

    def add(self, connection: Connection, go_on: Callable[[], None]) -> None:
        """Call `go_on` when the client has read enough; never when it goes before that."""
        self._waiting.append((connection, go_on))
        self._arrived.set()

    def run(self) -> None:
        """Look after the sockets until killed. The heartbeat cuts those that read nothing."""
        while True:
            self._arrived.wait()
            self.look()
            if not self._waiting:
                self._arrived.clear()
            else:
                gevent.sleep(LOOK_INTERVAL)

    def look(self) -> None:
        """Let those go on that can, and forget those that have gone."""
        waiting, self._waiting = self._waiting, []
        for connection, go_on in waiting:
            if self._sender.may_send(connection):
                go_on()
            elif connection.state is State.OPEN:
                self._waiting.append((connection, go_on))
