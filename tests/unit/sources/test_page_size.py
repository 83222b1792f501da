# SPDX-License-Identifier: Apache-2.0
"""Pages are sized by what the last ones weighed, and by what was refused."""

from __future__ import annotations

import pytest

from wsgi_ws.sources.page_size import BUDGET_BYTES, FIRST, RECOVERY, PageSize

MANY = 10**6


def after(*pages: tuple[int, int]) -> PageSize:
    """:param pages: entries and bytes of an entry."""
    size = PageSize()
    for entries, weight in pages:
        size.came(entries, entries * weight, 0.0)
    return size


def test_a_few_entries_are_asked_for_while_nothing_is_known() -> None:
    assert PageSize().entries(MANY) == FIRST


def test_pages_grow_step_by_step() -> None:
    size, asked = PageSize(), []
    for _ in range(4):
        asked.append(size.entries(MANY))
        size.came(asked[-1], asked[-1], 0.0)
    assert asked == [FIRST, 4 * FIRST, 16 * FIRST, 64 * FIRST]


def test_no_more_is_asked_for_than_is_wanted() -> None:
    assert after((1000, 1)).entries(100) == 100


@pytest.mark.parametrize("weight", [300, 10_000, 60_000, 10**7])
def test_a_page_has_a_bound_in_bytes(weight: int) -> None:
    assert after((10_000, weight)).entries(MANY) == max(1, min(40_000, BUDGET_BYTES // weight))


def test_heavier_entries_count_at_once_and_lighter_ones_by_and_by() -> None:
    heavy = after((10_000, 100), (10, 60_000))
    assert heavy.entries(MANY) == BUDGET_BYTES // 60_000
    heavy.came(10, 1000, 0.0)
    assert heavy.entries(MANY) == BUDGET_BYTES // 30_000


def test_after_a_refusal_less_is_asked_for_whatever_an_entry_was_thought_to_weigh() -> None:
    size = after((10_000, 10))
    size.refused(100, 0.0)
    assert size.entries(MANY) == 25


def test_an_empty_page_tells_nothing() -> None:
    assert after((0, 0)).entries(MANY) == FIRST


def test_what_was_refused_is_not_asked_for_again_at_once() -> None:
    size = after((10_000, 10_000))
    refused = size.entries(MANY)
    size.refused(refused, 0.0)
    for _ in range(10):
        size.came(size.entries(MANY), size.entries(MANY) * 10_000, RECOVERY / 2)
    assert size.entries(MANY) <= refused / 2


def test_in_time_it_is_asked_for_again() -> None:
    size = after((10_000, 10_000))
    wanted = size.entries(MANY)
    size.refused(wanted, 0.0)
    for _ in range(10):
        size.came(size.entries(MANY), size.entries(MANY) * 10_000, RECOVERY)
    assert size.entries(MANY) == wanted


def test_in_time_a_beginning_is_made_again_even_if_nothing_comes() -> None:
    size = PageSize()
    size.refused(1, 0.0)
    size.came(0, 0, RECOVERY)
    assert size.entries(MANY) == FIRST


def test_commands_that_go_out_together_share_a_page() -> None:
    size = after((10_000, 300))
    assert size.entries_each(1000, 100) == size.entries(MANY) // 100


def test_one_entry_is_always_asked_for() -> None:
    size = PageSize()
    for _ in range(100):
        size.refused(1, 0.0)
    assert size.entries(MANY) == 1
