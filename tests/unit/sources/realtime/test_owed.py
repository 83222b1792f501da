# SPDX-License-Identifier: Apache-2.0
"""Who may be closed when: nobody twice in ten seconds, and everybody in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.sources.realtime.owed import INTERVAL, RETURN_MIN, Owed

TICK = 0.1  # seconds
AT_ONCE = 3  # sockets closed in a tick


@dataclass(eq=False)
class Socket:
    opened_at: float
    owner: int = 0  # its tab


def owing(*sockets: Socket) -> Owed[Socket]:
    owed: Owed[Socket] = Owed()
    owed.owe_all(sockets)
    return owed


def test_those_that_are_there_are_closed_at_once_the_oldest_first() -> None:
    sockets = [Socket(float(number)) for number in range(5)]
    owed = owing(*sockets)
    assert owed.take(5.0, 3) == sockets[:3]
    assert owed.take(5.0, 3) == sockets[3:]
    assert owed.next_at() is None


def test_a_socket_that_may_be_a_closed_tabs_next_one_has_to_reach_an_age() -> None:
    owed = owing(Socket(0.0))
    owed.take(100.0, 9)
    again = Socket(101.0)
    owed.owe_all([again])
    assert owed.next_at() == 101.0 + INTERVAL
    assert owed.take(101.0 + INTERVAL - 0.1, 9) == []
    assert owed.take(101.0 + INTERVAL, 9) == [again]


def test_a_socket_from_before_the_first_close_need_not_wait() -> None:
    old = [Socket(0.0), Socket(99.0)]
    owed = owing(*old)
    owed.take(100.0, 1)
    owed.owe_all([old[1], Socket(101.5)])
    assert owed.take(102.0, 9) == [old[1]]


def test_a_socket_that_opens_sooner_than_a_browser_comes_back_need_not_wait() -> None:
    owed = owing(Socket(0.0))
    owed.take(100.0, 9)
    renewed = Socket(100.0 + RETURN_MIN / 2)
    owed.owe(renewed)
    assert owed.take(101.0, 9) == [renewed]


def test_long_after_the_last_close_nobody_waits() -> None:
    owed = owing(Socket(0.0))
    owed.take(100.0, 9)
    later = Socket(100.1 + INTERVAL)
    owed.owe_all([later])
    assert owed.take(111.0, 9) == [later]


def test_one_that_was_closed_alone_is_not_closed_again_before_it_has_reached_the_age() -> None:
    owed: Owed[Socket] = Owed()
    owed.owe(Socket(0.0))
    owed.take(100.0, 9)
    again = Socket(101.0)
    owed.owe(again)
    assert owed.next_at() == 101.0 + INTERVAL


def test_it_is_told_how_many_were_not_owed_it_before() -> None:
    first, second = Socket(0.0), Socket(1.0)
    owed = owing(first)
    assert owed.owe_all([first, second]) == 1


def test_a_socket_that_has_ended_is_forgotten() -> None:
    first, second = Socket(0.0), Socket(1.0)
    owed = owing(first)
    owed.owe(second)
    owed.forget(first)
    assert (first in owed, second in owed, len(owed)) == (False, True, 1)


# --- tabs that come back, and subscriptions that come and go --------------------------------------


@dataclass
class World:
    """Tabs, each with a socket or on its way to the next one; a subscription is there or not."""

    returns: dict[int, float]  # how long each tab takes to come back, in seconds
    now: float = 1000.0
    hub: list[Socket] = field(default_factory=list)
    owed: Owed[Socket] = field(default_factory=Owed)
    back_at: dict[int, float] = field(default_factory=dict)
    closes: dict[int, list[float]] = field(default_factory=dict)
    subscribed_at: float = float("-inf")

    def subscribe(self) -> None:
        self.owed.owe_all(self.hub)
        self.subscribed_at = self.now

    def live(self, seconds: float, *, subscribed: bool) -> None:
        end = self.now + seconds
        while self.now < end:
            for tab in [tab for tab, at in self.back_at.items() if at <= self.now]:
                del self.back_at[tab]
                self.hub.append(Socket(self.now, tab))
                if self.now - self.subscribed_at < RETURN_MIN:
                    self.owed.owe(self.hub[-1])
            for socket in self.owed.take(self.now, AT_ONCE) if subscribed else ():
                self.hub.remove(socket)
                self.closes.setdefault(socket.owner, []).append(self.now)
                self.back_at[socket.owner] = self.now + self.returns[socket.owner]
            self.now += TICK


@given(
    st.lists(st.floats(1.0, 4.0), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0.0, 12.0), st.floats(0.1, 12.0)), min_size=1, max_size=12),
)
def test_however_often_subscriptions_come_and_go_no_tab_is_closed_twice_in_ten_seconds(
    returns: list[float], flaps: list[tuple[float, float]]
) -> None:
    world = World(dict(enumerate(returns)))
    world.back_at = dict.fromkeys(world.returns, world.now)
    for down, up in flaps:
        world.live(down, subscribed=False)
        world.subscribe()
        world.live(up, subscribed=True)
    for times in world.closes.values():
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert all(pause >= INTERVAL for pause in pauses)


@given(
    st.lists(st.floats(1.0, 4.0), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0.0, 12.0), st.floats(0.1, 12.0)), min_size=1, max_size=12),
)
def test_whoever_was_there_at_the_last_subscription_is_closed_after_it(
    returns: list[float], flaps: list[tuple[float, float]]
) -> None:
    world = World(dict(enumerate(returns)))
    world.back_at = dict.fromkeys(world.returns, world.now)
    for down, up in flaps:
        world.live(down, subscribed=False)
        world.subscribe()
        begin, there = world.now, [socket.owner for socket in world.hub]
        world.live(up, subscribed=True)
    world.live(INTERVAL + TICK * len(returns), subscribed=True)
    assert len(world.owed) == 0
    assert all(world.closes[tab][-1] >= begin for tab in there)
