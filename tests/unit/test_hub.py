# SPDX-License-Identifier: Apache-2.0
"""The hub: who is there, who gets a topic's frames, and that nothing stays behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.hub import FEW, Hub


@dataclass(eq=False)
class FakeConnection:
    """What the hub uses of a connection; a real one needs a socket and a loop."""

    channel: str
    ended: bool = False
    events_sent: int = 0
    sent: list[bytes] = field(default_factory=list)

    def send(self, frames: bytes) -> None:
        self.sent.append(frames)


def connection(channel: str = "a", *, ended: bool = False) -> Any:
    return FakeConnection(channel, ended)


def subscribed(hub: Hub, *topics: str) -> Any:
    """A new connection with these topics."""
    one = connection()
    hub.add(one)
    for topic in topics:
        hub.subscribe(one, topic)
    return one


@pytest.fixture
def hub() -> Hub:
    return Hub()


# --- who is there --------------------------------------------------------------------------------


def test_an_added_connection_counts(hub: Hub) -> None:
    hub.add(connection())
    assert len(hub) == 1


def test_a_channels_count_has_those_that_are_not_subscribed_in_it(hub: Hub) -> None:
    live, catching_up, elsewhere = connection("a"), connection("a"), connection("b")
    for each in (live, catching_up, elsewhere):
        hub.add(each)
    hub.subscribe(live, "a")
    assert hub.count("a") == 2


def test_a_channel_is_counted_whatever_the_topics_are(hub: Hub) -> None:
    one = connection("a")
    hub.add(one)
    hub.subscribe(one, "a:tab")
    assert (hub.count("a"), hub.count("a:tab"), hub.channels) == (1, 0, 1)


def test_counting_a_channel_does_not_make_it_known(hub: Hub) -> None:
    assert (hub.count("a"), hub.channels, hub.by_topic) == (0, 0, {})


def test_removing_an_unknown_connection_changes_nothing(hub: Hub) -> None:
    staying = subscribed(hub, "a")
    hub.remove(connection("a"))
    assert (hub.by_topic, hub.count("a")) == ({"a": (staying,)}, 1)


def test_a_connection_can_be_removed_before_it_has_subscribed(hub: Hub) -> None:
    one = connection()
    hub.add(one)
    hub.remove(one)
    assert len(hub) == 0


def test_iteration_names_every_connection_once(hub: Hub) -> None:
    everybody = {connection(channel) for channel in "aabc"}
    for each in everybody:
        hub.add(each)
    assert sorted(map(id, hub)) == sorted(map(id, everybody))


# --- who gets what -------------------------------------------------------------------------------


def test_an_added_connection_gets_no_frames_before_it_subscribes(hub: Hub) -> None:
    one = subscribed(hub)
    hub.deliver({"a": [b"1"]})
    assert one.sent == []


def test_a_topics_frames_reach_its_connections_only(hub: Hub) -> None:
    one, other = subscribed(hub, "a"), subscribed(hub, "b")
    hub.deliver({"a": [b"1"]})
    assert (one.sent, other.sent) == ([b"1"], [])


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 3 * FEW])
def test_all_connections_of_a_topic_get_its_frames(hub: Hub, count: int) -> None:
    tabs = [subscribed(hub, "a") for _ in range(count)]
    hub.deliver({"a": [b"1"]})
    assert [tab.sent for tab in tabs] == [[b"1"]] * count


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 30 * FEW])
def test_the_connections_of_a_topic_get_a_frame_in_the_order_in_which_they_came(
    hub: Hub, count: int
) -> None:
    order: list[int] = []
    for number in range(count):
        subscribed(hub, "a").send = lambda _, number=number: order.append(number)
    hub.deliver({"a": [b"1"]})
    assert order == list(range(count))


def test_a_connection_gets_the_frames_of_each_of_its_topics(hub: Hub) -> None:
    one = subscribed(hub, "user", "user:tab")
    hub.deliver({"user": [b"1"], "user:tab": [b"2"]})
    assert one.sent == [b"1", b"2"]


def test_subscribing_twice_is_subscribing_once(hub: Hub) -> None:
    one = subscribed(hub, "a", "a")
    hub.deliver({"a": [b"1"]})
    assert one.sent == [b"1"]


def test_the_frames_of_a_batch_go_out_in_order_and_in_one_send(hub: Hub) -> None:
    one = subscribed(hub, "a")
    hub.deliver({"a": [b"1", b"2", b"3"]})
    assert one.sent == [b"123"]


def test_each_frame_that_was_sent_counts_for_its_connection(hub: Hub) -> None:
    one = subscribed(hub, "a")
    hub.deliver({"a": [b"1", b"2"]})
    hub.deliver({"a": [b"3"]})
    assert one.events_sent == 3


def test_what_was_delivered_is_told_by_frames_and_by_sockets(hub: Hub) -> None:
    for topics in ("a", "a", "b"):
        subscribed(hub, *topics)
    assert hub.deliver({"a": [b"1", b"2"], "b": [b"3"], "nobody's": [b"4"]}) == (3, 5)


def test_an_unsubscribed_connection_stays_and_gets_no_frames(hub: Hub) -> None:
    one = subscribed(hub, "a", "b")
    hub.unsubscribe(one, "a")
    hub.deliver({"a": [b"1"], "b": [b"2"]})
    assert (one.sent, len(hub), hub.count("a")) == ([b"2"], 1, 1)


def test_unsubscribing_from_what_was_never_subscribed_changes_nothing(hub: Hub) -> None:
    one, other = subscribed(hub, "a"), subscribed(hub, "b")
    hub.unsubscribe(one, "b")
    assert hub.by_topic == {"a": (one,), "b": (other,)}


def test_a_catch_up_that_outlives_its_connection_subscribes_nobody(hub: Hub) -> None:
    one = connection("a")
    hub.add(one)
    hub.remove(one)
    hub.subscribe(one, "a")
    assert hub.by_topic == {}


@pytest.mark.parametrize("count", [2, FEW, FEW + 1, 3 * FEW])
def test_a_removed_connection_leaves_its_peers_where_they_are(hub: Hub, count: int) -> None:
    going, *staying = [subscribed(hub, "a") for _ in range(count)]
    hub.remove(going)
    hub.deliver({"a": [b"1"]})
    assert (going.sent, [tab.sent for tab in staying]) == ([], [[b"1"]] * (count - 1))


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_a_topic_goes_with_its_last_connection(hub: Hub, count: int) -> None:
    for each in [subscribed(hub, "a") for _ in range(count)]:
        hub.remove(each)
    assert hub.by_topic == {}


# --- the sweep -----------------------------------------------------------------------------------


def test_the_sweep_leaves_live_connections_alone(hub: Hub) -> None:
    one = subscribed(hub, "a")
    hub.sweep()
    assert (hub.sweep(), len(hub), hub.by_topic) == (0, 1, {"a": (one,)})


def test_the_sweep_leaves_it_to_the_connection_to_go_a_moment_after_its_end(hub: Hub) -> None:
    one = connection("a", ended=True)
    hub.add(one)
    first = hub.sweep()
    hub.remove(one)
    assert (first, hub.sweep()) == (0, 0)


def test_the_sweep_drops_an_ended_connection_from_everywhere(hub: Hub) -> None:
    one = connection("a", ended=True)
    hub.add(one)
    hub.subscribe(one, "a")
    hub.sweep()
    assert (hub.sweep(), len(hub), hub.by_topic) == (1, 0, {})


def test_the_sweep_drops_a_connection_that_ended_before_it_subscribed(hub: Hub) -> None:
    hub.add(connection("a", ended=True))
    hub.sweep()
    assert (hub.sweep(), len(hub), hub.count("a")) == (1, 0, 0)


# --- in any order --------------------------------------------------------------------------------

TOPICS = "ab"
POOL = 2 * FEW
# A connection is added and removed at most once; everything else may happen at any time: a catch-up
# may end after its socket.
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, POOL - 1), st.none())
    | st.tuples(
        st.sampled_from(["subscribe", "unsubscribe"]),
        st.integers(0, POOL - 1),
        st.sampled_from(TOPICS),
    ),
    unique=True,
    max_size=100,
)
Steps = list[tuple[str, int, str | None]]


def after(steps: Steps) -> tuple[Hub, list[Any], dict[str, set[Any]]]:
    """The hub after these steps, all connections, and who must be subscribed to what."""
    hub, pool = Hub(), [connection("xy"[number % 2]) for number in range(POOL)]
    there, expected = set[Any](), {topic: set[Any]() for topic in TOPICS}
    for step, index, topic in steps:
        one = pool[index]
        getattr(hub, step)(one, *filter(None, [topic]))
        if step == "add":
            there.add(one)
        elif step == "remove":
            there.discard(one)
            for connections in expected.values():
                connections.discard(one)
        elif step == "subscribe" and topic and one in there:
            expected[topic].add(one)
        elif step == "unsubscribe" and topic:
            expected[topic].discard(one)
    return hub, pool, expected


@given(STEPS)
def test_whatever_has_happened_who_is_subscribed_gets_a_frame_once(steps: Steps) -> None:
    hub, pool, expected = after(steps)
    for topic in TOPICS:
        hub.deliver({topic: [topic.encode()]})
    got = {topic: {one for one in pool if topic.encode() in one.sent} for topic in TOPICS}
    assert (got, max(one.sent.count(b"a") for one in pool) <= 1) == (expected, True)


@given(STEPS)
def test_after_everybody_has_gone_nothing_is_left(steps: Steps) -> None:
    hub, pool, _ = after(steps)
    for one in pool:
        hub.remove(one)
    assert (len(hub), hub.by_topic, hub.channels) == (0, {}, 0)


@given(STEPS)
def test_a_channels_count_is_the_number_of_its_connections(steps: Steps) -> None:
    hub, _, _ = after(steps)
    assert hub.count("x") == sum(one.channel == "x" for one in hub)


@given(STEPS)
def test_no_topic_without_connections_is_kept(steps: Steps) -> None:
    hub, _, _ = after(steps)
    assert all(hub.by_topic.values())
