# SPDX-License-Identifier: Apache-2.0
"""Messages and sockets of the realtime channel, without Redis: who gets what, and what is said."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from typing import Any, cast
from unittest.mock import Mock

import gevent
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from testbed.servers import DEADLINE
from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.config.keys import Settings
from wsgi_ws.hub import Hub
from wsgi_ws.loop import SLICE, give_way
from wsgi_ws.sources.realtime import broadcast
from wsgi_ws.sources.realtime import source as module
from wsgi_ws.sources.realtime.owed import Claim
from wsgi_ws.sources.realtime.source import RealtimeSource
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection

RENEWAL = Ending(1005, "", "client")  # a browser closes to open the next one
TOLD = Ending(1012, module.MISSED, "server", answer=1012)  # it has answered our close
# Ours is on its way when a browser closes, or never reaches it.
CROSSED = [Ending(1012, module.MISSED, "server", answer=code) for code in (1000, 1005, None)]
PRINCIPALS = ("user:1", "user:2", "guest:ab")
TABS = (None, "1", "2")
ROUTES = [p + (f":{t}" if t else "") for p in PRINCIPALS for t in TABS]


class World:
    """A source with its hub; sockets keep what they are sent."""

    def __init__(self, **settings: Any) -> None:
        self.hub, self.metrics = Hub(), Mock()
        self.source = RealtimeSource(Settings(**settings), self.hub, self.metrics)

    def connect(self, principal: str = "user:1", tab_id: str | None = None) -> Socket:
        socket: Any = Socket(principal)
        socket.taken_until = time.monotonic()
        socket.unanswered_since = None
        connection = cast(Connection, socket)
        self.hub.add(connection)
        self.source.join(connection, last_id=None, tab_id=tab_id)
        return cast(Socket, socket)

    def leave(self, socket: Socket, ending: Ending = RENEWAL) -> None:
        connection = cast(Connection, socket)
        self.source.leave(connection, ending)
        self.hub.remove(connection)

    def publish(self, number: int, routes: Iterable[str], topic: str = "task.status") -> None:
        self.source.on_messages([message(number, routes, topic)])


def message(number: int, routes: Iterable[str], topic: str = "task.status") -> bytes:
    members = {"topic": topic, "scope": "tab", "payload": number, "routes": [*routes]}
    return json.dumps(members).encode()


def numbers(socket: Socket) -> list[int]:
    """The payloads that it got: short frames, perhaps several in one chunk."""
    found, data = [], b"".join(socket.chunks)
    while data:
        size = data[1]
        found.append(int(json.loads(data[2 : 2 + size])["payload"]))
        data = data[2 + size :]
    return found


@given(
    st.lists(st.tuples(st.sampled_from(PRINCIPALS), st.sampled_from(TABS)), max_size=8),
    st.lists(st.lists(st.sampled_from([*ROUTES, "user:3", "full"]), max_size=5), max_size=8),
)
def test_a_socket_gets_what_one_of_its_routes_names_once_and_nothing_else(
    who: list[tuple[str, str | None]], messages: list[list[str]]
) -> None:
    world = World(realtime_memory=0.0)
    sockets = [world.connect(principal, tab) for principal, tab in who]
    for number, routes in enumerate(messages):
        world.publish(number, routes)
    for (principal, tab), socket in zip(who, sockets, strict=True):
        own = {principal, f"{principal}:{tab}"} if tab else {principal}
        assert numbers(socket) == [n for n, routes in enumerate(messages) if own & {*routes}]


def test_what_follows_a_message_for_many_does_not_overtake_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MANY", 2)
    world = World()
    sockets = [world.connect() for _ in range(3)]
    world.publish(1, ["user:1"])
    tab = world.connect(tab_id="1")
    world.publish(2, ["user:1:1"])
    assert numbers(tab) == [1]  # from the memory; the next one waits for its turn
    assert [numbers(socket) for socket in sockets] == [[], [], []]


def test_messages_for_a_few_do_not_wait_for_a_turn_each_while_others_are_busy() -> None:
    world, turns = World(), 0
    socket = world.connect()
    messages = [message(number, ["user:1"]) for number in range(100)]

    def be_busy() -> None:
        nonlocal turns
        while True:
            turns += 1
            end = time.perf_counter() + 2 * SLICE
            while time.perf_counter() < end:
                pass
            give_way()

    busy = gevent.spawn(be_busy)
    gevent.sleep(0)
    world.source.on_messages(messages)
    busy.kill()
    assert (len(numbers(socket)), turns < 50) == (100, True)


def test_a_message_for_many_is_sent_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 2)
    world = World()
    sockets = [world.connect() for _ in range(3)]
    world.publish(1, ["user:1"])
    assert [numbers(socket) for socket in sockets] == [[], [], []]  # the broadcaster does it


def test_the_reader_waits_while_more_waits_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 2)
    monkeypatch.setattr(broadcast, "WAITING_BYTES", 5000)
    world = World()
    sockets = [world.connect() for _ in range(3)]
    messages = [message(number, ["user:1"]) for number in range(100)]
    reader = gevent.spawn(world.source.on_messages, messages)
    gevent.sleep(0.01)
    assert not reader.ready()
    _, send, *_ = world.source.jobs()
    sender = gevent.spawn(send)
    reader.join(timeout=DEADLINE)
    with gevent.Timeout(DEADLINE):
        while len(numbers(sockets[-1])) < len(messages):
            gevent.sleep(0.005)
    sender.kill()
    assert [numbers(socket) for socket in sockets] == [[*range(100)]] * 3


# --- a tab that comes back -----------------------------------------------------------------------


def test_a_tab_gets_what_came_while_it_had_no_socket() -> None:
    world = World()
    world.leave(world.connect(tab_id="1"))
    world.publish(1, ["user:1:1"])
    world.publish(2, ["user:1"])
    assert numbers(world.connect(tab_id="1")) == [1, 2]


@pytest.mark.parametrize(("principal", "tab_id"), [("user:2", "1"), ("user:1", "2")])
def test_another_principal_or_tab_does_not_get_it(principal: str, tab_id: str) -> None:
    world = World()
    world.publish(1, ["user:1:1"])
    assert numbers(world.connect(principal, tab_id)) == []


OF_TOPIC = st.sampled_from(["task.status", "some.day"])
STEPS = st.lists(
    st.tuples(st.just("come"), st.sampled_from(PRINCIPALS), st.sampled_from(TABS))
    | st.tuples(st.just("go"), st.integers(0, 20))
    | st.tuples(st.just("publish"), st.lists(st.sampled_from(ROUTES), max_size=3), OF_TOPIC),
    max_size=25,
)


@given(STEPS)
def test_whoever_comes_and_goes_nobody_gets_what_is_not_for_it_or_anything_twice(
    steps: list[tuple[Any, ...]],
) -> None:
    world = World()
    open_now: list[tuple[Socket, set[str], list[int]]] = []  # with its routes, and what it is due
    seen = list(open_now)
    published: list[tuple[int, set[str]]] = []  # what may be repeated
    for number, (step, *arguments) in enumerate(steps):
        if step == "come":
            principal, tab_id = arguments
            own = {principal, f"{principal}:{tab_id}"} if tab_id else {principal}
            due = [n for n, routes in published if routes & own]
            open_now.append((world.connect(principal, tab_id), own, due))
            seen.append(open_now[-1])
        elif step == "go" and open_now:
            world.leave(open_now.pop(arguments[0] % len(open_now))[0])
        elif step == "publish":
            routes, topic = {*arguments[0]}, arguments[1]
            world.publish(number, arguments[0], topic)
            if topic == "task.status":
                published.append((number, routes))
            for _, own, due in open_now:
                due.extend([number] if routes & own else [])
    for socket, _, due in seen:
        assert numbers(socket) == due


def test_what_the_last_socket_has_got_long_before_its_end_is_not_repeated() -> None:
    world = World()
    socket: Any = world.connect(tab_id="1")
    world.publish(1, ["user:1"])
    socket.taken_until = time.monotonic() + 1  # it was heard of after that
    world.leave(socket)
    assert numbers(world.connect(tab_id="1")) == []


def test_a_tab_that_is_not_known_here_gets_what_was_for_it_alone() -> None:
    world = World()
    world.publish(1, ["user:1"])
    world.publish(2, ["user:2"])
    assert numbers(world.connect(tab_id="1")) == [1]


@pytest.mark.parametrize("topic", ["dashboard.filters_applied", "some.day"])
def test_what_may_do_harm_when_it_comes_twice_is_not_repeated(topic: str) -> None:
    world = World()
    world.leave(world.connect(tab_id="1"))
    world.publish(1, ["user:1"], topic)
    assert numbers(world.connect(tab_id="1")) == []


def test_a_socket_counts_what_it_is_given_from_the_memory() -> None:
    world = World()
    world.publish(1, ["user:1"])
    assert world.connect(tab_id="1").events_sent == 1


# --- a tab that may have missed more -------------------------------------------------------------


def is_owed_a_close(world: World, **who: Any) -> bool:
    """Whether a socket that opens now will be closed."""
    socket = world.connect(**who)
    return world.source._resync.claim_of(cast(Connection, socket)) is not Claim.NONE


def subscribe_again(world: World) -> None:
    for _ in range(2):
        world.source.on_subscribed()


def test_who_opens_a_socket_just_behind_a_new_subscription_is_told() -> None:
    """Of those that were told none can be back so soon."""
    world = World()
    subscribe_again(world)
    assert is_owed_a_close(world)


def test_who_opens_a_socket_behind_the_first_subscription_has_missed_nothing() -> None:
    world = World()
    world.source.on_subscribed()
    assert not is_owed_a_close(world)


def test_who_comes_back_later_was_told_and_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETURN_MIN", 0.0)
    world = World()
    socket = world.connect(tab_id="1")
    subscribe_again(world)
    world.leave(socket, TOLD)
    assert not is_owed_a_close(world, tab_id="1")


def test_a_tab_that_was_between_two_sockets_at_the_new_subscription_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETURN_MIN", 0.0)
    world = World()
    world.leave(world.connect(tab_id="1"))
    subscribe_again(world)
    assert is_owed_a_close(world, tab_id="1")


def test_a_tab_that_renews_its_socket_before_its_turn_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETURN_MIN", 0.0)
    world = World()
    socket = world.connect(tab_id="1")
    subscribe_again(world)
    world.leave(socket)
    assert is_owed_a_close(world, tab_id="1")


@pytest.fixture
def returns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told by the time in which a browser comes back, is not asked here."""
    monkeypatch.setattr(module, "RETURN_MIN", 0.0)


