# SPDX-License-Identifier: Apache-2.0
"""How long is waited for Redis, what is said of outages, and what is off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import gevent
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from testbed.servers import DEADLINE
from wsgi_ws.command import command
from wsgi_ws.sources import link as module
from wsgi_ws.sources.link import (
    KINDS_TOLD,
    RETRY_DELAY_MAX,
    RETRY_DELAY_MIN,
    TOLD_IN_FULL,
    TROUBLE_SHOWN,
    Link,
    Retries,
)
from wsgi_ws.sources.redis_replies import Permission
from wsgi_ws.transport import Transport

GONE = redis.ConnectionError("gone")
FORBIDDEN = redis.ResponseError("NOPERM this user has no permissions to run the 'xread' command")
ADDRESS = "redis://redis.example:6379/0"
PERMISSION = Permission("ws", "subscribe to realtime", "&realtime +subscribe +ping")
DELAYS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]  # seconds


def first_delays(retries: Retries, outages: int, attempts: int = 1) -> Iterator[float]:
    """The first delay of each outage; the connections between them don't last."""
    for _ in range(outages):
        retries.connected()
        delays = [retries.next_delay() for _ in range(attempts)]
        yield delays[0]


# --- how long is waited --------------------------------------------------------------------------


def test_delays_grow_within_an_outage() -> None:
    retries = Retries()
    assert [retries.next_delay() for _ in DELAYS] == DELAYS


def test_an_outage_after_a_connection_that_has_lasted_begins_with_a_short_wait() -> None:
    retries = Retries()
    for _ in range(3):
        retries.connected()
        retries.lasted()
        assert [retries.next_delay() for _ in DELAYS] == DELAYS


def test_delays_grow_from_outage_to_outage_while_connections_do_not_last() -> None:
    assert list(first_delays(Retries(), len(DELAYS))) == DELAYS


def test_a_long_outage_makes_the_wait_of_the_next_one_no_longer() -> None:
    assert list(first_delays(Retries(), 3, attempts=20)) == DELAYS[:3]


def test_a_connection_that_lasts_ends_the_growth() -> None:
    retries = Retries()
    list(first_delays(retries, 20))
    retries.connected()
    retries.lasted()
    assert retries.next_delay() == RETRY_DELAY_MIN


@given(st.lists(st.sampled_from(["connected", "lasted", "next_delay"]), max_size=2000))
def test_whatever_happens_a_wait_has_its_bounds(steps: list[str]) -> None:
    retries = Retries()
    for step in steps:
        getattr(retries, step)()
    assert RETRY_DELAY_MIN <= retries.next_delay() <= RETRY_DELAY_MAX


# --- what is said --------------------------------------------------------------------------------


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr(module, "LASTING", 3600.0)
    return Link(
        Transport.REALTIME, PERMISSION, address=ADDRESS, is_optional=False, meanwhile="stay open"
    )


def flap(link: Link, times: int) -> int:
    """Connections that begin and are lost; returns how many beginnings were news."""
    news = 0
    for _ in range(times):
        news += link.up()
        link.down(GONE)
    return news


