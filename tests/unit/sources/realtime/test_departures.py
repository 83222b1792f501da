# SPDX-License-Identifier: Apache-2.0
"""Until when a tab has certainly got everything, and what its browser has not been told."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tests.unit.sources.streams.sockets import Socket
from wsgi_ws.hub import Hub
from wsgi_ws.sources.realtime import departures as module
from wsgi_ws.sources.realtime.departures import Departures
from wsgi_ws.sources.realtime.owed import RETURN_MIN, Claim
from wsgi_ws.websocket.connection import Connection

TAB = "user:1:3"


class World:
    """A hub, and a clock that tests set."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.now = 1000.0
        self.departures = Departures(self.hub, 30.0)

    def connect(self, *topics: str, heard_at: float) -> Connection:
        socket: Any = Socket("user:1")
        socket.taken_until = heard_at
        connection = cast(Connection, socket)
        self.hub.add(connection)
        for topic in ("user:1", *topics):
            self.hub.subscribe(connection, topic)
        return connection

    def heard_at(self) -> float | None:
        departure = self.departures.take(TAB)
        return departure.heard_at if departure else None

    def claim(self, topic: str = TAB) -> Claim:
        """The claim of a socket that opens now."""
        departure = self.departures.take(topic)
        return departure.claim if departure else Claim.NONE

    def leave(
        self, connection: Connection, now: float, *, told: bool = True, claim: Claim = Claim.NONE
    ) -> None:
        self.now = now
        self.departures.note(connection, is_told=told, claim=claim)
        self.hub.remove(connection)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return world.now

    monkeypatch.setattr(module, "time", Clock)
    assert time.monotonic()
    return world


def test_nothing_is_known_of_a_tab_that_was_not_here(world: World) -> None:
    world.connect("user:1:4", heard_at=990.0)
    assert world.heard_at() is None


def test_a_tab_that_has_left_has_what_was_sent_before_its_last_proof(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    assert world.heard_at() == 990.0


def test_the_open_socket_of_another_browser_says_nothing(world: World) -> None:
    world.connect(TAB, heard_at=985.0)
    assert world.heard_at() is None


def test_a_tab_that_has_come_back_begins_anew(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.heard_at()
    assert world.heard_at() is None


def test_of_two_browsers_with_one_tab_id_the_one_counts_that_has_got_the_least(
    world: World,
) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.leave(world.connect(TAB, heard_at=995.0), 1001.0)
    assert world.heard_at() == 990.0


def test_a_departure_is_forgotten(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    world.now = 1030.1
    assert world.heard_at() is None


def test_a_tab_says_nothing_of_those_without_a_name(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0)
    assert world.departures.take("user:1") is None


def test_tabs_without_a_name_are_known_by_their_principal(world: World) -> None:
    world.leave(world.connect(heard_at=990.0), 1000.0, told=False, claim=Claim.OWN)
    assert world.claim("user:1") is Claim.OWN


def test_a_departure_is_kept_without_a_memory_too(world: World) -> None:
    world.departures = Departures(world.hub, 0.0)
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=False, claim=Claim.OWN)
    world.now = 1029.0
    assert world.claim() is Claim.OWN


# --- claims --------------------------------------------------------------------------------------


def test_who_is_between_two_sockets_when_something_may_have_been_missed_has_a_claim(
    world: World,
) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=False)
    world.departures.owe_all()
    assert world.claim() is Claim.OWN


def test_who_has_been_told_has_none(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=True)
    world.departures.owe_all()
    assert world.claim() is Claim.NONE


@pytest.mark.parametrize("order", [(True, False), (False, True)], ids=["last", "first"])
def test_that_one_browser_is_told_is_not_told_to_another_one_of_its_name(
    world: World, order: tuple[bool, bool]
) -> None:
    for told in order:
        claim = Claim.NONE if told else Claim.OWN
        world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=told, claim=claim)
    departure = world.departures.take(TAB)
    assert departure is not None
    assert (departure.is_told, departure.claim) == (False, Claim.OWN)


def test_a_claim_that_another_browser_has_taken_is_there_until_that_one_can_be_back(
    world: World,
) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=False, claim=Claim.OWN)
    assert world.claim() is Claim.OWN
    world.now += RETURN_MIN * 0.9
    assert world.departures.is_claimed(TAB)
    world.now += RETURN_MIN * 0.2
    assert not world.departures.is_claimed(TAB)


def test_a_claim_that_was_handed_down_goes_to_one_only(world: World) -> None:
    world.leave(world.connect(TAB, heard_at=990.0), 1000.0, told=False, claim=Claim.HANDED_DOWN)
    assert world.claim() is Claim.HANDED_DOWN
    assert not world.departures.is_claimed(TAB)