def close_what_is_owed(world: World) -> None:
    world.source._resync._close_some()


def let_time_pass(world: World) -> None:
    """As long as a browser takes to come back."""
    world.source._departures._claimed_at.clear()
    world.source._resync._owed._closed_at = float("-inf")


@pytest.mark.usefixtures("returns_at_once")
@pytest.mark.parametrize("ending", [*CROSSED, RENEWAL], ids=["1000", "1005", "none", "before"])
def test_a_tab_that_renews_its_socket_while_it_is_being_closed_is_told(ending: Ending) -> None:
    world = World()
    socket = world.connect(tab_id="1")
    subscribe_again(world)
    close_what_is_owed(world)
    world.leave(socket, ending)
    assert is_owed_a_close(world, tab_id="1")


@pytest.mark.usefixtures("returns_at_once")
@pytest.mark.parametrize("ending", CROSSED, ids=["1000", "1005", "none"])
def test_a_client_that_never_answers_with_our_code_is_closed_once_more_only(
    ending: Ending,
) -> None:
    world = World()
    socket = world.connect(tab_id="1")
    subscribe_again(world)
    close_what_is_owed(world)
    world.leave(socket, ending)
    again = world.connect(tab_id="1")
    close_what_is_owed(world)
    world.leave(again, ending)
    let_time_pass(world)
    assert not is_owed_a_close(world, tab_id="1")


