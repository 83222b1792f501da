# SPDX-License-Identifier: Apache-2.0
"""Who gets what: the connections of one source, the topics that they subscribe to, and sending.

A connection is first *added* (it exists, is pinged and counted) and then *subscribed* to topics
(live events reach it); between the two lies whatever its source owes it first. Topics are the
source's names: this file neither makes nor reads them. A source has a hub of its own, so that no
topic reaches another source's connections. `by_topic` is the look-up of the hot path.

A connection reports its end later, from the loop, so that nobody leaves a topic while `deliver`
goes through its connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from wsgi_ws.websocket.connection import Connection

# The connections of one topic, in the order in which they came: a tuple while there are few, since
# most topics have one connection, for which a list would cost 40 bytes more and a dict 200; then
# the keys of a dict, since a tuple is made anew whenever somebody joins or leaves. A set has no
# order: to go through the memory of thousands of sockets, the kernel's too, in another order than
# it was taken in cost 0.7 µs per delivery.
Peers = tuple[Connection, ...] | dict[Connection, None]
FEW = 8


class Hub:
    """The connections of one worker that belong to one source."""

    def __init__(self) -> None:
        self._topics: dict[Connection, tuple[str, ...]] = {}  # of every connection
        self._per_channel: Counter[str] = Counter()
        self._ended: list[Connection] = []  # as of the last sweep
        self.by_topic: dict[str, Peers] = {}  # none of them is empty

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._topics)

    @property
    def channels(self) -> int:
        """How many channels have connections."""
        return len(self._per_channel)

    def count(self, channel: str) -> int:
        """How many connections the channel has."""
        return self._per_channel[channel]

    def add(self, connection: Connection) -> None:
        """Take note of a new connection; it gets no events yet."""
        self._topics[connection] = ()
        self._per_channel[connection.channel] += 1

    def subscribe(self, connection: Connection, topic: str) -> None:
        """From now on the connection gets the topic's events, unless it has gone meanwhile."""
        topics = self._topics.get(connection)
        if topics is not None and topic not in topics:
            self._topics[connection] = (*topics, topic)
            self._join(connection, topic)

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Stop the topic's events; the connection stays."""
        topics = self._topics.get(connection, ())
        if topic in topics:
            self._topics[connection] = tuple(other for other in topics if other != topic)
            self._leave(connection, topic)

    def topics_of(self, connection: Connection) -> tuple[str, ...]:
        """A connection's topics, in the order of its subscriptions; none once it is removed."""
        return self._topics.get(connection, ())

    def is_subscribed(self, connection: Connection, topic: str) -> bool:
        """Whether the connection gets the topic's events."""
        return topic in self._topics.get(connection, ())

    def remove(self, connection: Connection) -> None:
        """Forget a connection, and each topic whose last connection it was."""
        topics = self._topics.pop(connection, None)
        if topics is None:
            return
        for topic in topics:
            self._leave(connection, topic)
        self._per_channel[connection.channel] -= 1
        if not self._per_channel[connection.channel]:
            del self._per_channel[connection.channel]

    def deliver(self, batch: Mapping[str, Sequence[bytes]]) -> tuple[int, int]:
        """Send each topic's frames to its connections, in order and in one `send` for each.

        :returns: how many frames had connections, and how many were sent in all.
        """
        matched = sent = 0
        for topic, frames in batch.items():
            connections = self.by_topic.get(topic)
            if connections is None:
                continue
            count = len(frames)
            message = frames[0] if count == 1 else b"".join(frames)
            for connection in connections:
                connection.send(message)
                connection.events_sent += count
            matched += count
            sent += count * len(connections)
        return matched, sent

    def sweep(self) -> int:
        """Drop what should have gone already; returns how many stale connections there were.

        Connections are removed one turn of the loop after their end. One that had ended at the
        last sweep and is still here is a defect.
        """
        stale = [connection for connection in self._ended if connection in self._topics]
        for connection in stale:
            self.remove(connection)
        self._ended = [connection for connection in self._topics if connection.ended]
        return len(stale)

    def _join(self, connection: Connection, topic: str) -> None:
        peers = self.by_topic.get(topic, ())
        if isinstance(peers, dict):
            peers[connection] = None
        elif len(peers) < FEW:
            self.by_topic[topic] = (*peers, connection)
        else:
            self.by_topic[topic] = dict.fromkeys((*peers, connection))

    def _leave(self, connection: Connection, topic: str) -> None:
        peers = self.by_topic[topic]
        if isinstance(peers, dict):
            del peers[connection]
        else:
            peers = self.by_topic[topic] = tuple(other for other in peers if other != connection)
        if not peers:
            del self.by_topic[topic]
