# SPDX-License-Identifier: Apache-2.0
"""What is for many sockets, sent in slices, so that nothing else waits for more than one of them.

Superset tells everybody of each change of each task, several times within a second. So what is for
everybody waits for a moment (`entity.changed`: browsers wait longer than that before they look),
equal messages become one, and those that have come meanwhile go out together: a socket costs one
`send` however many they are. While a broadcast is on its way the next ones gather in the same way,
and so do those for the same many sockets of one user. What waits has a bound: behind it the reader
waits, so that Redis's limit for a subscriber that reads too slowly applies.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from gevent.event import Event

from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.realtime.envelope import MERGEABLE, REPEATABLE, Message
from wsgi_ws.sources.realtime.memory import Memory, size_of
from wsgi_ws.websocket.connection import Connection

LONG = 0.5  # seconds: a delivery that takes or waits longer is not over when it is put
PIECE = 100  # sockets between two looks at the clock: some half a millisecond
SEND_BYTES = 2**18  # of frames that go out together, or a large one alone
WAITING_BYTES = 2**23  # of what waits and is on its way, about: a quarter of what Redis lets wait
POINTER_BYTES = 8


class _Delivery(NamedTuple):
    """Messages for the same sockets.

    :ivar messages: all of them for everybody, or none.
    :ivar put_at: when the first of them came, by `time.monotonic`.
    """

    messages: list[Message]
    connections: Sequence[Connection]
    put_at: float

    @property
    def is_targeted(self) -> bool:
        """Whether it is not for everybody."""
        return self.messages[0].routes is not None

    def is_alike(self, other: _Delivery) -> bool:
        """Whether both may go out together."""
        return self.is_targeted == other.is_targeted and self.connections == other.connections

    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        messages = sum(size_of((frame, routes)) for _, routes, frame in self.messages)
        return messages + POINTER_BYTES * len(self.connections)


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
        self._waiting_bytes = 0
        self._room = Event()  # something that waited is done with

    def wait_for_room(self) -> None:
        """Let others run until no more waits than may."""
        while self._waiting_bytes >= WAITING_BYTES:
            self._room.clear()
            self._room.wait()

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
        self._waiting_bytes += size_of((message.frame, message.routes))
        self._some.set()

    def put_delivery(self, message: Message, connections: Collection[Connection]) -> None:
        """Send a message to many sockets, those that are among them now."""
        self._waiting_bytes += size_of((message.frame, message.routes))
        self._enqueue([message], list(connections), time.monotonic())
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
            self._enqueue(messages, list(self._hub), now)

    def _enqueue(
        self, messages: list[Message], connections: Sequence[Connection], now: float
    ) -> None:
        """Behind all others; what is for the same sockets as the last of them goes out with it."""
        delivery = _Delivery(messages, connections, now)
        last = self._deliveries[-1] if self._deliveries else None
        if last is not None and last.is_alike(delivery):
            last.messages.extend(messages)
            return
        self._deliveries.append(delivery)
        self._targeted += delivery.is_targeted
        self._waiting_bytes += POINTER_BYTES * len(connections)

    def _deliver(self, delivery: _Delivery) -> None:
        for count, joined in _joined([message.frame for message in delivery.messages]):
            connections = delivery.connections
            for start in range(0, len(connections), PIECE):
                for connection in connections[start : start + PIECE]:
                    connection.send(joined)
                    connection.events_sent += count
                give_way()
            self._metrics.delivered(count, len(connections))
        if time.monotonic() - delivery.put_at > LONG:
            self._remember_again(delivery.messages)
        self._targeted -= delivery.is_targeted
        self._waiting_bytes -= delivery.size()
        self._room.set()

    def _remember_again(self, messages: Sequence[Message]) -> None:
        """They were handed out until now: who has left meanwhile may not have got them."""
        for message in messages:
            if message.topic in REPEATABLE:
                self._memory.remember(message.frame, message.routes, time.monotonic())
            give_way()  # they may be thousands


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
