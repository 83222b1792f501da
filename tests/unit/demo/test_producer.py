# SPDX-License-Identifier: Apache-2.0
"""The demo's sample queries look like Superset's."""

from __future__ import annotations

import pytest

from wsgi_ws.demo.producer import events, run_query

MEMBERS = ["channel_id", "job_id", "user_id", "status", "errors", "result_url"]


@pytest.mark.parametrize(
    ("fails", "statuses"),
    [(False, ["pending", "running", "done"]), (True, ["pending", "running", "error"])],
)
def test_a_query_goes_through_its_states(fails: bool, statuses: list[str]) -> None:
    assert [event["status"] for event in events("c1", "j1", fails=fails)] == statuses


def test_every_event_has_supersets_members_in_supersets_order() -> None:
    assert all(list(event) == MEMBERS for event in events("c1", "j1"))


def test_only_a_finished_query_has_a_result() -> None:
    assert [bool(event["result_url"]) for event in events("c1", "j1")] == [False, False, True]


def test_only_a_failed_query_has_errors() -> None:
    errors = [bool(event["errors"]) for event in events("c1", "j1", fails=True)]
    assert errors == [False, False, True]


def test_a_query_pauses_between_its_events_but_not_after_the_last() -> None:
    happened: list[str] = []
    run_query(
        "c1", "j1", lambda e: happened.append(e["status"]), lambda _: happened.append("pause")
    )
    assert happened == ["pending", "pause", "running", "pause", "done"]