@pytest.mark.usefixtures("returns_at_once")
def test_another_browsers_socket_of_its_name_does_not_take_a_tabs_claim_away() -> None:
    world = World()
    world.leave(world.connect(tab_id="1"))
    subscribe_again(world)
    assert [is_owed_a_close(world, tab_id="1") for _ in range(2)] == [True, True]


@pytest.mark.usefixtures("returns_at_once")
@pytest.mark.parametrize("told_first", [True, False])
def test_that_another_browser_of_its_name_is_told_does_not_take_a_tabs_claim_away(
    told_first: bool,
) -> None:
    world = World()
    endings = [TOLD, RENEWAL] if told_first else [RENEWAL, TOLD]
    sockets = [world.connect(tab_id="1") for _ in endings]
    subscribe_again(world)
    for socket, ending in zip(sockets, endings, strict=True):
        world.leave(socket, ending)
    assert is_owed_a_close(world, tab_id="1")


@pytest.mark.usefixtures("returns_at_once")
@pytest.mark.parametrize("tab_id", ["1", None])
@pytest.mark.parametrize("memory", [30.0, 0.0])
def test_a_claim_needs_neither_a_memory_nor_a_name(tab_id: str | None, memory: float) -> None:
    world = World(realtime_memory=memory)
    world.leave(world.connect(tab_id=tab_id))
    subscribe_again(world)
    assert is_owed_a_close(world, tab_id=tab_id)


