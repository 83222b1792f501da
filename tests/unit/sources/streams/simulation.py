# SPDX-License-Identifier: Apache-2.0
"""A small world in memory: Redis's two streams, producers, workers, clients, all in one thread.

The workers run the real `CatchUp`, `Fanout`, `History` and `Hub`; only Redis, the sockets and
the clock are simulated. A world is driven by a script of steps, so hypothesis can search for bad
interleavings and shrink them.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import redis

from wsgi_ws.hub import Hub
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.stream_id import ZERO, StreamId
from wsgi_ws.sources.streams import replay
from wsgi_ws.sources.streams.archive import Archive, Snapshot
from wsgi_ws.sources.streams.catchup import CatchUp
from wsgi_ws.sources.streams.entry import Entry, RawEntry
from wsgi_ws.sources.streams.fanout import Fanout
from wsgi_ws.sources.streams.history import History
from wsgi_ws.sources.streams.replay import Place
from wsgi_ws.websocket.closing import State
from wsgi_ws.websocket.connection import Connection

PREFIX = "p-"
FULL = PREFIX + "full"
CHANNELS = ("a", "b")
FIRST_CATCH_UP_MS = 60_000
LONGEST_SERVE_MS = 30_000  # patience ends sooner: that of clients, and that of a reply
EPOCH_MS = 1_700_000_000_000


# --- the script ----------------------------------------------------------------------------------


class Tick(NamedTuple):
    ms: int


class Publish(NamedTuple):
    """A producer writes an event into both streams at once, as it nearly always is."""

    channel: str
    read: bool = False  # by all workers at once, as it nearly always is


class First(NamedTuple):
    """A producer writes a new event into its channel's stream."""

    channel: str


class Second(NamedTuple):
    """A producer that has done its first XADD does the second."""

    which: int


class Die(NamedTuple):
    """A producer that has done its first XADD dies."""

    which: int


class Follow(NamedTuple):
    """A worker reads so many entries of the global stream."""

    worker: int
    entries: int


class Reconnect(NamedTuple):
    """A client's connection, if it has one, breaks, and it comes back, perhaps at another worker.

    Of what was last sent to it so many messages have not arrived.
    """

    client: int
    worker: int
    unread: int


class Serve(NamedTuple):
    """A worker serves the catch-ups that wait.

    With each command that it sends to Redis goes a list of steps that happen just before.
    """

    worker: int
    meanwhile: Sequence[Sequence[Step]] = ()


class Restart(NamedTuple):
    """A worker is replaced by a new one that knows the newest entries of the past."""

    worker: int
    prefill: int
    history_bytes: int


class Trim(NamedTuple):
    """A stream loses all but its newest entries."""

    key: str
    keep: int


class Overtake(NamedTuple):
    """The global stream loses all but its newest entries before the workers have read them."""

    keep: int


class Flush(NamedTuple):
    """FLUSHALL."""


Step = (
    Tick
    | Publish
    | First
    | Second
    | Die
    | Follow
    | Reconnect
    | Serve
    | Restart
    | Trim
    | Overtake
    | Flush
)


# --- Redis ---------------------------------------------------------------------------------------


class Stream:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.last = ZERO

    def add(self, now_ms: int, channel: str, data: bytes) -> StreamId:
        ms, seq = self.last
        self.last = StreamId(now_ms, 0) if now_ms > ms else StreamId(ms, seq + 1)
        self.entries.append(Entry(self.last, channel, data))
        return self.last

    def trim(self, keep: int) -> None:
        del self.entries[: max(0, len(self.entries) - keep)]

    def between(self, start: StreamId, end: StreamId) -> list[Entry]:
        ids = [entry.id for entry in self.entries]
        return self.entries[bisect_left(ids, start) : bisect_right(ids, end)]


