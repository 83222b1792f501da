# SPDX-License-Identifier: Apache-2.0
"""How it grows: sockets, workers, events per second, bytes per event, sockets per channel.

Every point is short, so that a whole set takes some minutes; every point of a curve has a server of
its own but where only the stream changes.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from typing import Any

from bench.cases import MIB, WARM_UP_EVENTS, await_messages, drained, hits, steady
from bench.native import floor_of_send
from bench.producer import channels, in_turn
from bench.server import Rig

Point = dict[str, Any]

SPARE_DESCRIPTORS = 64
SOCKETS = (10, 100, 1000, 5000, 10_000, 20_000)
WORKERS = (1, 2, 3, 4)
RATES = (100, 1000, 5000, 10_000, 20_000)
SIZES = (200, 1024, 4096, 16_384, 65_536)
FANS = (1, 10, 100, 1000)


def by_sockets() -> Iterator[Point]:
    """Cost and latency against the number of sockets of one worker."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS
    for sockets in (min(n, most) for n in SOCKETS):
        names = channels(sockets)
        pick = in_turn(names)
        with Rig() as rig:
            memory, cpu = rig.server.memory(), rig.server.cpu_us()
            with rig.load(sockets, names) as load:
                handshake = (rig.server.cpu_us() - cpu) / sockets
                _warm_up(rig, load, pick)
                grown = rig.server.memory()
                live = steady(rig, load, pick, 1000, 2.0)
                yield (
                    {"sockets": sockets, "cpu_us_per_handshake": handshake}
                    | live
                    | {
                        "total_mib": grown / MIB,
                        "base_mib": memory / MIB,
                        "drain_cpu_us_per_event": drained(rig, load, pick, 20_000)[
                            "cpu_us_per_event"
                        ],
                    }
                )


def by_workers() -> Iterator[Point]:
    """The same load on more workers: each reads the whole stream."""
    sockets = 1000
    names = channels(sockets)
    pick = in_turn(names)
    for workers in WORKERS:
        with Rig(workers=workers) as rig, rig.load(sockets, names) as load:
            _warm_up(rig, load, pick)
            held = rig.server.descriptors()
            live = steady(rig, load, pick, 1000, 2.0)
            figures = drained(rig, load, pick, 40_000)
            missed = drained(rig, load, in_turn(names, 0.9), 40_000, 0.9)
            yield (
                {"workers": workers}
                | live
                | {
                    "drain_cpu_us_per_event": figures["cpu_us_per_event"],
                    "drain_events_per_second": figures["events_per_second"],
                    "drain_redis_cpu_us_per_event": figures["redis_cpu_us_per_event"],
                    "miss_cpu_us_per_event": missed["cpu_us_per_event"],
                    "most_to_least_sockets": max(held) / max(1, min(held)),
                    "total_mib": rig.server.memory() / MIB,
                }
            )


def by_rate() -> Iterator[Point]:
    """Latency and cost against events per second, all for somebody here or one in ten."""
    sockets = 1000
    names = channels(sockets)
    for miss in (0.0, 0.9):
        pick = in_turn(names, miss)
        with Rig() as rig, rig.load(sockets, names) as load:
            _warm_up(rig, load, in_turn(names))
            for rate in RATES:
                figures = steady(rig, load, pick, rate, 2.5, miss=miss)
                yield {"asked_rate": rate, "miss": miss} | figures


def by_size() -> Iterator[Point]:
    """Cost and latency against the bytes of an event."""
    sockets = 200
    names = channels(sockets)
    pick = in_turn(names)
    for size in SIZES:
        floor = floor_of_send(size, sockets)
        events = min(20_000, 100 * MIB // size // 10 * 10)
        with Rig() as rig, rig.load(sockets, names) as load:
            _warm_up(rig, load, pick)
            live = steady(rig, load, pick, 200, 2.0, size=size)
            figures = drained(rig, load, pick, events, size=size)
            yield (
                {"bytes": size}
                | live
                | {
                    "floor_us": floor,
                    "drain_cpu_us_per_event": figures["cpu_us_per_event"],
                    "drain_mib_per_second": figures["events_per_second"] * size / MIB,
                }
            )


def by_fan() -> Iterator[Point]:
    """Cost and latency against the sockets of a channel, at 10,000 deliveries per second."""
    sockets = 1000
    for fan in FANS:
        names = channels(sockets // fan)
        pick = in_turn(names)
        with Rig() as rig, rig.load(sockets, names) as load:
            _warm_up(rig, load, pick, fan)
            live = steady(rig, load, pick, 10_000 // fan, 2.5, fan=fan)
            figures = drained(rig, load, pick, 40_000 // fan, fan=fan)
            yield (
                {"sockets_per_channel": fan}
                | live
                | {
                    "cpu_us_per_delivery": live["cpu_us_per_event"] / fan,
                    "drain_cpu_us_per_delivery": figures["cpu_us_per_delivery"],
                }
            )


CURVES: dict[str, Callable[[], Iterator[Point]]] = {
    "sockets": by_sockets,
    "workers": by_workers,
    "rate": by_rate,
    "size": by_size,
    "fan": by_fan,
}


def _warm_up(rig: Rig, load: Any, pick: Any, fan: int = 1) -> None:
    done = load.total()
    events = WARM_UP_EVENTS // 4 // fan // 10 * 10 or 10
    rig.producer.push(events, pick)
    await_messages(load, done + hits(events, 0.0) * fan)
