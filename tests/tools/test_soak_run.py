# SPDX-License-Identifier: Apache-2.0
"""A short soak for each length of history: whatever happens, every tab's list is the truth, and no
page of Superset 7 misses anything without being told.

Redis and the network fail, workers are killed, tabs drop, producers die between their two XADDs.
SOAK_SEED repeats a run's choices. What takes its time, flat memory and descriptors, is for
`make soak`.
"""

from __future__ import annotations

import os

import pytest

from soak.plan import WAVES, Plan
from soak.report import summary
from soak.run import PATIENCE, Soak
from soak.verdict import Check, correctness

SECONDS = 10.0
# A worker's memory of the past: the default; some seconds; nothing.
HISTORY_BYTES = {"default": 32 * 2**20, "short": 200_000, "none": 0}

pytestmark = pytest.mark.timeout(SECONDS + PATIENCE + 180)


@pytest.fixture(scope="module", params=list(HISTORY_BYTES))
def checks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Check]:
    """The verdict on a run."""
    plan = Plan(
        SECONDS,
        int(os.environ["SOAK_SEED"]) + len(request.param),
        sockets=(100, 100),  # in waves as short as these, nobody would come back
        rate=(50, 200),
        faulty_waves=100 * WAVES,  # also when the run has to wait for some kind of trouble
        seconds_per_connection=2.0,
        seconds_per_fault=1.5,
        shared_rate=200.0,
        seconds_per_death=1.0,
        history_bytes=HISTORY_BYTES[request.param],
    )
    outcome = Soak(plan, tmp_path_factory.mktemp("soak")).run(lambda _: None)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nhistory {request.param}:", *summary(outcome), sep="\n  ")
    return {check.name: check for check in correctness(outcome)}


CHECKS = (
    *("lost", "repeated", "out of order", "foreign"),
    *("orphans lost", "orphans repeated at once", "failed clients"),
    *("realtime lost silently", "realtime missed in a renewal", "realtime repeated"),
    *("realtime out of order", "realtime foreign"),
    *("realtime charts that wait for ever", "realtime pages that gave up"),
    *("something was delivered", "every kind of trouble happened"),
    *("misdeeds are answered and ended", "the log has no tracebacks"),
    *("the server stops when told to", "descriptors are given back"),
)


@pytest.mark.parametrize("name", CHECKS)
def test_a_short_soak_finds_nothing_wrong(checks: dict[str, Check], name: str) -> None:
    assert checks[name].passed, checks[name].figures


def test_no_check_is_left_out(checks: dict[str, Check]) -> None:
    assert set(checks) == set(CHECKS)
