# SPDX-License-Identifier: Apache-2.0
"""What must work with the real Superset. A scenario returns figures, or raises AssertionError."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from interop.browser import SIZE, Tab, sign_in
from interop.embedding import embedding_page
from interop.seed import CHARTS, PASSWORD
from interop.stack import Stack

DASHBOARD = "/superset/dashboard/interop/"
OUTAGE = 5.0  # seconds that Redis is away
# Seconds that a query takes where something is to happen meanwhile: all are asked within two.
SLOW = 3.0
# Seconds after the last chart: for its animation, and for what must not come: a repeat, a poll.
SETTLE = 2.0
Figures = dict[str, int]


class World(NamedTuple):
    """What a scenario works with."""

    stack: Stack
    browser: Any  # Playwright's
    pictures: Path

    def picture(self, tab: Tab, name: str) -> None:
        tab.picture(self.pictures / f"superset-{self.stack.environment.version}-{name}.png")


def one_page(world: World) -> Figures:
    """A dashboard of a new browser"""
    with _signed_in(world, "alice") as context:
        tab = _open(world, context)
        _wait_drawn(tab)
        world.picture(tab, "dashboard")
        return _judged(tab)


def new_browser_at_a_restart(world: World) -> Figures:
    """This server restarted while queries end, a new browser"""
    with _signed_in(world, "alice") as context:
        tab = _open(world, context, SLOW)
        assert "last_id" not in tab.sockets[0], tab.sockets
        return _restart_meanwhile(world, tab)


def known_browser_at_a_restart(world: World) -> Figures:
    """This server restarted while queries end, a browser with a `last_id`"""
    with _signed_in(world, "alice") as context:
        before = _open(world, context)
        _wait_drawn(before)
        before.page.close()
        tab = _open(world, context, SLOW)
        assert "last_id" in tab.sockets[0], tab.sockets
        return _restart_meanwhile(world, tab)


def redis_hangs(world: World) -> Figures:
    """Redis stopped for five seconds (SIGSTOP) while queries end"""
    redis = world.stack.redis
    with _signed_in(world, "alice") as context:
        tab = _open(world, context, SLOW)
        redis.process.send_signal(signal.SIGSTOP)
        tab.page.wait_for_timeout(OUTAGE * 1000)
        redis.process.send_signal(signal.SIGCONT)
        _wait_drawn(tab)
        return _judged(tab)


def redis_is_away(world: World) -> Figures:
    """Redis killed while queries run, started after five seconds"""
    redis = world.stack.redis
    with _signed_in(world, "alice") as context:
        # An event that Superset can't write is lost there: all queries end after the outage.
        tab = _open(world, context, OUTAGE + 2 * SLOW)
        redis.stop()
        tab.page.wait_for_timeout(OUTAGE * 1000)
        redis.start()
        _wait_drawn(tab)
        return _judged(tab)


def two_users_with_two_tabs(world: World) -> Figures:
    """Two users with two tabs each"""
    with _signed_in(world, "alice") as alice, _signed_in(world, "bob") as bob:
        world.stack.forget_results()
        # No result is there before the last tab has asked: each waits for its own events.
        world.stack.slow_queries(4 * SLOW)
        pairs = [(Tab(context), Tab(context)) for context in (alice, bob)]
        tabs = [tab for pair in pairs for tab in pair]
        for tab in tabs:
            tab.page.goto(world.stack.url + DASHBOARD, wait_until="commit")
        for tab in tabs:
            _wait_drawn(tab)
        channels = [{f["channel_id"] for tab in pair for f in tab.frames} for pair in pairs]
        assert [len(channel) for channel in channels] == [1, 1], channels
        assert channels[0] != channels[1], "two users share a channel"
        return _sum([_judged(tab) for tab in tabs])


def anonymous_visitor(world: World) -> Figures:
    """An anonymous visitor"""
    with _context(world) as context:
        tab = _open(world, context)
        _wait_drawn(tab)
        assert {frame["user_id"] for frame in tab.frames} == {None}, "the visitor is somebody"
        return _judged(tab)


def guest_in_an_iframe(world: World) -> Figures:
    """A guest, the dashboard embedded in another origin's page"""
    stack = world.stack
    with (
        _context(world) as context,
        embedding_page(stack.url, stack.seeded["embedded"], stack.guest_token()) as url,
    ):
        tab = _open(world, context, address=url)
        _wait_drawn(tab)
        world.picture(tab, "guest")
        return _judged(tab)


def behind_nginx(world: World) -> Figures:
    """the documented nginx, Superset's default Content Security Policy"""
    with _signed_in(world, "alice") as context:
        tab = _open(world, context)
        _wait_drawn(tab)
        (connect,) = re.findall(r"connect-src ([^;]*)", tab.policy)
        assert "ws" not in connect, f"not the default policy: {connect}"
        assert tab.sockets[0].startswith(world.stack.url.replace("http", "ws")), tab.sockets
        return _judged(tab)


def restart_behind_nginx(world: World) -> Figures:
    """The same, this server restarted while queries end"""
    with _signed_in(world, "alice") as context:
        return _restart_meanwhile(world, _open(world, context, SLOW))


Scenario = Callable[[World], Figures]
ON_TWO_PORTS: tuple[Scenario, ...] = (
    one_page,
    new_browser_at_a_restart,
    known_browser_at_a_restart,
    redis_hangs,
    redis_is_away,
    two_users_with_two_tabs,
    anonymous_visitor,
    guest_in_an_iframe,
)
BEHIND_NGINX: tuple[Scenario, ...] = (behind_nginx, restart_behind_nginx)


@contextmanager
def _context(world: World) -> Iterator[Any]:
    """A new browser profile: no cookie, nothing in its storage."""
    context = world.browser.new_context(viewport=SIZE)
    try:
        yield context
    finally:
        context.close()


@contextmanager
def _signed_in(world: World, user: str) -> Iterator[Any]:
    with _context(world) as context:
        sign_in(context, world.stack.url, user, PASSWORD)
        yield context


def _open(world: World, context: Any, slowness: float = 0, address: str = "") -> Tab:
    """The dashboard in a new tab, up to where Superset has taken every query."""
    world.stack.forget_results()
    world.stack.slow_queries(slowness)
    tab = Tab(context)
    tab.open(address or world.stack.url + DASHBOARD)
    tab.wait(lambda: tab.asked() >= len(CHARTS), "Superset takes every query")
    return tab


def _restart_meanwhile(world: World, tab: Tab) -> Figures:
    """All events are written while this server is away; the page gets them when it is back."""
    stack = world.stack
    written = stack.events_written()

    def queries_end() -> None:
        tab.wait(lambda: stack.events_written() >= written + len(CHARTS), "all queries end")
        assert tab.drawn() == 0, "charts are drawn without this server"

    stack.restart_server(queries_end)
    _wait_drawn(tab)
    return _judged(tab)


def _wait_drawn(tab: Tab) -> None:
    tab.wait(lambda: tab.drawn() >= len(CHARTS), "every chart is drawn")
    tab.page.wait_for_timeout(SETTLE * 1000)


def _judged(tab: Tab) -> Figures:
    """Every chart has been drawn by one event of this server's socket, and by nothing else."""
    figures = tab.figures()
    wanted = {"charts drawn": len(CHARTS), "queries": len(CHARTS), "their events": len(CHARTS)}
    wanted |= {"repeated": 0, "polls": 0, "results refused": 0}
    assert figures | wanted == figures, figures
    return figures


def _sum(figures: list[Figures]) -> Figures:
    return {name: sum(each[name] for each in figures) for name in figures[0]}
