# SPDX-License-Identifier: Apache-2.0
"""How much is asked of Redis at once."""

from __future__ import annotations

from wsgi_ws.sources.ration import BUDGET_BYTES, FIRST_GUESS_BYTES, RECOVERY, Ration


def test_at_first_entries_are_taken_for_events_of_superset() -> None:
    assert Ration().entries == BUDGET_BYTES // FIRST_GUESS_BYTES


def test_heavy_entries_count_at_once() -> None:
    ration = Ration()
    ration.weigh(10, 10 * 100_000)
    assert ration.entries == BUDGET_BYTES // 100_000


def test_light_ones_count_by_and_by() -> None:
    ration = Ration()
    ration.weigh(1, 1000 * FIRST_GUESS_BYTES)
    seen = []
    for _ in range(20):
        ration.weigh(0, 0)
        seen.append(ration.entries)
    assert seen == sorted(seen)
    assert (seen[0] < 20, seen[-1] > BUDGET_BYTES // FIRST_GUESS_BYTES) == (True, True)


def test_an_entry_heavier_than_the_budget_is_asked_for_alone() -> None:
    ration = Ration()
    ration.weigh(1, 2 * BUDGET_BYTES)
    assert ration.entries == 1


def test_after_a_refusal_less_is_asked_for() -> None:
    ration, before = Ration(), Ration().entries
    ration.refuse(now=0.0)
    ration.weigh(1, FIRST_GUESS_BYTES, now=RECOVERY / 2)
    assert ration.entries == before // 2


def test_a_while_after_a_refusal_as_much_as_before_is_asked_for() -> None:
    ration, before = Ration(), Ration().entries
    ration.refuse(now=0.0)
    ration.weigh(1, FIRST_GUESS_BYTES, now=RECOVERY)
    assert ration.entries == before


def test_however_often_redis_refuses_something_is_asked_for() -> None:
    ration = Ration()
    for _ in range(100):
        ration.refuse()
    assert ration.entries > 0
