# SPDX-License-Identifier: Apache-2.0
"""A small `make scale`: three instances behind HAProxy, one restarted and another killed; and what
its verdict sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from scale import haproxy
from scale.plan import TABS_OF_A_USER, Plan
from scale.report import figures, table
from scale.run import Run
from scale.tabs import Page, StreamTab, Tab
from scale.verdict import PAGE_GIVES_UP, Outcome, Wave, verdict
from soak.realtime import truth as realtime_truth
from soak.realtime.truth import Journal
from soak.sockets import Census
from soak.truth import Channel, Ledger
from testbed.absent import absent

PLAN = Plan(sockets=600, rate=150.0, calm=1.0, rest=1.0, restarts=1, descriptors=2000)
SURROUNDINGS = {
    "date": "2026-01-31T12:00:00",
    "revision": "abc",
    "machine": {"cores": 2, "cpu": "a CPU", "descriptors": 2000},
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What is left of a run."""
    if haproxy.executable() is None:
        absent("no HAProxy found (on Debian: apt-get install haproxy)")
    return Run(PLAN, tmp_path_factory.mktemp("scale"), lambda _: None).run()


@pytest.mark.timeout(300)
def test_nothing_is_lost_when_an_instance_is_restarted_and_killed_under_load(
    outcome: Outcome,
) -> None:
    assert [check for check in verdict(outcome) if not check.passed] == []


@pytest.mark.timeout(300)
def test_a_restart_and_a_kill_move_the_sockets_of_one_instance(outcome: Outcome) -> None:
    for wave in outcome.waves:
        assert PLAN.tabs / 10 < len(wave.away) < PLAN.tabs * 0.9, wave.what


@pytest.mark.timeout(300)
def test_a_run_is_a_table(outcome: Outcome) -> None:
    result = SURROUNDINGS | json.loads(json.dumps(figures(PLAN, outcome, verdict(outcome))))
    text = table(result)
    assert "Verdict: ok." in text
    assert "| instance 1 restarted | instance 2 killed |" in text


# --- the plan ------------------------------------------------------------------------------------


def test_the_users_of_all_client_processes_have_all_tabs() -> None:
    plan = Plan(sockets=1000, pages=0.1)
    users = sum(sum(plan.users(crowd)) for crowd in range(plan.crowds))
    assert users * TABS_OF_A_USER == plan.tabs == 999


def test_no_process_needs_more_descriptors_than_it_may_open() -> None:
    plan = Plan(sockets=30_000, descriptors=20_000)
    assert 2 * plan.connections < plan.descriptors
    assert plan.connections * plan.proxies >= plan.sockets
    assert plan.sockets / plan.crowds < plan.descriptors


# --- what tabs notice ----------------------------------------------------------------------------


class Around:
    """A process without an event loop."""

    source = "127.0.0.2"

    def __init__(self) -> None:
        self.census = Census()
        self.ledger = Ledger()
        self.ledger7 = realtime_truth.Ledger()

    def opened(self, tab: Tab, away: float | None) -> None: ...

    def gave_up(self, tab: Tab) -> None: ...


def heard(numbers: list[int], name: str = "mine") -> dict[str, list[str]]:
    """The problems of a tab that gets these of three events."""
    around, channel = Around(), Channel("mine")
    tab: Any = StreamTab("tab", 1, around, channel)
    tab._found(0.0)
    channel.last = 3
    socket: Any = type("Opened", (), {"opened_ns": 0})
    for number in numbers:
        members = {"id": f"{number}-0", "channel_id": name, "job_id": str(number), "t": 1}
        tab._take(socket, json.dumps(members).encode())
    tab.leave()
    return {kind: found for kind, found in around.ledger.problems().items() if found}


@pytest.mark.parametrize(
    ("numbers", "problems"),
    [
        ([1, 2, 3], {}),
        ([1, 3], {"lost": ["tab: 2"]}),
        ([1, 2], {"lost": ["tab: 3"]}),
        ([1, 2, 2, 3], {"repeated": ["tab: 2"]}),
        ([1, 3, 2], {"out_of_order": ["tab: 2"]}),
    ],
)
def test_a_tab_that_gets_its_events_wrongly_is_noticed(
    numbers: list[int], problems: dict[str, list[str]]
) -> None:
    assert heard(numbers) == problems


def test_an_event_of_somebody_else_is_noticed() -> None:
    assert heard([1], "another")["foreign"] == ["tab: 1"]


def test_a_message_that_an_open_page_does_not_get_is_noticed() -> None:
    around, journal = Around(), Journal()
    page: Any = Page("page", 1, around, journal, "user:1", "1")
    page._found(0.0)
    journal.begins(b"a message", ["user:1"], 1.0).ends(2.0, returned=True)
    page.leave()
    assert around.ledger7.problems()["realtime_lost_silently"] == ["page: a message #0"]


def test_a_tab_comes_back_with_the_id_of_its_last_event() -> None:
    around, channel = Around(), Channel("mine")
    tab: Any = StreamTab("tab", 1, around, channel)
    assert tab._handshake().startswith(b"GET / ")
    tab.reader.take({"id": "5-0", "channel_id": "mine", "job_id": "1"})
    assert tab._handshake().startswith(b"GET /?last_id=5-0 ")


# --- the verdict ---------------------------------------------------------------------------------

WAVE = Wave("instance 1 restarted", 2.0, 1.0, 5.0, [2.5] * 99 + [4.0], [1.0], {"Redis": (0.1, 0.2)})
GOOD = Outcome(
    sockets=300,
    greeted=True,
    gave_up=0,
    published=1000,
    delivered=3000,
    problems={"lost": [], "foreign": []},
    waves=[WAVE],
    calm={"Redis": (0.1, 0.2)},
    calm_latencies=[1.0],
    memory={"Redis": 9.0, "kernel": 3.0},
    bare={"Redis": 8.0},
    opening=1.0,
    log="",
    exit_codes=[0, 0, 0],
)


def failures(outcome: Outcome) -> list[str]:
    return [check.name for check in verdict(outcome) if not check.passed]


def test_a_run_without_faults_passes() -> None:
    assert failures(GOOD) == []


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda o: o._replace(problems={"lost": ["tab: 7"]}), "lost"),
        (lambda o: o._replace(greeted=False), "every tab had its first event, and more came"),
        (lambda o: o._replace(delivered=300), "every tab had its first event, and more came"),
        (lambda o: o._replace(gave_up=1), "no page gave up"),
        (
            lambda o: o._replace(waves=[WAVE._replace(away=[2.5, PAGE_GIVES_UP])]),
            "nobody was away for as long as a page waits",
        ),
        (
            lambda o: o._replace(waves=[WAVE, WAVE._replace(away=[])]),
            "each end of an instance moved sockets",
        ),
        (lambda o: o._replace(log="Traceback (most …"), "the logs have no tracebacks"),
        (lambda o: o._replace(exit_codes=[0, -9]), "instances stop when told to"),
    ],
)
def test_a_run_with_a_fault_fails(spoil: Callable[[Outcome], Outcome], check: str) -> None:
    assert failures(spoil(GOOD)) == [check]