class Redis:
    """The few commands that a catch-up uses. They are not atomic together."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.streams: dict[str, Stream] = {}
        self.wrong_type: set[str] = set()  # keys that are no streams
        self.refuses_time = False

    def stream(self, key: str) -> Stream:
        return self.streams.setdefault(key, Stream())

    def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [self._reply(command) for command in commands]

    def _reply(self, command: tuple[Any, ...]) -> Any:
        try:
            return self._execute(*command)
        except redis.ResponseError as error:
            return error

    def _execute(self, *args: Any) -> Any:
        self._world.go_on()
        if args[0] == "TIME" and self.refuses_time:
            raise redis.ResponseError("NOPERM this user has no permissions to run 'time'")
        if args[0] == "TIME":
            seconds, ms = divmod(self._world.now_ms, 1000)
            return [b"%d" % seconds, b"%d" % (ms * 1000)]
        command, key, one, other, _, count = args
        if key in self.wrong_type:
            raise redis.ResponseError("WRONGTYPE Operation against a key of the wrong kind")
        ascending = command == "XRANGE"
        start, end = (one, other) if ascending else (other, one)
        found = self.stream(key).between(_bound(start), _bound(end))
        return [raw(entry) for entry in (found if ascending else found[::-1])[:count]]


def raw(entry: Entry) -> RawEntry:
    return bytes(entry.id), [b"data", entry.data]


def _bound(text: str | bytes) -> StreamId:
    text = text if isinstance(text, bytes) else text.encode()
    if text == b"+":
        return StreamId(2**64, 0)
    return ZERO if text == b"-" else StreamId.parse(text)


# --- events and clients --------------------------------------------------------------------------


@dataclass(eq=False)
class Event:
    """An event, and where it has been written."""

    number: int
    channel: str
    data: bytes
    channel_id: StreamId
    global_id: StreamId | None = None


class Socket:
    """A connection as the server's code sees it."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.state = State.OPEN
        self.backlog_bytes = 0
        self.events_sent = 0
        self.messages: list[dict[str, Any]] = []

    @property
    def ended(self) -> bool:
        return self.state is State.ENDED

    def send(self, frames: bytes) -> None:
        if self.state is State.OPEN:
            self.messages += map(json.loads, _payloads(frames))


