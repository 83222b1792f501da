# SPDX-License-Identifier: Apache-2.0
"""The cases: each starts a server of its own and returns its figures.

Ratios to the floor (`…_x_floor`) are what to compare between machines and days: CPU per delivery
over the CPU of a bare send() in C, measured in the same run.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from websockets.sync.client import connect

from bench.native import Load, floor_of_handshake, floor_of_send
from bench.peers import STRAIGHT_LINE, Peer
from bench.producer import Pick, Producer, channels, in_turn
from bench.server import Rig, until
from testbed.superset import cookie

Figures = dict[str, Any]

MIB = 2**20
WARM_UP_EVENTS = 20_000
MISSED = 10  # events that a reconnecting client has missed
LOOK_BACK_SECONDS = 66  # more than a catch-up looks back for events that came in two halves


def drain(
    events: int = 50_000, sockets: int = 1000, miss: float = 0.0, peer: Peer | None = None
) -> Figures:
    """A backlog, queued while the server stood still: the most it can do, and what that costs."""
    floor = floor_of_send()
    names = channels(sockets)
    with Rig(peer=peer) as rig, rig.load(sockets, names) as load:
        pick = in_turn(names, miss)
        rig.producer.push(WARM_UP_EVENTS, pick)
        await_messages(load, hits(WARM_UP_EVENTS, miss))
        figures = drained(rig, load, pick, events, miss)
        return figures | over(floor, figures["cpu_us_per_event"])


def drain_miss(peer: Peer | None = None) -> Figures:
    """Nine events in ten belong to channels that nobody here listens to."""
    return drain(events=200_000, miss=0.9, peer=peer)


def broadcast(events: int = 100, sockets: int = 2000, peer: Peer | None = None) -> Figures:
    """One channel, every event goes to all of its sockets."""
    floor = floor_of_send()
    names = channels(1)
    pick = in_turn(names)
    with Rig(peer=peer) as rig, rig.load(sockets, names) as load:
        figures = to_all(
            rig, load, sockets, lambda s: rig.producer.steady(20, s, pick), events / 20
        )
    return figures | over(floor, figures["cpu_us_per_delivery"])


def latency(rate: int = 1000, sockets: int = 1000, seconds: float = 8.0) -> Figures:
    """A steady stream: from just before XADD to the arrival at the client.

    The same with `bench.straight_line`, which does the least there is to do.
    """
    floor = floor_of_send()
    figures = latency_alone(rate, sockets, seconds)
    with Rig(peer=STRAIGHT_LINE) as rig:
        least = _steady_load(rig, rate, sockets, seconds / 2)
    straight = {f"straight_{name}": least[name] for name in ("p50_us", "p99_us")}
    ratio = {"p50_over_straight": figures["p50_us"] / least["p50_us"]}
    return figures | straight | ratio | over(floor, figures["cpu_us_per_event"])


def latency_alone(
    rate: int = 1000, sockets: int = 1000, seconds: float = 8.0, peer: Peer | None = None
) -> Figures:
    """A steady stream, without anything to compare it with."""
    with Rig(peer=peer) as rig:
        return _steady_load(rig, rate, sockets, seconds)


def _steady_load(rig: Rig, rate: int, sockets: int, seconds: float) -> Figures:
    names = channels(sockets)
    with rig.load(sockets, names) as load:
        pick = in_turn(names)
        rig.producer.steady(rate, 1.0, pick)
        return steady(rig, load, pick, rate, seconds)


def idle(sockets: int = 10_000, peer: Peer | None = None) -> Figures:
    """Memory of idle sockets, and what their handshakes cost."""
    floor, floor_handshake = floor_of_send(), floor_of_handshake()
    with Rig(peer=peer) as rig:
        memory, cpu = rig.server.memory(), rig.server.cpu_us()
        with rig.load(sockets, channels(sockets)) as load:
            cost = (rig.server.cpu_us() - cpu) / sockets
            rig.until_quiet(1.0)
            grown = rig.server.memory()
            resting = rig.server.cpu_us()
            time.sleep(4.0)
            return {
                "resting_cpu_percent": (rig.server.cpu_us() - resting) / 4.0e6 * 100,
                "base_mib": memory / MIB,
                "total_mib": grown / MIB,
                "kib_per_socket": (grown - memory) / sockets / 1024,
                "handshakes_per_second": sockets / load.seconds,
                "cpu_us_per_handshake": cost,
                "refused": load.refused,
                "floor_of_handshake_us": floor_handshake,
                "handshake_x_floor": cost / floor_handshake,
            } | over(floor, cost)


def catchup(clients: int = 20, sockets: int = 1000) -> Figures:
    """One client after the other reconnects: from connecting to the last event it missed."""
    names = channels(sockets)
    with Rig() as rig:
        last_id = _missed_events(rig.producer, names)
        rig.until_quiet()
        times = []
        for name in random.Random(7).sample(names, clients):
            times.append(_catch_up_ms(rig.port, name, last_id))
            time.sleep(0.05)
    return {"p50_ms": statistics.median(times), "max_ms": max(times)}


def short_history(clients: int = 40, rate: int = 15, others: int = 200) -> Figures:
    """The same where the worker's history reaches back for a moment only, so that Redis is read:
    a channel with `rate` events per second, beside `others` of other channels."""
    (name,) = channels(1)
    total, others_of = rate + others, in_turn([], miss=1.0)
    times: list[float] = []

    def pick(i: int) -> str:
        return name if i * rate % total < rate else others_of(i)

    with Rig(environ={"HISTORY_BYTES": "4096"}) as rig:
        rig.producer.past(total, LOOK_BACK_SECONDS, pick)
        rig.until_quiet(0.2)
        with _published(rig, total, pick) as ids:
            for _ in range(clients):
                until(lambda: len(ids[name]) > MISSED, "there is something to miss")
                times.append(_catch_up_ms(rig.port, name, ids[name][-MISSED - 1].decode()))
                time.sleep(0.05)
    return {"p50_ms": statistics.median(times), "max_ms": max(times)}


def storm(sockets: int = 1000) -> Figures:
    """Everybody reconnects at once, each has missed something."""
    names = channels(sockets)
    with Rig() as rig:
        last_id = _missed_events(rig.producer, names)
        rig.until_quiet()
        before = rig.server.cpu_us()
        with rig.load(sockets, names, path=f"/?last_id={last_id}") as load:
            await_messages(load, sockets * MISSED)
            cost = rig.server.cpu_us() - before
            time.sleep(0.5)
            report = load.report()
    return {
        "last_event_after_s": report["last_message_s"],
        "handshakes_s": load.seconds,
        "cpu_us_per_client": cost / sockets,
        "delivered": report["messages"],
        "expected": sockets * MISSED,
    }


def slow_readers(sockets: int = 200, bad: int = 20) -> Figures:
    """Some clients never read: what the others notice, and the memory that it takes."""
    limit = MIB
    good = _broadcast_beside_silent(sockets - bad, 0, limit)
    mixed = _broadcast_beside_silent(sockets, bad, limit)
    return {
        "p50_us_without": good["p50_us"],
        "p99_us_without": good["p99_us"],
        "p50_us": mixed["p50_us"],
        "p99_us": mixed["p99_us"],
        "delivered": mixed["delivered"],
        "expected": mixed["expected"],
        "peak_growth_mib": mixed["peak_growth_mib"],
        # Twice: a batch may be joined beside what is already queued.
        "bound_mib": good["peak_growth_mib"] + 2 * bad * limit / MIB,
        "silent_cut": mixed["silent_cut"],
        "silent": bad,
    }


def storm_latency(live: int = 200, rate: int = 500, sockets: int = 1000) -> Figures:
    """The latency of those who stay while others reconnect in a storm."""
    names = channels(sockets + live)
    stay, come = names[:live], names[live:]
    with Rig() as rig, rig.load(live, stay) as load:
        last_id = _missed_events(rig.producer, come)
        rig.until_quiet()
        pick = in_turn(stay)
        calm = steady(rig, load, pick, rate, 3.0)
        with _storm_in_background(rig, come, last_id):
            stormy = steady(rig, load, pick, rate, 2.0)
    return {
        "p50_us_calm": calm["p50_us"],
        "p99_us_calm": calm["p99_us"],
        "p50_us": stormy["p50_us"],
        "p99_us": stormy["p99_us"],
        "max_us": stormy["max_us"],
        "delivered": stormy["delivered"],
        "expected": stormy["expected"],
    }


CASES: dict[str, Callable[[], Figures]] = {
    case.__name__: case
    for case in (
        *(drain, drain_miss, broadcast, latency, idle, catchup, short_history, storm),
        *(slow_readers, storm_latency),
    )
}

# What other servers can be asked too: they know no catch-up, and some no realtime transport.
COMPARED: dict[str, Callable[..., Figures]] = {
    "drain": drain,
    "drain_miss": drain_miss,
    "broadcast": broadcast,
    "latency": latency_alone,
    "idle": idle,
}


# --- steps, shared with the curves ---------------------------------------------------------------


def hits(events: int, miss: float) -> int:
    """How many of the events are somebody's here. `events` is a multiple of ten."""
    return events * (10 - round(miss * 10)) // 10


