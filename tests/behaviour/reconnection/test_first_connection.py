# SPDX-License-Identifier: Apache-2.0
"""A browser that has never got an event has no `last_id`: it gets its channel's last minute."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from testbed.servers import Server, eventually
from testbed.superset import new_channel
from tests.behaviour.reconnection.tabs import END, Superset, jobs, jobs_until_end, tab

StartServer = Callable[..., Server]


def test_what_was_written_before_the_first_connection_comes(
    server: Server, superset: Superset
) -> None:
    channel = new_channel()
    superset.says(channel, "before")
    with tab(server, channel) as ws:
        superset.says(channel, "after", END)
        assert jobs_until_end(ws) == ["before", "after"]


@pytest.mark.parametrize("history_bytes", ["33554432", "0"])
def test_it_comes_from_redis_when_the_history_is_too_short(
    start_server: StartServer, superset: Superset, history_bytes: str
) -> None:
    channel = new_channel()
    superset.says(channel, "before")
    server = start_server(environ={"HISTORY_BYTES": history_bytes})
    with tab(server, channel) as ws:
        superset.says(channel, "after", END)
        assert jobs_until_end(ws) == ["before", "after"]


def test_what_is_older_than_the_key_says_does_not_come(
    start_server: StartServer, superset: Superset
) -> None:
    server, channel = start_server(environ={"FIRST_CATCH_UP_MS": "100"}), new_channel()
    superset.says(channel, "old")
    time.sleep(0.2)  # by Redis's clock, which is this machine's
    with tab(server, channel) as ws:
        superset.says(channel, "new", END)
        assert jobs_until_end(ws) == ["new"]


def test_several_tabs_of_a_user_get_it_each(server: Server, superset: Superset) -> None:
    channel = new_channel()
    superset.says(channel, "before")
    with tab(server, channel) as one, tab(server, channel) as other:
        assert (jobs(one, 1), jobs(other, 1)) == (["before"], ["before"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_page_that_waits_for_its_first_event_gets_it_over_the_end_of_its_worker(
    start_server: StartServer, superset: Superset, number: signal.Signals
) -> None:
    """The page has no last_id to come back with, and its event is written meanwhile."""
    server, channel = start_server(), new_channel()
    with tab(server, channel):
        (worker,) = server.pids()
        os.kill(server.process.pid if number == signal.SIGHUP else worker, number)
        eventually(lambda: worker not in server.pids(), "the worker is gone")
        superset.says(channel, "while away")
    eventually(server.is_ready, "the next worker answers")
    with tab(server, channel) as ws:
        assert jobs(ws, 1) == ["while away"]


def test_a_first_connection_is_no_gap(start_server: StartServer) -> None:
    server = start_server(environ={"HISTORY_BYTES": "0"})
    with tab(server, new_channel()):
        pass
    assert "may be lost" not in server.log_text()
