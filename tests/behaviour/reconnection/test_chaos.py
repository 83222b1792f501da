# SPDX-License-Identifier: Apache-2.0
"""Under chaos every client's list is the truth.

CHAOS_SECONDS says for how long (20 unless told otherwise), CHAOS_SEED repeats a run's choices.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest

from testbed.chaos import Chaos, Plan, Report
from testbed.servers import RedisServer, Server

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 20)
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
# A worker's memory of the past: the default; some seconds; nothing.
HISTORY_BYTES = {"default": "", "short": "200000", "none": "0"}

pytestmark = pytest.mark.timeout(SECONDS + 300)


@pytest.fixture(scope="module", params=list(HISTORY_BYTES))
def report(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Report:
    """The outcome of a run."""
    seed = SEED + len(request.param)
    prefix = f"chaos-{request.param}-"
    statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    statsd.bind(("127.0.0.1", 0))
    server = Server(
        tmp_path_factory.mktemp("chaos"),
        redis_server.port,
        prefix=prefix,
        workers=2,
        environ={
            "HISTORY_BYTES": HISTORY_BYTES[request.param],
            "STATSD_PORT": str(statsd.getsockname()[1]),
        },
    )

    async def run() -> Report:
        plan = Plan(seconds=SECONDS / len(HISTORY_BYTES), seed=seed)
        return await Chaos(plan, server, redis_server.port, prefix, statsd).run()

    try:
        outcome = asyncio.run(run())
    finally:
        server.stop()
        statsd.close()
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nCHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}, history {request.param}: {outcome}")
    return outcome


def test_there_was_chaos(report: Report) -> None:
    assert all(report.chaos().values()), report.chaos()


def test_clients_caught_up_while_others_dropped(report: Report) -> None:
    """Or the clients' lists say little. How many do depends on the machine."""
    assert report.catch_ups > 0


def test_no_event_is_lost(report: Report) -> None:
    assert report.lost == []


def test_no_event_is_repeated(report: Report) -> None:
    assert report.repeated == []


def test_events_come_in_the_order_of_the_global_stream(report: Report) -> None:
    assert report.out_of_order == []


def test_no_orphan_is_lost(report: Report) -> None:
    assert report.orphans_lost == []


def test_orphans_are_repeated_at_most_once_per_reconnection(report: Report) -> None:
    assert report.orphans_repeated_at_once == []