def await_messages(load: Load, count: int) -> None:
    """Wait until the clients have had so many messages in all."""
    until(lambda: load.total() >= count, f"{count} messages arrive")


def drained(
    rig: Rig, load: Load, pick: Pick, events: int, miss: float = 0.0, *, size: int = 0, fan: int = 1
) -> Figures:
    """Queue events while the server stands still, let it run, and see what they cost.

    :param fan: sockets per channel.
    """
    expected = hits(events, miss) * fan
    done = load.total()
    rig.until_quiet()
    load.report()
    with rig.paused():
        rig.producer.push(events, pick, size=size)
        cpu, redis = rig.server.cpu_us(), rig.redis.cpu_us()
        start = time.monotonic()
    await_messages(load, done + expected)
    seconds = time.monotonic() - start
    cost = rig.server.cpu_us() - cpu
    redis_cost = rig.redis.cpu_us() - redis
    time.sleep(0.2)
    return {
        "cpu_us_per_event": cost / events,
        "cpu_us_per_delivery": cost / expected,
        "redis_cpu_us_per_event": redis_cost / events,
        "events_per_second": events / seconds,
        "delivered": load.report()["messages"],
        "expected": expected,
    }


def steady(
    rig: Rig,
    load: Load,
    pick: Pick,
    rate: int,
    seconds: float,
    *,
    miss: float = 0.0,
    size: int = 0,
    fan: int = 1,
) -> Figures:
    """Publish at a rate for some time; latencies and cost."""
    rig.until_quiet()
    load.report()
    cpu, redis = rig.server.cpu_us(), rig.redis.cpu_us()
    start = time.monotonic()
    sent = rig.producer.steady(rate, seconds, pick, size=size)
    elapsed = time.monotonic() - start
    time.sleep(0.3)
    cost, redis_cost = rig.server.cpu_us() - cpu, rig.redis.cpu_us() - redis
    report = load.report()
    names = ("p50_us", "p90_us", "p99_us", "max_us")
    return {name: report[name] for name in names} | {
        "rate": sent / elapsed,
        "cpu_us_per_event": cost / sent,
        "cpu_share": cost / elapsed / 1e6,
        "redis_cpu_us_per_event": redis_cost / sent,
        "delivered": report["messages"],
        "expected": sum(1 for i in range(sent) if i % 10 >= round(miss * 10)) * fan,
    }


