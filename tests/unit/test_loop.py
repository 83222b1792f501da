# SPDX-License-Identifier: Apache-2.0
"""Who works for long lets the loop look for input, by time."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent import socket

from wsgi_ws.loop import SLICE, give_way


def turns_until_input_is_seen(step: Callable[[], None]) -> int:
    """How often a busy greenlet steps and gives way before another gets what was sent to it."""
    ours, theirs = socket.socketpair()
    seen = gevent.spawn(theirs.recv, 1)
    gevent.sleep(0.01)  # it waits now
    turns = 0
    ours.send(b"x")
    while not seen.dead and turns < 200:
        step()
        give_way()
        turns += 1
    ours.close()
    theirs.close()
    return turns


def work_for_a_slice() -> None:
    end = time.monotonic() + SLICE * 1.1
    while time.monotonic() < end:
        pass


def test_after_each_slice_the_loop_looks_for_input() -> None:
    assert turns_until_input_is_seen(work_for_a_slice) <= 3


def test_within_a_slice_nobody_else_runs() -> None:
    ran: list[int] = []
    gevent.sleep(0.01)  # the slice begins
    gevent.spawn(ran.append, 1)
    give_way()
    assert ran == []
