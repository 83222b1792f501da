# SPDX-License-Identifier: Apache-2.0
"""The ledger has what Redis has taken, in Redis's order, and knows it from what it has not."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from wsgi_ws.demo import ledger as module
from wsgi_ws.demo.ledger import Ledger
from wsgi_ws.transport import Transport


def publish(ledger: Ledger, key: str, entry_id: str = "") -> None:
    ledger.publish(Transport.STREAMS, "ana", key, lambda: entry_id)


def keys(ledger: Ledger, after: int = 0) -> list[str]:
    return [entry.key for entry in ledger.after(after)]


def test_an_entry_says_what_was_published_for_whom() -> None:
    ledger = Ledger()
    before = time.time() * 1000
    publish(ledger, "j1 done", "7-0")
    (entry,) = ledger.after(0)
    assert (entry.number, entry.transport, entry.user) == (1, Transport.STREAMS, "ana")
    assert (entry.key, entry.id) == ("j1 done", "7-0")
    assert before <= entry.at <= time.time() * 1000


def test_whoever_asks_again_gets_what_is_new() -> None:
    ledger = Ledger()
    for key in "abc":
        publish(ledger, key)
    assert keys(ledger, after=1) == ["b", "c"]
    assert keys(ledger, after=3) == []


def test_what_redis_refuses_is_counted_and_not_confirmed() -> None:
    def fail() -> str:
        raise ConnectionError

    ledger = Ledger()
    with pytest.raises(ConnectionError):
        ledger.publish(Transport.STREAMS, "ana", "a", fail)
    publish(ledger, "b")
    assert ledger.refused == 1
    entries = [(entry.number, entry.key, entry.confirmed) for entry in ledger.after(0)]
    assert entries == [(1, "a", False), (2, "b", True)]


def test_numbers_have_the_order_in_which_redis_was_written_to() -> None:
    ledger, written = Ledger(), list[str]()

    def write(key: str) -> str:
        written.append(key)
        time.sleep(0.001)  # another thread may overtake here
        return ""

    def run(name: str) -> None:
        for number in range(10):
            key = f"{name}{number}"
            ledger.publish(Transport.REALTIME, "ben", key, partial(write, key))

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys(ledger) == written


def test_it_can_be_read_while_redis_hangs() -> None:
    ledger, hangs, go_on = Ledger(), threading.Event(), threading.Event()
    publish(ledger, "a")

    def hang() -> str:
        hangs.set()
        go_on.wait(30)
        return ""

    thread = threading.Thread(
        target=ledger.publish, args=(Transport.STREAMS, "ana", "b", hang), daemon=True
    )
    thread.start()
    assert hangs.wait(30)
    assert keys(ledger) == ["a"]
    go_on.set()
    thread.join()
    assert keys(ledger) == ["a", "b"]


def test_the_oldest_entries_are_forgotten_and_numbers_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    ledger = Ledger()
    for key in "abc":
        publish(ledger, key)
    assert [(entry.number, entry.key) for entry in ledger.after(0)] == [(2, "b"), (3, "c")]