@pytest.mark.usefixtures("returns_at_once")
def test_a_tab_whose_last_socket_is_still_open_here_and_owed_a_close_is_told() -> None:
    world = World()
    world.connect(tab_id="1")
    subscribe_again(world)
    assert is_owed_a_close(world, tab_id="1")


def test_a_tab_whose_last_socket_is_still_open_here_gets_what_that_may_not_have_got() -> None:
    world = World()
    old: Any = world.connect(tab_id="1")
    world.publish(1, ["user:1"])
    world.publish(2, ["user:1:1"])
    assert numbers(world.connect(tab_id="1")) == [1, 2]
    assert not is_owed_a_close(world, tab_id="1")
    old.unanswered_since = time.monotonic()
    assert not is_owed_a_close(world, tab_id="1")


def test_a_tab_whose_last_socket_is_silent_and_has_missed_more_than_is_remembered_is_told() -> None:
    world = World(realtime_memory_bytes=5_000)
    old: Any = world.connect(tab_id="1")
    old.unanswered_since = time.monotonic()
    miss_much(world)
    assert is_owed_a_close(world, tab_id="1")


@pytest.mark.usefixtures("returns_at_once")
def test_in_a_crowd_with_one_name_a_claim_is_one_sockets_only() -> None:
    world = World()
    for _ in range(module.CROWD_MIN):
        world.connect(tab_id="1")
    world.leave(world.connect(tab_id="1"))
    subscribe_again(world)
    assert [is_owed_a_close(world, tab_id="1") for _ in range(3)] == [True, False, False]


@pytest.mark.usefixtures("returns_at_once")
def test_of_a_crowd_with_one_name_all_are_told_in_the_end() -> None:
    """Some renew their sockets before their turn, again and again: nobody is closed for ever."""
    world = World()
    crowd = [world.connect(tab_id="1") for _ in range(50)]
    subscribe_again(world)
    for turn in range(8):
        close_what_is_owed(world)
        endings = [RENEWAL if n % 5 == turn % 5 else TOLD for n in range(len(crowd))]
        for socket, ending in zip(crowd, endings, strict=True):
            is_owed = world.source._resync.claim_of(cast(Connection, socket)) is not Claim.NONE
            world.leave(socket, ending if is_owed else RENEWAL)
        let_time_pass(world)
        crowd = [world.connect(tab_id="1") for _ in crowd]
    claims = [world.source._resync.claim_of(cast(Connection, socket)) for socket in crowd]
    assert claims.count(Claim.NONE) > 45


