# SPDX-License-Identifier: Apache-2.0
"""The soak's judgement on sockets of Superset 7: a loss of which nobody was told, a repeat, and
messages that are somebody else's.

Messages are published a second apart from 1 on: those in small letters are for everybody, those in
capitals for one tab. Each comes a tenth of a second later.
"""

from __future__ import annotations

import pytest

from soak.realtime.truth import (
    MEMORY,
    SILENT_AT_MOST,
    TOLD_WITHIN,
    UPHEAVAL,
    Ending,
    Journal,
    Ledger,
    Life,
    Renewal,
)

ROUTES = frozenset({"user:1", "user:1:3"})
DELAY = 0.1


class Scene:
    """A journal, and the sockets of one tab."""

    def __init__(self, published: str, unanswered: str = "", not_kept: str = "") -> None:
        self.journal = Journal()
        self.ledger = Ledger()
        for number, letter in enumerate(published, 1):
            routes = ["user:1:3"] if letter.isupper() else None
            publication = self.journal.begins(
                letter.encode(), routes, number, is_kept=letter not in not_kept
            )
            publication.ends(number, returned=letter not in unanswered)

    def socket(
        self,
        received: str,
        *,
        opened: float = 0.0,
        ended: float = 100.0,
        ending: Ending = Ending.OPEN,
        renewal: Renewal | None = None,
    ) -> Renewal | None:
        life = Life(self.journal, self.ledger, "tab", ROUTES, opened, renewal)
        at = opened
        for letter in received:
            begins = [p.begin for p in self.journal.alike(letter.encode()) if p.begin + DELAY > at]
            at = max(at, begins[0] + DELAY if begins else at)
            life.take(letter.encode(), at)
        return life.end(ended, ending)

    def problems(self) -> dict[str, list[str]]:
        found = self.ledger.problems()
        return {kind.removeprefix("realtime_"): names for kind, names in found.items() if names}


LOST = {"lost_silently": ["tab: c #2"]}


@pytest.mark.parametrize("received", ["abcd", "aBcD", "ABCD"])
def test_everything_in_order_is_right(received: str) -> None:
    scene = Scene(received)
    scene.socket(received)
    assert scene.problems() == {}


@pytest.mark.parametrize("received", ["aBc", "Bac", "acB"])
def test_what_is_for_everybody_and_what_is_for_one_may_overtake_each_other(received: str) -> None:
    scene = Scene("aBc")
    scene.socket(received)
    assert scene.problems() == {}


def test_a_hole_in_a_socket_that_stays_open_is_a_loss() -> None:
    scene = Scene("abcd")
    scene.socket("abd")
    assert scene.problems() == LOST


def test_a_missing_end_of_a_socket_that_stays_open_is_a_loss() -> None:
    scene = Scene("abc")
    scene.socket("ab")
    assert scene.problems() == LOST


def test_a_hole_is_no_loss_when_a_close_follows_soon() -> None:
    scene = Scene("abcd")
    scene.socket("abd", ended=4 + DELAY + TOLD_WITHIN - 0.01, ending=Ending.KNOWN)
    assert scene.problems() == {}


def test_a_close_long_after_a_hole_does_not_tell_of_it() -> None:
    scene = Scene("abcd")
    scene.socket("abd", ended=4 + DELAY + TOLD_WITHIN + 0.01, ending=Ending.KNOWN)
    assert scene.problems() == LOST


def test_where_nothing_comes_any_more_the_close_may_take_as_long_as_an_outage() -> None:
    for ended, problems in ((3 + SILENT_AT_MOST, {}), (3.01 + SILENT_AT_MOST, LOST)):
        scene = Scene("abc")
        scene.socket("ab", ended=ended, ending=Ending.KNOWN)
        assert scene.problems() == problems


def test_what_was_not_answered_is_not_owed_but_may_come() -> None:
    for received in ("abd", "abcd"):
        scene = Scene("abcd", unanswered="c")
        scene.socket(received)
        assert scene.problems() == {}


def test_what_was_published_before_the_socket_was_open_is_not_owed_but_may_come() -> None:
    for received in ("cd", "abcd"):
        scene = Scene("abcd")
        scene.socket(received, opened=2.5)
        assert scene.problems() == {}


def test_what_is_older_than_the_servers_memory_may_not_come() -> None:
    scene = Scene("a")
    scene.socket("a", opened=1.1 + MEMORY)
    assert scene.problems() == {"repeated": ["tab: a"]}


