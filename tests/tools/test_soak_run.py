# SPDX-License-Identifier: Apache-2.0
"""A short soak: it works, and all that does not take long to show is right. CHAOS_SEED repeats it.

What takes its time, flat memory and descriptors, is for `make soak`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from soak.plan import WAVES, Plan
from soak.report import lines
from soak.run import Soak
from soak.verdict import correctness

SECONDS = 10.0

pytestmark = pytest.mark.timeout(SECONDS + 180)


def test_a_short_soak_finds_nothing_wrong(tmp_path: Path) -> None:
    plan = Plan(
        SECONDS,
        int(os.environ["CHAOS_SEED"]),
        sockets=(20, 120),
        rate=(50, 200),
        faulty_waves=WAVES,
        seconds_per_connection=3.0,
        seconds_per_fault=1.5,
    )
    outcome = Soak(plan, tmp_path).run(print)
    checks = correctness(outcome)
    assert all(check.passed for check in checks), "\n".join(lines(checks))
    assert len(outcome.faults) >= 3
