# SPDX-License-Identifier: Apache-2.0
"""The soak's judgement on channels that several producers write to, some of which die.

Jobs `a`, `b`, `c`, `d` are in the global stream, a second apart; `o` is an orphan.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from soak.shared_truth import SharedChannel, SharedReader, Written
from soak.truth import Ledger
from wsgi_ws.sources.streams.replay import ORPHAN_LOOK_BACK_MS

START = 1_000_000  # ms
WHOLE = [Written(START + 1000 * number, job) for number, job in enumerate("abcd", 1)]
ORPHAN = Written(START + 1500, "o")
OVER = [*WHOLE, ORPHAN]


class Tab:
    """A tab of a channel, and its clock."""

    def __init__(self, accepted_ms: int = START) -> None:
        self._now_ms = accepted_ms
        self.channel = SharedChannel("c", lambda: self._now_ms)
        self.reader: SharedReader = self.channel.reader()

    def gets(self, jobs: str) -> Tab:
        """A connection with these events."""
        self.reader.opened()
        for job in jobs:
            place = next((w.ms for w in WHOLE if w.job == job), ORPHAN.ms)
            self.reader.take({"id": f"{place}-0", "channel_id": "c", "job_id": job})
        return self

    def all_is_over(self, halves: Sequence[Written] = OVER, excused: Sequence[str] = ()) -> Tab:
        self.channel.settle(WHOLE, halves, set(excused))
        return self

    def problems(self, *, complete: bool = True) -> dict[str, list[str]]:
        if complete:
            self.reader.give_up_waiting()
        ledger = Ledger()
        ledger.leaves("tab", self.reader)
        return {kind: found for kind, found in ledger.problems().items() if found}


@pytest.mark.parametrize(
    ("jobs", "problems"),
    [
        ("abcd", {}),
        ("acd", {"lost": ["tab: b"]}),
        ("bcd", {"lost": ["tab: a"]}),
        ("ab", {"lost": ["tab: c", "tab: d"]}),
        ("abbcd", {"repeated": ["tab: b"]}),
        ("acbd", {"out_of_order": ["tab: c", "tab: b"]}),
        ("", {"lost": ["tab: a", "tab: b", "tab: c", "tab: d"]}),
    ],
)
def test_the_global_stream_is_the_truth(jobs: str, problems: dict[str, list[str]]) -> None:
    assert Tab().gets(jobs).all_is_over().problems() == problems


def test_a_repeat_is_one_also_in_another_connection() -> None:
    assert Tab().gets("ab").gets("bcd").all_is_over().problems() == {"repeated": ["tab: b"]}


def test_a_tab_is_due_what_was_written_after_it_was_accepted() -> None:
    assert Tab(accepted_ms=START + 2000).gets("cd").all_is_over().problems() == {}


def test_what_was_written_while_it_was_accepted_may_come_but_not_with_a_hole() -> None:
    late = START + 3000
    assert Tab(accepted_ms=late).gets("bcd").all_is_over().problems() == {}
    assert Tab(accepted_ms=late).gets("bd").all_is_over().problems() == {"lost": ["tab: c"]}


def test_a_tab_that_leaves_is_not_owed_what_is_on_its_way() -> None:
    assert Tab().gets("ab").all_is_over().problems(complete=False) == {}
    assert Tab().gets("ac").all_is_over().problems(complete=False) == {"lost": ["tab: b"]}


def test_an_orphan_is_due_in_a_catch_up_after_the_end() -> None:
    problems = Tab().gets("abcd").all_is_over().gets("").problems()
    assert problems == {"orphans_lost": ["tab: o"]}


def test_an_orphan_that_came_earlier_is_not_lost() -> None:
    assert Tab().gets("a").gets("obcd").all_is_over().gets("").problems() == {}


def test_an_orphan_is_not_due_without_a_catch_up() -> None:
    assert Tab().gets("abcd").all_is_over().problems() == {}


def test_an_orphan_is_due_as_long_as_it_is_looked_for() -> None:
    newest = WHOLE[-1].ms
    for age, lost in ((ORPHAN_LOOK_BACK_MS, ["tab: o"]), (ORPHAN_LOOK_BACK_MS + 1, [])):
        halves = [Written(newest - age, "o"), *WHOLE]
        problems = Tab().gets("abcd").all_is_over(halves).gets("").problems()
        assert problems.get("orphans_lost", []) == lost


def test_an_orphan_may_come_once_in_every_connection() -> None:
    assert Tab().gets("ao").gets("obcd").all_is_over().gets("o").problems() == {}
    problems = Tab().gets("aoo").gets("bcd").all_is_over().problems()
    assert problems == {"orphans_repeated_at_once": ["tab: o"]}


def test_a_late_second_half_may_come_again_and_at_another_place_but_must_come() -> None:
    assert Tab().gets("abdcd").all_is_over(excused="cd").problems() == {}
    assert Tab().gets("abd").all_is_over(excused="c").problems() == {"lost": ["tab: c"]}


def test_somebody_elses_event_is_foreign() -> None:
    tab = Tab().gets("abcd")
    tab.reader.take({"id": "1-0", "channel_id": "d", "job_id": "x"})
    assert tab.all_is_over().problems() == {"foreign": ["tab: x"]}


def test_a_tab_is_behind_until_all_is_over_and_it_has_everything() -> None:
    tab = Tab().gets("abc")
    assert tab.reader.behind()
    tab.all_is_over().gets("d")
    assert tab.reader.behind(), "the orphan"
    tab.gets("o")
    assert not tab.reader.behind()
