# SPDX-License-Identifier: Apache-2.0
"""The page that tests have in place of Superset's: it gives up and asks as that one does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.page import Database, Opening, Page, retry_delay


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def page(database: Database) -> Page:
    return Page(database)


def message(topic: str, **payload: Any) -> str:
    return json.dumps({"topic": topic, "payload": payload})


def test_each_attempt_waits_twice_as_long_up_to_half_a_minute() -> None:
    assert [retry_delay(closes, 0.0) for closes in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_chance_adds_up_to_a_second() -> None:
    assert [retry_delay(closes, 1.0) for closes in (1, 2, 3)] == [2, 3, 5]


def test_a_chart_waits_until_its_status_comes(page: Page) -> None:
    page.opened()
    page.wait_for("a")
    page.wait_for("b")
    page.take(message("task.status", task_id="a", status="success"))
    assert page.waiting() == {"b"}


def test_a_message_counts_for_nothing_unless_the_socket_is_open(page: Page) -> None:
    page.wait_for("a")
    page.opened()
    page.renews()
    page.take(message("task.status", task_id="a", status="success"))
    assert page.waiting() == {"a"}
    assert page.messages == []


def test_an_open_socket_asks_once_for_all_charts(page: Page, database: Database) -> None:
    for task_id in "abc":
        page.wait_for(task_id)
    database.statuses |= {"a": "success", "b": "failure"}
    page.opened()
    assert page.waiting() == {"c"}
    assert database.catch_ups == 1


def test_nobody_asks_when_nothing_is_waited_for(page: Page, database: Database) -> None:
    page.opened()
    page.closed()
    page.opened()
    assert database.catch_ups == 0


def test_the_third_close_makes_every_chart_fail(page: Page) -> None:
    page.opened()
    page.wait_for("a")
    page.closed()
    page.closed()
    assert page.failed == []
    page.closed()
    assert page.failed == ["a"]
    assert page.waiting() == set()


def test_an_open_between_the_closes_keeps_the_charts(page: Page) -> None:
    page.wait_for("a")
    for _ in range(5):
        page.closed()
        page.closed()
        page.opened()
    assert page.failed == []


def test_a_changed_row_is_read_when_the_page_is_told(page: Page, database: Database) -> None:
    page.opened()
    database.change(1)
    database.change(2)
    page.take(message("entity.changed", entity_type="task", id=1))
    page.take(message("entity.changed", entity_type="canvas", id=2))
    assert page.stale_rows() == {2}


@pytest.mark.parametrize(("opening", "stale"), [("closed", set()), ("renews", {1})])
def test_the_list_is_read_anew_after_a_close_only(
    page: Page, database: Database, opening: str, stale: set[int]
) -> None:
    page.opened()
    database.change(1)
    getattr(page, opening)()
    page.opened()
    assert page.stale_rows() == stale


def test_it_is_known_why_a_socket_opened(page: Page) -> None:
    for before in (None, page.renews, page.closed, page.renews):
        if before is not None:
            before()
        page.opened()
    assert page.opened_by == {Opening.INITIAL: 1, Opening.RECONNECT: 1, Opening.KEEPALIVE: 2}


def test_a_renewal_that_fails_is_a_reconnect(page: Page) -> None:
    page.opened()
    page.renews()
    page.closed()
    page.opened()
    assert page.opened_by[Opening.RECONNECT] == 1


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"topic":"task.status","payload":5}'])
def test_what_is_no_message_does_no_harm(page: Page, text: str) -> None:
    page.opened()
    page.wait_for("a")
    page.take(text)
    assert page.waiting() == {"a"}