@pytest.mark.parametrize("received", ["abbc", "abcb", "aBBc"])
def test_what_comes_twice_is_repeated(received: str) -> None:
    scene = Scene("aBc" if "B" in received else "abc")
    scene.socket(received)
    again = "B" if "B" in received else "b"
    assert scene.problems() == {"repeated": [f"tab: {again}"]}


def test_what_comes_before_an_older_one_is_out_of_order() -> None:
    scene = Scene("abc")
    scene.socket("acb")
    assert scene.problems() == {"out_of_order": ["tab: b"]}


def test_equal_messages_may_become_one() -> None:
    scene = Scene("abab")
    scene.socket("ab", opened=0.0)
    assert scene.problems() == {"lost_silently": ["tab: a #2", "tab: b #3"]}, "each came too early"
    scene = Scene("aa")
    life = Life(scene.journal, scene.ledger, "tab", ROUTES, 0.0)
    life.take(b"a", 2.1)
    life.end(100.0, Ending.OPEN)
    assert scene.problems() == {}


def test_what_is_published_twice_may_come_twice() -> None:
    scene = Scene("aaB")
    scene.socket("aaB")
    assert scene.problems() == {}


def test_what_is_for_others_is_foreign() -> None:
    scene = Scene("a")
    scene.journal.begins(b"X", ["user:2"], 1.5)
    scene.socket("aX")
    scene.socket("aY")
    assert scene.problems() == {"foreign": ["tab: X", "tab: Y"]}


# --- renewals ------------------------------------------------------------------------------------


def renewed(scene: Scene, received: str, **second: str | float | Ending) -> None:
    """The page renews its socket at 2.5 when it has got `a`, and the next one opens at 3.5."""
    renewal = scene.socket("a", ended=2.5, ending=Ending.RENEWED)
    assert renewal is not None
    ended, ending = second.get("ended", 100.0), second.get("ending", Ending.OPEN)
    assert isinstance(ended, float)
    assert isinstance(ending, Ending)
    scene.socket(received, opened=3.5, ended=ended, ending=ending, renewal=renewal)


def test_what_was_under_way_at_a_renewal_comes_on_the_next_socket() -> None:
    scene = Scene("abcd")
    renewed(scene, "bcd")
    assert scene.problems() == {}


@pytest.mark.parametrize(("received", "missed"), [("cd", "b #1"), ("bd", "c #2")])
def test_what_comes_on_neither_socket_is_missed(received: str, missed: str) -> None:
    scene = Scene("abcd")
    renewed(scene, received)
    assert scene.problems() == {"missed_in_a_renewal": [f"tab: {missed}"]}


def test_a_close_soon_after_a_renewal_tells_of_what_was_missed() -> None:
    scene = Scene("abcd")
    renewed(scene, "d", ended=5.0, ending=Ending.KNOWN)
    assert scene.problems() == {}


def test_what_the_server_does_not_keep_is_not_owed_after_a_renewal() -> None:
    scene = Scene("aBcd", not_kept="B")
    renewed(scene, "cd")
    assert scene.problems() == {}


def test_a_renewal_near_an_upheaval_may_miss_something() -> None:
    for at, problems in (
        (2.5 - UPHEAVAL, {}),
        (2.5 + UPHEAVAL, {}),
        (2.4 - UPHEAVAL, {"missed_in_a_renewal": ["tab: c #2"]}),
        (2.6 + UPHEAVAL, {"missed_in_a_renewal": ["tab: c #2"]}),
    ):
        scene = Scene("abcd")
        scene.ledger.upheavals.append(at)
        renewed(scene, "bd")
        assert scene.problems() == problems


# --- before a page leaves ------------------------------------------------------------------------


@pytest.mark.parametrize(("received", "awaits"), [("abd", True), ("abcd", False), ("ab", False)])
def test_a_page_with_a_hole_awaits_the_close(received: str, awaits: bool) -> None:
    scene = Scene("abcd")
    life = Life(scene.journal, scene.ledger, "tab", ROUTES, 0.0)
    for letter in received:
        life.take(letter.encode(), scene.journal.alike(letter.encode())[0].begin + DELAY)
    assert life.awaits_close(4.5) == awaits
    assert not life.awaits_close(4.2 + TOLD_WITHIN), "then it is lost"