def to_all(
    rig: Rig, load: Load, sockets: int, produce: Callable[[float], int], seconds: float
) -> Figures:
    """Produce for some time what every socket gets, and see what a delivery costs.

    :param produce: takes seconds, returns how many it has produced.
    """
    produce(1.0)
    rig.until_quiet()
    load.report()
    before = rig.server.cpu_us()
    sent = produce(seconds)
    rig.until_quiet()
    cost = (rig.server.cpu_us() - before) / (sent * sockets)
    report = load.report()
    return {
        "cpu_us_per_delivery": cost,
        "delivered": report["messages"],
        "expected": sent * sockets,
        "first_to_last_p50_us": report["p50_us"],
    }


# --- helpers -------------------------------------------------------------------------------------


def over(floor: float, cost: float) -> Figures:
    """The floor, and a cost as a multiple of it."""
    return {"floor_us": floor, "x_floor": cost / floor}


def _missed_events(producer: Producer, names: list[str]) -> str:
    """Publish what clients with the returned `last_id` have missed, as Superset does."""
    last_id = producer.push(1, in_turn([names[0]]))[0].decode()
    for _ in range(MISSED):
        producer.push(len(names), in_turn(names), streams=("own", "full"))
    return last_id


def _catch_up_ms(port: int, name: str, last_id: str) -> float:
    start = time.monotonic()
    url = f"ws://127.0.0.1:{port}/?last_id={last_id}"
    with connect(url, additional_headers={"Cookie": cookie(name)}) as client:
        for _ in range(MISSED):
            client.recv(timeout=20)
        return (time.monotonic() - start) * 1000


def _broadcast_beside_silent(sockets: int, silent: int, limit: int) -> Figures:
    """A channel's latency with some sockets that never read, until each of those has been cut."""
    names, size, rate, seconds = channels(1), 4096, 250, 8.0
    with Rig(environ={"MAX_SOCKET_BUFFER_BYTES": str(limit)}) as rig:
        before = rig.server.memory()
        with rig.load(sockets, names, silent=silent) as load, _peak(rig) as peak:
            open_files = sum(rig.server.descriptors())
            pick = in_turn(names)
            figures = steady(rig, load, pick, rate, seconds, size=size, fan=sockets - silent)
            cut = open_files - sum(rig.server.descriptors())
    return figures | {"silent_cut": cut, "peak_growth_mib": (max(peak) - before) / MIB}


@contextlib.contextmanager
def _peak(rig: Rig) -> Iterator[list[int]]:
    """Collects the server's memory twice a second."""
    seen, done = [rig.server.memory()], threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            seen.append(rig.server.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _published(rig: Rig, rate: int, pick: Pick) -> Iterator[dict[str, deque[bytes]]]:
    """Events are published meanwhile, as Superset does; the newest IDs of each channel."""
    producer, done = Producer(rig.port_of_redis), threading.Event()
    ids: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=2 * MISSED))

    def publish() -> None:
        start, sent = time.monotonic(), 0
        while not done.wait(max(0.0, start + sent / rate - time.monotonic())):
            name = pick(sent)
            ids[name].append(producer.push(1, {0: name}.__getitem__, streams=("own", "full"))[-1])
            sent += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield ids
    finally:
        done.set()
        thread.join()
        producer.close()


@contextlib.contextmanager
def _storm_in_background(rig: Rig, names: list[str], last_id: str) -> Iterator[None]:
    """Clients reconnect meanwhile; at the end all of them must have what they missed."""
    errors: list[Exception] = []

    def reconnect() -> None:
        try:
            with rig.load(len(names), names, path=f"/?last_id={last_id}") as load:
                await_messages(load, len(names) * MISSED)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=reconnect)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]
