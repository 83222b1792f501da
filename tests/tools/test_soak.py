# SPDX-License-Identifier: Apache-2.0
"""The soak's judgement: it sees leaks and wrong deliveries, and is not fooled by noise."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak.plan import HARMLESS, REDIS_FAULTS, WAVES, WORKER_FAULTS, Fault, Happened, Plan
from soak.samples import Process, Sample, from_row, quantile, row
from soak.truth import Channel, Ledger, Problems, Reader
from soak.verdict import (
    DESCRIPTOR_SPREAD,
    DESCRIPTORS_LEFT,
    MEMORY_GROWTH,
    RECOVERY,
    TROUBLES,
    TROUBLES_OF_PAGES,
    Outcome,
    growth,
    is_calm,
    verdict,
)

PLAN = Plan(seconds=1200, seed=1)
IDLE = [22, 22]
FAULTS = [
    Happened("worker killed" if at == 10 else "network cut", at, at + 3)
    for at in range(10, 1200, 20)
]
HAPPENED = {"delivered": 1000} | dict.fromkeys(TROUBLES, 1)
HAPPENED_TO_PAGES = {"delivered": 1000} | dict.fromkeys(TROUBLES_OF_PAGES, 1)
JUDGED_WAVES = WAVES - PLAN.faulty_waves - 1
JUDGED_TIME = (JUDGED_WAVES - 1) * PLAN.wave


# --- a run with nothing wrong --------------------------------------------------------------------


def sample(at: float, *, leaked: float = 0.0, kept: int = 0, p99: float = 5.0) -> Sample:
    """A second of two healthy workers.

    :param leaked: MiB.
    :param kept: descriptors of clients that are gone.
    """
    rng = random.Random(at)
    sockets = PLAN.sockets_at(at)
    memory = [45 + sockets / 2000 + rng.uniform(-0.3, 0.3) for _ in range(2)]
    descriptors = [IDLE[0] + 1 + sockets // 2 + rng.randrange(3) for _ in range(2)]
    workers = {
        10: Process(memory[0] + leaked, 60, descriptors[0] + kept, 0.1),
        11: Process(memory[1], 60, descriptors[1], 0.1),
    }
    return Sample(at, sockets, 100, 200, 1.5, p99 * rng.uniform(0.7, 1.5), 0.1, workers)


def outcome(second: Callable[[int], Sample] = sample) -> Outcome:
    """A run whose samples are as told."""
    return Outcome(
        plan=PLAN,
        samples=[second(at) for at in range(1, int(PLAN.seconds))],
        faults=FAULTS,
        tabs=100,
        pages=25,
        events=1000,
        happened=HAPPENED,
        happened_to_pages=HAPPENED_TO_PAGES,
        problems={kind: [] for kind in Problems._fields},
        idle_descriptors=IDLE,
        left_descriptors=[n + 2 for n in IDLE],
        log="INFO all is well",
        exit_code=0,
    )


def untold(outcome: Outcome) -> list[str]:
    return [check.name for check in verdict(outcome) if check.passed is None]


def failed(outcome: Outcome) -> list[str]:
    return [check.name for check in verdict(outcome) if check.passed is False]


def test_nothing_fails_when_nothing_is_wrong() -> None:
    assert [check.name for check in verdict(outcome()) if check.passed is not True] == []


@pytest.mark.parametrize("kind", Problems._fields)
def test_one_wrong_delivery_fails(kind: str) -> None:
    healthy = outcome()
    problems = {**healthy.problems, kind: ["tab 7: 3"]}
    assert failed(healthy._replace(problems=problems)) == [kind.replace("_", " ")]


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"happened": HAPPENED | {"delivered": 0}}, "something was delivered"),
        (
            {"happened_to_pages": HAPPENED_TO_PAGES | {"delivered": 0}},
            "something was delivered",
        ),
        ({"happened": HAPPENED | {"never ended": 1}}, "misdeeds are answered and ended"),
        (
            {"happened_to_pages": HAPPENED_TO_PAGES | {"never ended": 1}},
            "misdeeds are answered and ended",
        ),
        ({"log": "INFO a\nTraceback (most recent"}, "the log has no tracebacks"),
        ({"exit_code": 1}, "the server stops when told to"),
        ({"left_descriptors": [22, 23 + DESCRIPTORS_LEFT]}, "descriptors are given back"),
        ({"left_descriptors": []}, "descriptors are given back"),
    ],
)
def test_each_misfortune_fails_its_own_check(changed: Any, check: str) -> None:
    assert failed(outcome()._replace(**changed)) == [check]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_run_without_some_trouble_was_too_short(trouble: str) -> None:
    without = outcome()._replace(happened=HAPPENED | {trouble: 0})
    assert untold(without) == ["every kind of trouble happened"]


@pytest.mark.parametrize("trouble", TROUBLES_OF_PAGES)
def test_a_run_without_some_trouble_of_a_page_was_too_short(trouble: str) -> None:
    without = outcome()._replace(happened_to_pages=HAPPENED_TO_PAGES | {trouble: 0})
    assert untold(without) == ["every kind of trouble happened"]


def test_a_run_in_which_no_worker_was_killed_was_too_short() -> None:
    assert untold(outcome()._replace(faults=FAULTS[1:])) == ["every kind of trouble happened"]


def test_a_worker_that_was_replaced_in_the_time_that_counts_fails() -> None:
    def second(at: int) -> Sample:
        healthy = sample(at)
        if at < 1000:
            return healthy
        return replace(healthy, workers={12: healthy.workers[10], 11: healthy.workers[11]})

    assert failed(outcome(second)) == ["workers lived on"]


# --- memory --------------------------------------------------------------------------------------


def leaking(mib: float) -> Outcome:
    """One worker leaks so much in the time that counts, evenly."""
    return outcome(lambda at: sample(at, leaked=mib * at / JUDGED_TIME))


def test_a_steady_leak_fails() -> None:
    assert failed(leaking(MEMORY_GROWTH * 1.3)) == ["memory is flat"]


def test_a_leak_below_the_bound_passes() -> None:
    assert failed(leaking(MEMORY_GROWTH * 0.7)) == []


@pytest.mark.parametrize("at", [480, 800, 1150])
def test_a_step_of_the_allocator_is_no_leak(at: int) -> None:
    stepped = outcome(lambda now: sample(now, leaked=8.0 if now >= at else 0.0))
    assert failed(stepped) == []


NOISE = st.lists(
    st.floats(-0.2, 0.2), min_size=JUDGED_WAVES, max_size=JUDGED_WAVES
)  # MiB, of a wave's median


@given(NOISE, st.floats(-20, 20))
def test_growth_is_found_whatever_the_noise(noise: Sequence[float], grown: float) -> None:
    step = grown / (JUDGED_WAVES - 1)
    found = growth([50 + number * step + off for number, off in enumerate(noise)])
    assert found == pytest.approx(grown, abs=0.4 * (JUDGED_WAVES - 1) + 1e-6)


@given(NOISE, st.integers(1, JUDGED_WAVES - 1), st.floats(-30, 30))
def test_no_single_step_counts_as_growth(noise: Sequence[float], at: int, step: float) -> None:
    values = [50 + off for off in noise]
    stepped = values[:at] + [value + step for value in values[at:]]
    assert abs(growth(stepped)) <= 0.4 * (JUDGED_WAVES - 1) + 1e-6


def test_two_waves_tell_nothing_of_growth() -> None:
    assert math.isnan(growth([1, 2]))


# --- descriptors ---------------------------------------------------------------------------------


def test_descriptors_that_are_kept_fail() -> None:
    assert failed(outcome(lambda at: sample(at, kept=at // 20))) == [
        "descriptors are sockets and a constant"
    ]


def test_descriptors_kept_from_the_start_on_fail() -> None:
    kept = DESCRIPTORS_LEFT * len(IDLE) + 1
    assert failed(outcome(lambda at: sample(at, kept=kept))) == [
        "descriptors are sockets and a constant"
    ]


def test_some_descriptors_come_and_go() -> None:
    """Handshakes under way, in every other wave."""
    kept = DESCRIPTOR_SPREAD // 2
    flickering = outcome(lambda at: sample(at, kept=kept * (int(at / PLAN.wave) % 2)))
    assert failed(flickering) == []


# --- latency -------------------------------------------------------------------------------------


def test_a_latency_that_grows_fails() -> None:
    assert failed(outcome(lambda at: sample(at, p99=5 * (1 + at / 250)))) == ["latency stays"]


def test_latency_during_faults_does_not_count() -> None:
    def second(at: int) -> Sample:
        return sample(at, p99=5.0 if at < 600 or is_calm(at, FAULTS) else 5000.0)

    assert failed(outcome(second)) == []


def test_too_few_calm_seconds_tell_nothing() -> None:
    stormy = outcome()._replace(faults=[Happened("worker killed", 0, 1200)])
    (check,) = (check for check in verdict(stormy) if check.name == "latency stays")
    assert check.passed is None


def test_it_is_calm_again_when_a_fault_is_recovered_from() -> None:
    faults = [Happened("network cut", 10, 13)]
    times = (9.9, 10, 13 + RECOVERY, 13.1 + RECOVERY)
    assert [is_calm(at, faults) for at in times] == [True, False, False, True]


# --- what tabs get -------------------------------------------------------------------------------


def read(
    channel: Channel, numbers: Sequence[int], *, due: int = 1, complete: bool = True
) -> dict[str, list[str]]:
    """What is wrong with a tab that has got these events.

    :param due: the first event that was published after it was connected.
    """
    reader, ledger = Reader(channel), Ledger()
    last, channel.last = channel.last, due - 1
    reader.opened()
    channel.last = last
    for number in numbers:
        reader.take({"id": f"{number}-0", "channel_id": channel.name, "job_id": str(number)})
    if complete:
        reader.give_up_waiting()
    ledger.leaves("tab", reader)
    return {kind: found for kind, found in ledger.problems().items() if found}


@pytest.mark.parametrize(
    ("numbers", "problems"),
    [
        ([1, 2, 3, 4], {}),
        ([2, 3, 4], {"lost": ["tab: 1"]}),
        ([1, 2, 4], {"lost": ["tab: 3"]}),
        ([1, 2], {"lost": ["tab: 3", "tab: 4"]}),
        ([], {"lost": ["tab: 1", "tab: 2", "tab: 3", "tab: 4"]}),
        ([1, 2, 2, 3, 4], {"repeated": ["tab: 2"]}),
        ([1, 3, 2, 4], {"out_of_order": ["tab: 2"]}),
        ([1, 3, 4, 1], {"lost": ["tab: 2"], "repeated": ["tab: 1"]}),
    ],
)
def test_a_tab_is_judged_by_all_that_it_got(
    numbers: Sequence[int], problems: dict[str, list[str]]
) -> None:
    assert read(Channel("c", last=4), numbers) == problems


def test_what_was_published_during_the_handshake_may_come() -> None:
    assert read(Channel("c", last=4), [3, 4], due=4) == {}
    assert read(Channel("c", last=4), [4], due=4) == {}


def test_a_tab_that_leaves_is_not_owed_what_is_on_its_way() -> None:
    assert read(Channel("c", last=4), [1, 2], complete=False) == {}


def test_what_redis_has_not_taken_is_not_lost() -> None:
    assert read(Channel("c", last=4, void={2, 4}), [1, 3]) == {}


def test_an_event_without_a_second_half_may_come_again_and_anywhere() -> None:
    channel = Channel("c", last=4, void={2}, excused={2})
    assert read(channel, [1, 2, 3, 4]) == {}
    assert read(channel, [1, 3, 2, 2, 4]) == {}


def test_a_late_second_half_is_no_excuse_for_a_loss() -> None:
    assert read(Channel("c", last=4, excused={2}), [1, 3, 4]) == {"lost": ["tab: 2"]}


def test_somebody_elses_event_is_foreign() -> None:
    reader, ledger = Reader(Channel("c", last=1)), Ledger()
    reader.take({"id": "1-0", "channel_id": "d", "job_id": "1"})
    ledger.leaves("tab", reader)
    assert ledger.problems()["foreign"] == ["tab: 1"]


def test_a_tab_is_behind_until_it_has_the_newest_event() -> None:
    channel = Channel("c")
    reader = Reader(channel)
    channel.last = 1
    assert reader.behind()
    reader.take({"id": "1-0", "channel_id": "c", "job_id": "1"})
    assert not reader.behind()


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_whatever_the_order_and_the_gaps_each_event_is_accounted_for_once(
    order: Sequence[int], dropped: set[int]
) -> None:
    got = [number for number in order if number not in dropped]
    found = read(Channel("c", last=8), got)
    assert found.get("lost", []) == [f"tab: {number}" for number in sorted(dropped)]
    assert "repeated" not in found
    assert ("out_of_order" in found) == (got != sorted(got))


# --- plan and samples ----------------------------------------------------------------------------


def faults_of(plan: Plan) -> list[Fault]:
    return list(itertools.takewhile(lambda fault: fault.at < plan.seconds, plan.faults()))


@given(st.integers(0, 2**32))
def test_no_worker_is_hurt_in_the_time_that_counts(seed: int) -> None:
    plan = replace(PLAN, seed=seed)
    late = {fault.kind for fault in faults_of(plan) if fault.at >= plan.faulty_waves * plan.wave}
    assert late.isdisjoint(WORKER_FAULTS)
    assert late


def test_every_fault_happens_in_twenty_minutes() -> None:
    kinds = {fault.kind for fault in faults_of(PLAN)}
    assert kinds == {*REDIS_FAULTS, *HARMLESS, *WORKER_FAULTS}


def test_a_seed_repeats_its_faults() -> None:
    assert faults_of(PLAN) == faults_of(replace(PLAN)) != faults_of(replace(PLAN, seed=2))


def test_more_than_half_of_the_time_counts() -> None:
    assert PLAN.judged_from < PLAN.seconds / 2


def test_waves_are_alike() -> None:
    for at in range(0, int(PLAN.wave), 7):
        assert PLAN.sockets_at(at) == PLAN.sockets_at(at + 3 * PLAN.wave)
        assert PLAN.rate_at(at) == pytest.approx(PLAN.rate_at(at + 3 * PLAN.wave))


def test_the_load_has_its_bounds() -> None:
    seconds = range(int(PLAN.seconds))
    assert (min(map(PLAN.sockets_at, seconds)), max(map(PLAN.sockets_at, seconds))) == (100, 1000)
    assert min(map(PLAN.rate_at, seconds)) >= 20
    assert max(map(PLAN.rate_at, seconds)) <= 500


def test_a_sample_survives_being_written_down() -> None:
    written = row(replace(sample(7.0), p50=math.nan))
    assert row(from_row(written)) == written


def test_quantiles() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 3
    assert quantile([1, 2, 3, 4], 0.99) == 4
    assert math.isnan(quantile([], 0.5))
