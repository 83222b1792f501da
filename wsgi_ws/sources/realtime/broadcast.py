# SPDX-License-Identifier: Apache-2.0
"""What is for many sockets, sent in slices, so that nothing else waits for more than one of them.

Superset tells everybody of each change of each task, several times within a second. So what is for
everybody waits for a moment (`entity.changed`: browsers wait longer than that before they look),
equal messages become one, and those that have come meanwhile go out together: a socket costs one
`send` however many they are. While a broadcast is on its way the next ones gather in the same way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gevent.event import Event

from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.realtime.envelope import MERGEABLE, REPEATABLE, Message
from wsgi_ws.sources.realtime.memory import Memory
from wsgi_ws.websocket.connection import Connection

LONG = 0.5  # seconds: a delivery that takes longer ends at another time than it begins
PIECE = 100  # sockets between two looks at the clock: some half a millisecond
SEND_BYTES = 2**18  # of frames that go out together, or a large one alone


class _Delivery(NamedTuple):
    messages: Sequence[Message]
    connections: Sequence[Connection]


class Broadcaster:
    """Sends to many sockets of one hub; `run` in a greenlet until killed."""

    def __init__(
        self, hub: Hub, memory: Memory, metrics: TransportMetrics, merge_time: float
    ) -> None:
        """:param merge_time: seconds for which mergeable messages wait for equal ones."""
        self._hub = hub
        self._memory = memory
        self._metrics = metrics
        self._merge_time = merge_time
        self._held: dict[bytes, Message] = {}  # by frame, in the order in which they came
        self._due = 0.0  # when they have waited long enough
        self._urgent: list[Message] = []
        self._deliveries: deque[_Delivery] = deque()
        self._targeted = 0  # of them, and of the one that is on its way
        self._some = Event()

    def put(self, message: Message) -> None:
        """Send a message to every socket that is there when its turn comes."""
        if message.topic not in MERGEABLE or not self._merge_time:
            self._urgent.append(message)
        elif message.frame in self._held:
            self._metrics.merged()
            return
        else:
            if not self._held:
                self._due = time.monotonic() + self._merge_time
            self._held[message.frame] = message
        self._some.set()

    def put_delivery(self, message: Message, connections: Sequence[Connection]) -> None:
        """Send a message to many sockets."""
        self._deliveries.append(_Delivery([message], connections))
        self._targeted += 1
        self._some.set()

    @property
    def has_targeted(self) -> bool:
        """Whether a message that is not for everybody is still on its way."""
        return self._targeted > 0

    def run(self) -> None:
        """Send what there is, until killed."""
        while True:
            self._some.wait(max(0.0, self._due - time.monotonic()) if self._held else None)
            self._some.clear()
            self._gather()
            while self._deliveries:
                self._deliver(self._deliveries.popleft())
                self._gather()

    def _gather(self) -> None:
        """Make one delivery of all messages whose time has come.

        Who is there now gets it by this, and who comes later by the memory: nothing may come
        between the two looks.
        """
        messages, self._urgent = self._urgent, []
        now = time.monotonic()
        if self._held and now >= self._due:
            messages += self._held.values()
            self._held = {}
        for message in messages:
            if message.topic in REPEATABLE:
                self._memory.remember(message.frame, None, now)
        if messages:  # counted also where nobody is
            self._deliveries.append(_Delivery(messages, list(self._hub)))

    def _deliver(self, delivery: _Delivery) -> None:
        begin = time.monotonic()
        for count, joined in _joined([message.frame for message in delivery.messages]):
            connections = delivery.connections
            for start in range(0, len(connections), PIECE):
                for connection in connections[start : start + PIECE]:
                    connection.send(joined)
                    connection.events_sent += count
                give_way()
            self._metrics.delivered(count, len(connections))
        if delivery.messages[0].routes is not None:
            self._targeted -= 1
        if time.monotonic() - begin > LONG:
            self._remember_again(delivery.messages)

    def _remember_again(self, messages: Sequence[Message]) -> None:
        """They were handed out until now: who has left meanwhile may not have got them."""
        for message in messages:
            if message.topic in REPEATABLE:
                self._memory.remember(message.frame, message.routes, time.monotonic())


def _joined(frames: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Frames that go out together, and how many they are."""
    group: list[bytes] = []
    size = 0
    for frame in frames:
        if group and size + len(frame) > SEND_BYTES:
            yield len(group), b"".join(group)
            group, size = [], 0
        group.append(frame)
        size += len(frame)
    if group:
        yield len(group), b"".join(group)
