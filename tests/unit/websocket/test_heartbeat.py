# SPDX-License-Identifier: Apache-2.0
"""The heartbeat's wheel: each connection is pinged once per interval, evenly, and silence ends it.

Time is counted in ticks here; only the last test sleeps.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.servers import DEADLINE
from wsgi_ws.websocket.heartbeat import SLOTS_MAX, TICK_MIN, Heartbeat

INTERVAL = 1.0
SLOTS = 50  # of an interval this long
ARRIVALS = st.lists(st.integers(0, 7), min_size=1, max_size=120)  # newcomers before each tick


class FakeConnection:
    """What the heartbeat uses of a connection; a real one needs a socket and a loop."""

    def __init__(self, *, answers: bool = True) -> None:
        self.slot = -1
        self.pong_at = 0.0
        self.unanswered_since: float | None = None
        self.pings: list[float] = []
        self.terminated: list[str] = []
        self._answers = answers

    def ping(self, now: float) -> None:
        self.pings.append(now)
        if not self._answers and self.unanswered_since is None:
            self.unanswered_since = now

    def terminate(self, reason: str) -> None:
        self.terminated.append(reason)


def make(*, answers: bool = True) -> Any:
    return FakeConnection(answers=answers)


def tick(heartbeat: Heartbeat, number: int) -> None:
    heartbeat.tick(number * heartbeat.tick_length)


def in_ticks(heartbeat: Heartbeat, times: list[float]) -> list[int]:
    return [round(time / heartbeat.tick_length) for time in times]


def run(arrivals: list[int], heartbeat: Heartbeat, intervals: int = 4) -> list[Any]:
    """Let connections come as told, then let whole intervals pass."""
    everybody: list[Any] = []
    for number in range(len(arrivals) + intervals * SLOTS):
        for _ in range(arrivals[number] if number < len(arrivals) else 0):
            everybody.append(make())
            heartbeat.add(everybody[-1])
        tick(heartbeat, number)
    return everybody


@given(ARRIVALS)
def test_every_connection_is_pinged_exactly_once_per_interval(arrivals: list[int]) -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=60)
    distances = {
        after - before
        for one in run(arrivals, heartbeat)
        for before, after in zip(
            in_ticks(heartbeat, one.pings), in_ticks(heartbeat, one.pings)[1:], strict=False
        )
    }
    assert distances <= {SLOTS}


@given(ARRIVALS)
def test_the_first_ping_comes_within_one_interval(arrivals: list[int]) -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=60)
    everybody = run(arrivals, heartbeat, intervals=1)
    assert all(one.pings for one in everybody)


@given(ARRIVALS)
def test_pings_are_spread_evenly_however_connections_arrive(arrivals: list[int]) -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=60)
    everybody = run(arrivals, heartbeat)
    per_tick = Counter(t for one in everybody for t in in_ticks(heartbeat, one.pings))
    assert max(per_tick.values(), default=0) <= math.ceil(len(everybody) / SLOTS)


def test_ten_thousand_that_come_at_once_are_pinged_a_few_at_a_time() -> None:
    heartbeat = Heartbeat(20.0, timeout=60)
    everybody = [make() for _ in range(10_000)]
    for one in everybody:
        heartbeat.add(one)
    tick(heartbeat, 0)
    assert sum(bool(one.pings) for one in everybody) == math.ceil(10_000 / SLOTS_MAX)


@given(ARRIVALS)
def test_who_answers_is_never_terminated(arrivals: list[int]) -> None:
    everybody = run(arrivals, Heartbeat(INTERVAL, timeout=0.1))
    assert not any(one.terminated for one in everybody)


@given(st.floats(0.001, 5), st.integers(0, 120), st.integers())
def test_silence_ends_a_connection_soon_after_the_timeout_and_never_before(
    timeout: float, others: int, seed: int
) -> None:
    early_or_late = random.Random(seed)
    heartbeat = Heartbeat(INTERVAL, timeout)
    for _ in range(others):
        heartbeat.add(make())
    silent = make(answers=False)
    heartbeat.add(silent)
    for number in range(1, 500):
        now = (number + early_or_late.uniform(-0.49, 0.49)) * heartbeat.tick_length
        heartbeat.tick(now)
        if silent.terminated:
            break
    waited = now - silent.pings[0]
    assert timeout <= waited <= timeout + 3 * heartbeat.tick_length


def test_the_reason_tells_how_long_the_pong_was_missing() -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=0.5)
    silent = make(answers=False)
    heartbeat.add(silent)
    silent.pong_at = -20.0
    for number in range(SLOTS):
        tick(heartbeat, number)
    assert silent.terminated == ["no pong for 20.5 s"]


def test_a_late_pong_before_the_timeout_saves_the_connection() -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=0.5)
    one = make(answers=False)
    heartbeat.add(one)
    for number in range(SLOTS):
        tick(heartbeat, number)
        if number == 20:
            one.unanswered_since = None
    assert not one.terminated


def test_a_removed_connection_is_not_pinged_again() -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=60)
    one = make()
    heartbeat.add(one)
    heartbeat.remove(one)
    for number in range(2 * SLOTS):
        tick(heartbeat, number)
    assert one.pings == []


def test_removing_twice_is_removing_once() -> None:
    heartbeat = Heartbeat(INTERVAL, timeout=60)
    one, other = make(), make()
    heartbeat.add(one)
    heartbeat.add(other)
    heartbeat.remove(one)
    heartbeat.remove(one)
    assert len(heartbeat) == 1


@given(st.floats(0.001, 3600))
def test_ticks_of_one_round_are_together_one_interval(interval: float) -> None:
    heartbeat = Heartbeat(interval, timeout=60)
    slots = round(interval / heartbeat.tick_length)
    assert heartbeat.tick_length * slots == pytest.approx(interval)


@given(st.floats(0.001, 3600))
def test_a_tick_is_never_so_short_that_it_costs_more_than_it_smooths(interval: float) -> None:
    assert Heartbeat(interval, timeout=60).tick_length >= min(interval, TICK_MIN)


def test_running_pings_a_connection_again_and_again() -> None:
    heartbeat = Heartbeat(0.1, timeout=60)
    one = make()
    heartbeat.add(one)
    greenlet = gevent.spawn(heartbeat.run)
    with gevent.Timeout(DEADLINE):
        while len(one.pings) < 3:
            gevent.sleep(0.01)
    greenlet.kill()
    assert one.pings == sorted(one.pings)
