# SPDX-License-Identifier: Apache-2.0
"""Events reach the sockets of their channel and nobody else: real Redis, gunicorn and clients."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server
from testbed.superset import cookie, event, new_channel, publish

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def prefix() -> str:
    """One for all tests here: each has channels of its own."""
    return "service-tests-"


@pytest.fixture(scope="module")
def server(
    redis_server: RedisServer, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One for all tests here: none of them changes it."""
    server = Server(tmp_path_factory.mktemp("server"), redis_server.port, prefix=prefix)
    yield server
    server.stop()


@contextlib.contextmanager
def tab(server: Server, channel: str, path: str = "/") -> Iterator[ClientConnection]:
    """A browser tab of the channel's user."""
    headers = {"Cookie": cookie(channel)}
    with connect(
        server.url(path), additional_headers=headers, max_queue=None, compression=None
    ) as socket:
        yield socket


def received(socket: ClientConnection) -> dict[str, Any]:
    """The next event."""
    message = socket.recv(timeout=DEADLINE)
    assert isinstance(message, str), "events are text messages"
    return dict(json.loads(message))


@pytest.fixture
def say(redis_server: RedisServer, prefix: str) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Publish as Superset does: `say(channel, **members)`."""

    def publish_(channel: str, **members: Any) -> tuple[str, dict[str, Any]]:
        return publish(redis_server.client, prefix, channel, **members)

    return publish_


def test_an_event_arrives_as_it_was_written_with_its_id_in_front(server: Server, say: Any) -> None:
    channel = new_channel()
    with tab(server, channel) as socket:
        entry_id, message = say(channel)
        text = socket.recv(timeout=DEADLINE)
    assert text == f'{{"id":"{entry_id}",' + json.dumps(message)[1:]


def test_an_id_of_the_event_itself_wins(server: Server, say: Any) -> None:
    channel = new_channel()
    with tab(server, channel) as socket:
        say(channel, id="its own")
        text = socket.recv(timeout=DEADLINE)
    assert json.loads(text)["id"] == "its own"


def test_every_tab_of_two_users_gets_its_own_users_events_at_two_workers(
    start_server: StartServer, say: Any
) -> None:
    server = start_server(workers=2)
    alice, bob = new_channel(), new_channel()
    with contextlib.ExitStack() as stack:
        tabs = [(c, stack.enter_context(tab(server, c))) for c in [alice, bob] * 6]
        for number in range(20):
            say(alice, job_id=f"alice {number}")
            say(bob, job_id=f"bob {number}")
        for channel, socket in tabs:
            name = "alice" if channel == alice else "bob"
            jobs = [received(socket)["job_id"] for _ in range(20)]
            assert jobs == [f"{name} {number}" for number in range(20)]


def test_a_channel_id_inside_nested_members_changes_nothing(server: Server, say: Any) -> None:
    alice, bob = new_channel(), new_channel()
    with tab(server, alice) as of_alice, tab(server, bob) as of_bob:
        say(alice, errors=[{"channel_id": bob, "message": f'"channel_id": "{bob}"'}])
        say(bob, job_id="bob's own")
        assert received(of_alice)["errors"][0]["channel_id"] == bob
        assert received(of_bob)["job_id"] == "bob's own"


MALFORMED = {
    "no field data": {"other": "x"},
    "not JSON": {"data": "{"},
    "NaN, which JSON doesn't have": {"data": '{"channel_id": "c", "x": NaN}'},
    "not an object": {"data": "[1, 2]"},
    "no channel": {"data": '{"job_id": "j"}'},
    "a channel that is no text": {"data": '{"channel_id": 7}'},
    "not UTF-8": {"data": b'{"channel_id": "\xff"}'},
    "nothing at all": {"data": ""},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_entry_is_logged_and_the_stream_goes_on(
    start_server: StartServer,
    redis_server: RedisServer,
    prefix: str,
    say: Any,
    fields: dict[Any, Any],
) -> None:
    server = start_server()  # one of its own: a second line of a kind would be held back
    channel = new_channel()
    with tab(server, channel) as socket:
        say(channel, job_id="before")
        bad = str(redis_server.client.xadd(prefix + "full", fields), "ascii")  # type: ignore[arg-type]
        say(channel, job_id="after")
        assert [received(socket)["job_id"] for _ in range(2)] == ["before", "after"]
    assert f"entry {bad} of the stream is skipped: " in server.log_text()


def test_any_path_is_upgraded(server: Server, say: Any) -> None:
    channel = new_channel()
    with tab(server, channel, "/ws/some%20where?x=1") as socket:
        say(channel, job_id="j")
        assert received(socket)["job_id"] == "j"


def test_configured_cookie_name_and_channel_key_are_used(
    start_server: StartServer, say: Any
) -> None:
    server = start_server(environ={"JWT_COOKIE_NAME": "other", "JWT_CHANNEL_ID_KEY": "sub"})
    from testbed.superset import token

    headers = {"Cookie": "other=" + token("ignored", sub="the channel")}
    with connect(server.url(), additional_headers=headers) as socket:
        say("the channel", job_id="j")
        assert received(socket)["job_id"] == "j"


def test_a_large_event_arrives_whole(server: Server, say: Any) -> None:
    channel = new_channel()
    with tab(server, channel) as socket:
        say(channel, errors=["x" * 200_000])
        assert received(socket)["errors"] == ["x" * 200_000]


def test_characters_beyond_ascii_arrive(server: Server, say: Any) -> None:
    channel = new_channel()
    with tab(server, channel) as socket:
        say(channel, errors=["naïve 日本 🙂 \ud800"])
        assert received(socket)["errors"] == ["naïve 日本 🙂 \ud800"]


def test_a_burst_larger_than_a_read_arrives_in_order(
    server: Server, redis_server: RedisServer, prefix: str
) -> None:
    channel = new_channel()
    with tab(server, channel) as socket:
        pipe = redis_server.client.pipeline(transaction=False)
        for number in range(3000):
            pipe.xadd(prefix + "full", {"data": json.dumps(event(channel, job_id=f"{number}"))})
        pipe.execute()
        assert [received(socket)["job_id"] for _ in range(3000)] == [
            f"{number}" for number in range(3000)
        ]
