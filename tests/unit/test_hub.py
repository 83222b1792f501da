# SPDX-License-Identifier: Apache-2.0
"""The registry: who is there, who gets a channel's events, and that nothing stays behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.hub import Registry


@dataclass(eq=False)
class FakeConnection:
    """What the registry looks at; a real one needs a socket and a loop."""

    channel: str
    ended: bool = False


def connection(channel: str = "a", *, ended: bool = False) -> Any:
    return FakeConnection(channel, ended)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_an_added_connection_counts(registry: Registry) -> None:
    registry.add(connection())
    assert len(registry) == 1


def test_an_added_connection_gets_no_events_before_it_subscribes(registry: Registry) -> None:
    registry.add(connection("a"))
    assert "a" not in registry.by_channel


def test_a_subscribed_connection_is_found_under_its_channel_only(registry: Registry) -> None:
    one, other = connection("a"), connection("b")
    for each in (one, other):
        registry.add(each)
        registry.subscribe(each)
    assert registry.by_channel == {"a": {one}, "b": {other}}


def test_several_connections_of_a_channel_are_found_together(registry: Registry) -> None:
    tabs = {connection("a") for _ in range(3)}
    for tab in tabs:
        registry.add(tab)
        registry.subscribe(tab)
    assert registry.by_channel["a"] == tabs


def test_a_catch_up_that_outlives_its_connection_subscribes_nobody(registry: Registry) -> None:
    one = connection("a")
    registry.add(one)
    registry.remove(one)
    registry.subscribe(one)
    assert registry.by_channel == {}


def test_a_channels_count_has_those_that_are_catching_up_in_it(registry: Registry) -> None:
    live, catching_up, elsewhere = connection("a"), connection("a"), connection("b")
    for each in (live, catching_up, elsewhere):
        registry.add(each)
    registry.subscribe(live)
    assert registry.count("a") == 2


def test_counting_a_channel_does_not_make_it_known(registry: Registry) -> None:
    assert (registry.count("a"), registry.by_channel) == (0, {})


def test_a_removed_connection_leaves_its_peers_where_they_are(registry: Registry) -> None:
    going, staying = connection("a"), connection("a")
    for each in (going, staying):
        registry.add(each)
        registry.subscribe(each)
    registry.remove(going)
    assert registry.by_channel == {"a": {staying}}


def test_a_channel_goes_with_its_last_connection(registry: Registry) -> None:
    one = connection("a")
    registry.add(one)
    registry.subscribe(one)
    registry.remove(one)
    assert registry.by_channel == {}


def test_a_connection_can_be_removed_before_it_has_subscribed(registry: Registry) -> None:
    one = connection()
    registry.add(one)
    registry.remove(one)
    assert len(registry) == 0


def test_removing_an_unknown_connection_changes_nothing(registry: Registry) -> None:
    staying = connection("a")
    registry.add(staying)
    registry.subscribe(staying)
    registry.remove(connection("a"))
    assert registry.by_channel == {"a": {staying}}


def test_iteration_names_every_connection_once(registry: Registry) -> None:
    everybody = {connection(channel) for channel in "aabc"}
    for each in everybody:
        registry.add(each)
    assert sorted(map(id, registry)) == sorted(map(id, everybody))


def test_the_sweep_leaves_live_connections_alone(registry: Registry) -> None:
    one = connection("a")
    registry.add(one)
    registry.subscribe(one)
    registry.sweep()
    assert (registry.sweep(), len(registry), registry.by_channel) == (0, 1, {"a": {one}})


def test_the_sweep_leaves_it_to_the_connection_to_go_a_moment_after_its_end(
    registry: Registry,
) -> None:
    one = connection("a", ended=True)
    registry.add(one)
    first = registry.sweep()
    registry.remove(one)
    assert (first, registry.sweep()) == (0, 0)


def test_the_sweep_drops_an_ended_connection_from_everywhere(registry: Registry) -> None:
    one = connection("a", ended=True)
    registry.add(one)
    registry.subscribe(one)
    registry.sweep()
    assert (registry.sweep(), len(registry), registry.by_channel) == (1, 0, {})


def test_the_sweep_drops_a_connection_that_ended_before_it_subscribed(registry: Registry) -> None:
    registry.add(connection("a", ended=True))
    registry.sweep()
    assert (registry.sweep(), len(registry), registry.count("a")) == (1, 0, 0)


# Each happens to a connection at most once, but in any order: a catch-up may end after its socket.
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "subscribe", "remove"]), st.integers(0, 5)), unique=True
)


@given(STEPS)
def test_after_everybody_has_gone_nothing_is_left(steps: list[tuple[str, int]]) -> None:
    registry = Registry()
    pool = [connection("ab"[i % 2]) for i in range(6)]
    for step, index in steps:
        getattr(registry, step)(pool[index])
    for one in pool:
        registry.remove(one)
    left = (len(registry), registry.by_channel, registry.count("a"), registry.count("b"))
    assert left == (0, {}, 0, 0)


@given(STEPS)
def test_a_channels_count_is_the_number_of_its_connections(steps: list[tuple[str, int]]) -> None:
    registry = Registry()
    pool = [connection("ab"[i % 2]) for i in range(6)]
    for step, index in steps:
        getattr(registry, step)(pool[index])
    assert registry.count("a") == sum(one.channel == "a" for one in registry)


@given(STEPS)
def test_no_channel_without_connections_is_kept(steps: list[tuple[str, int]]) -> None:
    registry = Registry()
    pool = [connection("ab"[i % 2]) for i in range(6)]
    for step, index in steps:
        getattr(registry, step)(pool[index])
    assert all(registry.by_channel.values())
