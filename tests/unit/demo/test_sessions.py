# SPDX-License-Identifier: Apache-2.0
"""Each load of the page has users and cookies of its own."""

from __future__ import annotations

import pytest

from wsgi_ws.demo import sessions as module
from wsgi_ws.demo.sessions import USERS, Sessions, Signers
from wsgi_ws.superset.token import RealtimeSigner, Signer

SECRET = "a-secret-of-tests-with-more-than-32-bytes"
SIGNERS = Signers(Signer(SECRET), RealtimeSigner(SECRET))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(SIGNERS, clock)


def test_no_two_users_share_a_channel_or_a_principal(sessions: Sessions) -> None:
    opened = [sessions.open(), sessions.open()]
    for names in (
        {name for session in opened for name in session.channels.values()},
        {name for session in opened for name in session.principals.values()},
        {session.path(user) for session in opened for user in USERS},
    ):
        assert len(names) == 2 * len(USERS)


def test_a_users_path_has_the_cookies_of_both_generations(sessions: Sessions) -> None:
    session = sessions.open()
    cookies = sessions.cookies(session)
    for user in USERS:
        streams, realtime = [cookie for cookie in cookies if cookie.path == session.path(user)]
        assert streams.name == "async-token"
        assert SIGNERS.streams.channel(streams.value) == session.channels[user]
        assert realtime.name == "superset-ws-token"
        assert SIGNERS.realtime.principal(realtime.value) == session.principals[user]


def test_cookies_are_renewed_when_half_of_their_life_is_over(
    sessions: Sessions, clock: Clock
) -> None:
    session = sessions.open()
    sessions.cookies(session)
    clock.now += 450
    assert sessions.due_cookies(session) == []
    clock.now += 1
    assert len(sessions.due_cookies(session)) == 2 * len(USERS)
    assert sessions.due_cookies(session) == []


def test_users_take_turns(sessions: Sessions) -> None:
    session = sessions.open()
    assert [session.next_user() for _ in range(3)] == ["ana", "ben", "ana"]


def test_a_page_that_asks_is_not_forgotten(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    first, second = sessions.open(), sessions.open()
    assert sessions.find(first.name) is first
    sessions.open()
    assert sessions.find(first.name) is first
    assert sessions.find(second.name) is None


def test_the_oldest_page_is_forgotten(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 1)
    first, second = sessions.open(), sessions.open()
    assert sessions.find(first.name) is None
    assert sessions.find(second.name) is second