def test_a_single_outage_is_told_once_however_many_attempts_fail(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    link.up()
    for _ in range(10):
        link.down(GONE)
    assert caplog.messages == [
        f"Redis can't be read for realtime (gone); stay open; Redis is {ADDRESS}"
    ]
    assert link.up()


def test_each_kind_of_error_of_an_outage_is_told_once_however_they_alternate(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    link.up()
    for _ in range(100):
        link.down(GONE)
        link.down(redis.ConnectionError("gone."))
        link.down(redis.ConnectionError("refused"))
    assert caplog.messages == [
        f"Redis can't be read for realtime (gone); stay open; Redis is {ADDRESS}",
        f"Redis still can't be read for realtime (refused); Redis is {ADDRESS}",
    ]


def test_errors_of_an_outage_that_are_never_the_same_are_a_few_lines(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    link.up()
    for number in range(1000):
        link.down(redis.ConnectionError(f"gone for reason {number}"))
    assert len(caplog.messages) == KINDS_TOLD + 1


def test_what_is_new_is_told_after_a_while_though_there_were_many_kinds(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        link.down(redis.ConnectionError(f"gone for reason {number}"))
    link._told_at -= module.ALIKE_INTERVAL
    link.down(redis.AuthenticationError("wrong password"))
    assert "Redis still can't be read for realtime (wrong password)" in caplog.messages[-1]


def test_a_kind_of_error_is_told_again_in_the_next_outage(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        link.up()
        link.down(GONE)
    line = f"Redis can't be read for realtime (gone); stay open; Redis is {ADDRESS}"
    assert caplog.messages == [line, line]


def test_before_the_first_connection_the_line_names_what_finds_a_wrong_setting(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (GONE, redis.AuthenticationError("invalid username-password pair")):
        link.down(error)
    assert [f"{ADDRESS}: {command()} check" in line for line in caplog.messages] == [True, True]


def test_the_line_about_a_permission_names_the_remedy_itself(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    link.down(FORBIDDEN)
    (line,) = caplog.messages
    assert (PERMISSION.rules in line, f"{command()} check" in line) == (True, False)


def test_the_trouble_is_that_of_the_last_attempt(link: Link) -> None:
    troubles = [link.trouble]
    for error in (GONE, redis.ResponseError("DB index is out of range"), FORBIDDEN):
        link.down(error)
        troubles.append(link.trouble)
    link.up()
    troubles.append(link.trouble)
    lacking = PERMISSION.explain(FORBIDDEN)
    assert troubles == ["", "gone", "DB index is out of range", lacking, ""]


def test_what_answers_in_redis_s_place_is_one_short_line(link: Link) -> None:
    link.down(redis.ResponseError("a\nb" * 10_000))
    assert link.trouble.isprintable()
    assert len(link.trouble) <= TROUBLE_SHOWN


def test_many_connections_that_are_lost_in_a_row_are_a_few_lines(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    assert flap(link, 1000) == TOLD_IN_FULL
    assert len(caplog.messages) == TOLD_IN_FULL + 1
    assert "connections to it don't last" in caplog.messages[-1]


def test_they_are_told_again_after_a_while_with_their_number(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    flap(link, TOLD_IN_FULL + 10)
    link._told_at -= module.ALIKE_INTERVAL
    flap(link, 1)
    assert caplog.messages[-1].endswith("[10 connections lost since the last such line]")


def test_an_outage_that_stays_is_told_though_its_beginning_was_not(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    flap(link, TOLD_IN_FULL + 10)
    caplog.clear()
    link.down(GONE)
    assert caplog.messages == []
    link._told_at -= module.ALIKE_INTERVAL
    link.down(GONE)
    link.down(GONE)
    assert len(caplog.messages) == 1


def test_all_reconnections_are_counted(link: Link) -> None:
    flap(link, 20)
    assert link.reconnects == 19


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE):
        while not condition():
            gevent.sleep(0.005)


def test_the_first_connection_that_lasts_is_told(
    link: Link, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    flap(link, TOLD_IN_FULL + 10)
    monkeypatch.setattr(module, "LASTING", 0.01)
    link.up()
    wait_until(lambda: "Redis is read again for realtime" in caplog.text)
    link.down(GONE)
    assert "stay open" in caplog.messages[-1]  # an outage like others


def test_a_connection_that_is_lost_in_time_never_counts_as_a_good_one(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LASTING", 0.02)
    for _ in itertools.repeat(None, TOLD_IN_FULL + 1):
        link.up()
        link.down(GONE)
    gevent.sleep(0.05)
    assert link.is_flapping


# --- what Redis's user may not use ---------------------------------------------------------------


@pytest.fixture(params=list(Transport))
def optional(request: pytest.FixtureRequest) -> Link:
    return Link(request.param, PERMISSION, address=ADDRESS, is_optional=True, meanwhile="")


def test_what_is_not_permitted_is_off(optional: Link) -> None:
    optional.down(FORBIDDEN)
    assert optional.is_off


def test_what_is_off_stays_off_in_an_outage(optional: Link) -> None:
    optional.down(FORBIDDEN)
    optional.down(GONE)
    assert optional.is_off


def test_an_outage_of_what_is_off_is_no_news(
    optional: Link, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for error in (FORBIDDEN, GONE, FORBIDDEN):
        optional.down(error)
    assert len(caplog.records) == 1


def test_an_outage_switches_nothing_off(optional: Link) -> None:
    optional.down(GONE)
    assert not optional.is_off


def test_it_is_on_once_redis_permits_it(optional: Link) -> None:
    optional.down(FORBIDDEN)
    optional.up()
    assert not optional.is_off


# --- … and neither the other transport -----------------------------------------------------------


@pytest.fixture
def pair() -> tuple[Link, Link]:
    """Of both transports, none of which was asked for by name."""
    one, other = (
        Link(transport, PERMISSION, address=ADDRESS, is_optional=True, meanwhile="held")
        for transport in Transport
    )
    one.other, other.other = other, one
    return one, other


def forbid(pair: tuple[Link, Link]) -> None:
    """As often as it takes until each knows of the other."""
    for link in (*pair, *pair):
        link.down(FORBIDDEN)


def test_of_two_that_are_not_permitted_none_is_off(pair: tuple[Link, Link]) -> None:
    forbid(pair)
    assert [link.is_off for link in pair] == [False, False]


def test_of_two_that_are_not_permitted_the_last_line_of_each_calls_none_off(
    pair: tuple[Link, Link], caplog: pytest.LogCaptureFixture
) -> None:
    forbid(pair)
    for link in pair:
        (*_, line) = [m for m in caplog.messages if link._transport.value in m]
        assert line.startswith("Redis can't be read for")
        assert "ACL SETUSER ws &realtime +subscribe +ping; held" in line


def test_an_outage_of_two_that_are_not_permitted_is_one_of_both(
    pair: tuple[Link, Link], caplog: pytest.LogCaptureFixture
) -> None:
    forbid(pair)
    caplog.clear()
    for link in (*pair, *pair):
        link.down(GONE)
    begin = "Redis still can't be read for"
    assert [m.partition(" (gone)")[0] for m in caplog.messages] == [
        f"{begin} {link._transport.value}" for link in pair
    ]
    assert [(link.is_off, link.forbidden) for link in pair] == 2 * [(False, "")]


def test_when_one_of_two_is_permitted_the_other_is_off(
    pair: tuple[Link, Link], caplog: pytest.LogCaptureFixture
) -> None:
    forbid(pair)
    pair[0].up()
    pair[1].down(FORBIDDEN)
    assert [link.is_off for link in pair] == [False, True]
    assert "is switched off" in caplog.messages[-1]


def test_what_was_asked_for_by_name_is_never_off() -> None:
    link = Link(Transport.STREAMS, PERMISSION, address=ADDRESS, is_optional=False, meanwhile="")
    link.down(FORBIDDEN)
    assert not link.is_off