def _payloads(frames: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(frames):
        size, position = frames[position + 1], position + 2
        if size == 126:
            size = int.from_bytes(frames[position : position + 2], "big")
            position += 2
        yield frames[position : position + size]
        position += size


@dataclass(eq=False)
class Client:
    """A browser tab: what it has got, over all of its connections."""

    channel: str
    socket: Socket | None = None
    worker: Worker | None = None
    got: list[int] = field(default_factory=list)
    ids: list[StreamId] = field(default_factory=list)
    per_connection: list[list[int]] = field(default_factory=list)
    first_due: int = 0  # where in the log of the global stream its first minute begins
    accepted_at: int = 0  # where the log was when it first came, or was first served
    gaps: int = 0

    @property
    def last_id(self) -> StreamId | None:
        return self.ids[-1] if self.ids else None


class Counters:
    """The metrics that are of interest here."""

    def __init__(self) -> None:
        self.gaps = 0

    def gap(self) -> None:
        self.gaps += 1

    def caught_up(self, events: int, seconds: float) -> None:
        pass

    def delivered_batch(self, events: int, matched: int, deliveries: int, oldest: bytes) -> None:
        pass


# --- a worker ------------------------------------------------------------------------------------


class SimulatedArchive(Archive):
    """The real archive; nobody waits for the follower, since it always reads on in time."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.world.redis, PREFIX, worker.history, RedisClock())
        self._worker = worker

    def snapshot(self, clients: Sequence[tuple[str, Place]]) -> Snapshot:
        snapshot = super().snapshot(clients)
        while self._worker.history.position < snapshot.newest:
            self._worker.follow(1)
        return snapshot


class Worker:
    """The real catch-up, fan-out and history; simulated time and waiting."""

    def __init__(self, world: World, history_bytes: int, prefill: int) -> None:
        self.world = world
        self.counters = Counters()
        self.history = History(history_bytes)
        self.hub = Hub()
        metrics = cast(TransportMetrics, self.counters)
        self.catch_up = CatchUp(
            SimulatedArchive(self),
            self.history,
            hub=self.hub,
            metrics=metrics,
            max_backlog_bytes=0,
            later=self._later,
        )
        self.fanout = Fanout(
            self.hub,
            self.history,
            metrics,
            on_progress=self.catch_up.on_progress,
            on_gap=self._resynchronize,
        )
        self._timers: list[tuple[float, Callable[[Any], object], Any]] = []
        past = world.redis.stream(FULL).entries
        position = past[-1].id if past else ZERO
        self.followed = position
        newest = past[len(past) - min(len(past), max(1, prefill)) :]
        self.fanout.start([raw(entry) for entry in newest], position)

    def follow(self, count: int) -> None:
        """One XREAD."""
        stream = self.world.redis.stream(FULL)
        entries = [entry for entry in stream.entries if entry.id > self.followed][:count]
        if entries:
            self.fanout.deliver([raw(entry) for entry in entries])
            self.followed = entries[-1].id

    def notice_gap(self) -> None:
        """What the follower does when it finds that its place has been trimmed away."""
        entries = self.world.redis.stream(FULL).entries
        if entries and entries[0].id > self.followed.successor():
            position, self.followed = self.followed, entries[0].id.predecessor()
            self.fanout.gap(position, entries[0].id)
            self.counters.gaps -= 1  # counted with the clients

    def _resynchronize(self, position: StreamId) -> None:
        """As the source does it."""
        for connection in list(self.hub):
            if self.hub.is_subscribed(connection, connection.channel):
                self.hub.unsubscribe(connection, connection.channel)
                self.catch_up.enqueue_after_gap([connection], position)

    def serve(self) -> None:
        """All catch-ups that wait, and second looks that are due."""
        due = [timer for timer in self._timers if timer[0] <= self.world.now_ms]
        self._timers = [timer for timer in self._timers if timer[0] > self.world.now_ms]
        for _, function, argument in due:
            function(argument)
        while len(self.catch_up):
            for request in self.catch_up.next_requests():
                gaps = self.counters.gaps
                self.catch_up.serve([request])
                for connection in request.connections:
                    self.world.note_served(connection, self.counters.gaps - gaps)
            self.catch_up._drains.look()

    def _later(self, seconds: float, function: Callable[[Any], object], argument: Any) -> None:
        self._timers.append((self.world.now_ms + seconds * 1000, function, argument))


# --- the world -----------------------------------------------------------------------------------


class World:
    """Everything, and the truth about it."""

    def __init__(self, *, history_bytes: int, workers: int = 2) -> None:
        self.now_ms = EPOCH_MS
        self.redis = Redis(self)
        self.events: list[Event] = []
        self.log: list[Event] = []  # the global stream as it was written, never trimmed
        self.pending: list[Event] = []  # between the two XADDs
        self.orphans: list[Event] = []
        self.clients = [Client("a"), Client("a"), Client("b")]
        self.workers = [Worker(self, history_bytes, 0) for _ in range(workers)]
        self._numbers = itertools.count()
        self._meanwhile: Iterator[Sequence[Step]] = iter(())
        self._served_until = 0
        self._sockets: dict[int, Client] = {}

    def begin(self) -> World:
        """Everybody is connected and has got an event."""
        for number, client in enumerate(self.clients):
            self.connect(client, self.workers[number % len(self.workers)])
        for channel in CHANNELS:
            self.do(Publish(channel))
        self.follow()
        return self

    def run(self, script: Iterable[Step]) -> World:
        for step in script:
            self.do(step)
        return self

    def go_on(self) -> None:
        """What happens while a command is on its way to Redis."""
        for step in next(self._meanwhile, ()):
            if isinstance(step, Tick):
                self.tick(max(0, min(step.ms, self._served_until - self.now_ms)))
            else:
                self.do(step)

    def do(self, step: Step) -> None:
        match step:
            case Tick(ms):
                self.tick(ms)
            case Publish(channel, read):
                self.second(self.first(channel))
                if read:
                    self.follow()
            case First(channel):
                self.first(channel)
            case Second(which) if self.pending:
                self.second(self.pending[which % len(self.pending)])
            case Die(which) if self.pending:
                event = self.pending.pop(which % len(self.pending))
                self.orphans.append(event)
            case Follow(worker, entries):
                self.workers[worker].follow(entries)
            case Reconnect(client, worker, unread):
                self.drop(self.clients[client], unread)
                self.connect(self.clients[client], self.workers[worker])
            case Serve(worker, meanwhile):
                self._meanwhile = iter(meanwhile)
                self._served_until = self.now_ms + LONGEST_SERVE_MS
                self.workers[worker].serve()
                self._meanwhile = iter(())
            case Restart(worker, prefill, history_bytes):
                self.restart(worker, prefill, history_bytes)
            case Trim(key, keep):
                self.lose(key, keep)
            case Overtake(keep):
                self.redis.stream(FULL).trim(keep)
                for overtaken in self.workers:
                    overtaken.notice_gap()
            case Flush():
                self.tick(1)  # so that no ID is given twice
                for key in list(self.redis.streams):
                    self.lose(key, 0)
                    del self.redis.streams[key]

    def follow(self) -> None:
        """All workers read all there is."""
        for worker in self.workers:
            worker.follow(10**6)

    def lose(self, key: str, keep: int) -> None:
        """Workers have read what Redis loses: what nobody has ever seen can't be missed."""
        self.follow()
        self.redis.stream(key).trim(keep)

    def tick(self, ms: int) -> None:
        """Time passes. The assumption holds: whoever lives writes the second half in time."""
        self.now_ms += ms
        for event in list(self.pending):
            latest = event.channel_id.ms + replay.TWIN_GRACE_MS - 1
            if self.now_ms > latest:
                now, self.now_ms = self.now_ms, max(latest, self.redis.stream(FULL).last.ms)
                self.second(event)
                self.now_ms = now

    def first(self, channel: str) -> Event:
        number = next(self._numbers)
        members = {"channel_id": channel, "job_id": str(number), "status": "done"}
        data = json.dumps(members).encode()
        event = Event(
            number,
            channel,
            data,
            self.redis.stream(PREFIX + channel).add(self.now_ms, channel, data),
        )
        self.events.append(event)
        self.pending.append(event)
        return event

    def second(self, event: Event) -> None:
        self.pending.remove(event)
        event.global_id = self.redis.stream(FULL).add(self.now_ms, event.channel, event.data)
        self.log.append(event)

    def connect(self, client: Client, worker: Worker) -> None:
        if client.socket is not None:
            return
        client.socket, client.worker = Socket(client.channel), worker
        connection = cast(Connection, client.socket)
        self._sockets[id(connection)] = client
        worker.hub.add(connection)
        if client.last_id is None:
            client.accepted_at = len(self.log)
            since = StreamId(self.now_ms - FIRST_CATCH_UP_MS, 0)
            client.first_due = sum(1 for event in self.log if (event.global_id or ZERO) <= since)
            worker.catch_up.welcome(connection, since)
        else:
            worker.catch_up.enqueue(connection, client.last_id)

    def drop(self, client: Client, unread: int) -> None:
        socket, worker = client.socket, client.worker
        if socket is None or worker is None:
            return
        arrived = socket.messages[: max(0, len(socket.messages) - unread)]
        client.ids += [StreamId.parse(message["id"].encode()) for message in arrived]
        numbers = [int(message["job_id"]) for message in arrived]
        client.got += numbers
        client.per_connection.append(numbers)
        socket.state = State.ENDED
        worker.hub.remove(cast(Connection, socket))
        client.socket = client.worker = None

    def restart(self, index: int, prefill: int, history_bytes: int) -> None:
        for client in self.clients:
            if client.worker is self.workers[index]:
                self.drop(client, 0)
        self.workers[index] = Worker(self, history_bytes, prefill)

    def note_served(self, connection: Connection, gaps: int) -> None:
        """A worker has served one request for a connection."""
        client = self._sockets[id(connection)]
        client.gaps += gaps
        if client.last_id is None:
            client.accepted_at = len(self.log)

    # --- the end ---------------------------------------------------------------------------------

    def settle(self, *, reconnects: int = 2) -> None:
        """Producers finish and everybody comes back (twice: the second time for young orphans)."""
        for event in list(self.pending):
            self.second(event)
        for _ in range(reconnects):
            for number, client in enumerate(self.clients):
                self.drop(client, 0)
                self.connect(client, self.workers[number % len(self.workers)])
            for _ in range(2):
                for worker in self.workers:
                    worker.follow(10**6)
                    worker.serve()
                self.tick(replay.TWIN_GRACE_MS)

    def close(self) -> None:
        for client in self.clients:
            self.drop(client, 0)

    def truth(self, client: Client) -> list[int]:
        """The client's events in the order of the global stream."""
        return self._of_client(client, client.first_due)

    def has_the_truth(self, client: Client) -> bool:
        """Whether its ordinary events are the truth. At its first connection it may have got more
        than the last minute: what its worker read late, or read for one that had waited longer."""
        got, everything = self.ordinary(client), self._of_client(client, 0)
        count = max(len(got), len(self.truth(client)))
        return got == everything[len(everything) - count :]

    def due(self, client: Client) -> list[int]:
        """The part of it that was written after the client was accepted for the first time."""
        return self._of_client(client, client.accepted_at)

    def ordinary(self, client: Client) -> list[int]:
        """What the client got, without orphans."""
        orphans = {event.number for event in self.orphans}
        return [number for number in client.got if number not in orphans]

    def _of_client(self, client: Client, start: int) -> list[int]:
        return [e.number for e in self.log[start:] if e.channel == client.channel]

    def repeats(self, client: Client) -> dict[int, int]:
        """Events that it got more than once."""
        return {number: n for number, n in Counter(client.got).items() if n > 1}
