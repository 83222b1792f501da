# SPDX-License-Identifier: Apache-2.0
"""The cases of the realtime transport: broadcasts, targeted messages, and both at once.

`wsload` takes a message's latency from the `"t"` at its end.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench.cases import Figures, over, to_all
from bench.native import floor_of_send
from bench.peers import Peer
from bench.producer import Producer
from bench.server import Rig
from testbed.servers import SECRET
from wsgi_ws.superset.names import BROADCAST, ENTITY_CHANGED, TASK_STATUS
from wsgi_ws.superset.realtime import envelope
from wsgi_ws.superset.token import RealtimeSigner


def realtime_broadcast(
    sockets: int = 1000, messages: int = 100, rate: int = 20, peer: Peer | None = None
) -> Figures:
    """Messages for everybody, each of another entity."""
    floor = floor_of_send()
    with _rig(peer) as rig, rig.load(sockets, users(sockets), cookie_of=_cookie) as load:

        def produce(seconds: float) -> int:
            return rig.producer.publish(rate, seconds, changed)

        figures = to_all(rig, load, sockets, produce, messages / rate)
    return figures | over(floor, figures["cpu_us_per_delivery"])


def realtime_broadcast_10k() -> Figures:
    """The same, and ten thousand sockets."""
    return realtime_broadcast(10_000, messages=50, rate=5)


def realtime_targeted(
    rate: int = 1000, sockets: int = 1000, seconds: float = 8.0, peer: Peer | None = None
) -> Figures:
    """A steady stream of messages, each for one user: from PUBLISH to the client."""
    floor = floor_of_send()
    with _rig(peer) as rig, rig.load(sockets, users(sockets), cookie_of=_cookie) as load:
        rig.producer.publish(rate, 1.0, lambda i: status(i, sockets))
        rig.until_quiet()
        load.report()
        before = rig.server.cpu_us()
        sent = rig.producer.publish(rate, seconds, lambda i: status(i, sockets))
        time.sleep(0.3)
        cost = (rig.server.cpu_us() - before) / sent
        report = load.report()
    return (
        {name: report[name] for name in ("p50_us", "p99_us")}
        | {
            "cpu_us_per_event": cost,
            "delivered": report["messages"],
            "expected": sent,
        }
        | over(floor, cost)
    )


def realtime_storm(sockets: int = 10_000, live: int = 200, rate: int = 200) -> Figures:
    """The latency of targeted messages while everybody gets broadcasts without end."""
    names = users(sockets + live)
    figures: Figures = {}
    with (
        _rig() as rig,
        rig.load(sockets, names[:sockets], cookie_of=_cookie),
        rig.load(live, names[sockets:], cookie_of=_cookie) as load,
    ):
        rig.until_quiet()
        for name, meanwhile in (("calm", contextlib.nullcontext()), ("stormy", _broadcasts(rig))):
            with meanwhile:
                load.report()
                rig.producer.publish(rate, 4.0, lambda i: status(i, live, sockets))
                time.sleep(0.3)
            report = load.report()
            figures |= {f"{key}_{name}": report[key] for key in ("p50_us", "p99_us")}
    return figures


CASES = {
    case.__name__: case
    for case in (realtime_broadcast, realtime_broadcast_10k, realtime_targeted, realtime_storm)
}
COMPARED = {"realtime_broadcast": realtime_broadcast, "realtime_targeted": realtime_targeted}


def users(count: int) -> list[str]:
    return [f"user:{number}" for number in range(count)]


def changed(number: int) -> bytes:
    """What says to everybody that a task has changed."""
    payload = {"entity_type": "task", "id": number}
    return _stamped(ENTITY_CHANGED, BROADCAST, payload)


def unstamped(number: int) -> bytes:
    """The same without a time."""
    return envelope(ENTITY_CHANGED, BROADCAST, {"entity_type": "task", "id": number})


def status(number: int, count: int, first: int = 0) -> bytes:
    """What says to one of some users that a task has ended."""
    payload = {"task_id": f"{number:032x}", "status": "success"}
    return _stamped(TASK_STATUS, "principal", payload, [f"user:{first + number * 7919 % count}"])


def _stamped(topic: str, scope: str, payload: dict[str, Any], routes: Any = None) -> bytes:
    data = envelope(topic, scope, payload | {"t": 0}, routes)
    return data.replace(b'"t": 0', b'"t":%d' % time.monotonic_ns())


def _cookie(user: str) -> str:
    return RealtimeSigner(SECRET).cookie(user)


def _rig(peer: Peer | None = None) -> Rig:
    """With one transport, as the streams' cases have been measured with one."""
    return Rig(environ={"TRANSPORTS": "realtime"}, peer=peer)


@contextlib.contextmanager
def _broadcasts(rig: Rig) -> Iterator[None]:
    """Twenty broadcasts a second, meanwhile; without a time, since theirs is not of interest."""
    producer, done = Producer(rig.port_of_redis), threading.Event()

    def publish() -> None:
        while not done.is_set():
            producer.publish(20, 0.2, unstamped)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        producer.close()