def miss_much(world: World) -> None:
    for number in range(50):
        world.publish(number, ["user:1"])


def test_a_tab_that_has_missed_more_than_is_remembered_is_told() -> None:
    world = World(realtime_memory_bytes=5_000)
    world.leave(world.connect(tab_id="1"))
    miss_much(world)
    assert is_owed_a_close(world, tab_id="1")


def test_a_tab_whose_network_has_failed_asks_by_itself() -> None:
    world = World(realtime_memory_bytes=5_000)
    world.leave(world.connect(tab_id="1"), Ending(1006, "reset", "network"))
    miss_much(world)
    assert not is_owed_a_close(world, tab_id="1")


def test_without_a_memory_a_renewal_is_not_a_reason_to_close() -> None:
    world = World(realtime_memory=0.0)
    world.leave(world.connect(tab_id="1"))
    miss_much(world)
    assert not is_owed_a_close(world, tab_id="1")


# --- what is said --------------------------------------------------------------------------------


def test_what_is_no_message_is_skipped_and_told_once_a_minute_for_each_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    socket = world.connect()
    world.source.on_messages([b"x", b"y", b"[]", b"\xff"])
    world.publish(1, ["user:1"])
    assert numbers(socket) == [1]
    assert [record.getMessage().partition(" is skipped: ")[2] for record in caplog.records] == [
        "it is not JSON",
        "it is no message of Superset's: Expected `object`, got `array`",
        "it is not UTF-8",
    ]


def test_it_is_not_ready_before_the_subscription() -> None:
    source = World(realtime_channel_prefix="x:").source
    assert source.unreadiness() == (
        "channel x:realtime of Redis at redis://127.0.0.1:6379/0 can't be subscribed to"
    )


def test_the_cause_is_named_while_redis_can_t_be_asked() -> None:
    source = World().source
    source.link.down(redis.AuthenticationError("Authentication required."))
    assert str(source.unreadiness()).endswith("can't be subscribed to: Authentication required")


def test_it_is_ready_with_the_subscription() -> None:
    source = World().source
    source.link.up()
    assert source.unreadiness() is None


def test_a_missing_permission_is_named() -> None:
    source = World(transports="realtime").source
    source.link.down(redis.ResponseError("NOPERM No permissions to access a channel"))
    assert "ACL SETUSER default &realtime +subscribe +ping" in str(source.unreadiness())


def test_nobody_is_turned_away_at_the_beginning_of_an_outage() -> None:
    assert World().source.closed_because() is None


def test_everybody_is_turned_away_in_a_long_outage() -> None:
    source = World(realtime_outage=45.0).source
    source.link.lost_at -= 46.0
    assert source.closed_because() == "Redis is away for more than 45 s"


def test_a_permission_that_is_withdrawn_is_an_outage() -> None:
    link = World().source.link
    link.up()
    link.down(redis.ResponseError("NOPERM No permissions to access a channel"))
    assert not link.is_off


def test_a_transport_that_is_not_permitted_is_switched_off_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    source = World().source
    for _ in range(3):
        source.link.down(redis.ResponseError("NOPERM No permissions to access a channel"))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the transport realtime is switched off (NOPERM")
    assert "ACL SETUSER default &realtime +subscribe +ping" in line


def test_a_permission_that_was_promised_is_named_in_the_line_of_the_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    World(transports="both").source.link.down(
        redis.ResponseError("NOPERM No permissions to access a channel")
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Redis can't be read for realtime (NOPERM")
    assert "ACL SETUSER default &realtime +subscribe +ping" in line
