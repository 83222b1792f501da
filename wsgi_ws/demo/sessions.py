# SPDX-License-Identifier: Apache-2.0
"""One load of the page: its users, what each is called in Superset, their cookies and the ledger.

All tabs of a browser share its cookies, but a cookie has a path, and the server opens a socket at
any path. So each user of each page has a path, and several users can be watched on one page.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wsgi_ws.demo.ledger import Ledger
from wsgi_ws.superset.names import DEFAULTS, LIFETIME
from wsgi_ws.superset.producer import new_channel
from wsgi_ws.superset.token import RealtimeSigner, Signer

USERS = ("ana", "ben")
REMEMBERED = 50  # pages; the one that was not heard of for longest is forgotten
RENEW_AFTER_S = DEFAULTS[LIFETIME] / 2  # as Superset 7 does, with any answer


class Signers(NamedTuple):
    """Who signs the cookies."""

    streams: Signer
    realtime: RealtimeSigner


class Cookie(NamedTuple):
    """What a browser is to keep."""

    name: str
    value: str
    path: str


@dataclass
class Session:
    """
    :ivar channels: the channel of each user's session in Superset up to 6.1.
    :ivar principals: what each user is called in Superset 7.
    :ivar ended: the tasks of each user that have ended, and how: Superset 7's database.
    """

    name: str
    channels: Mapping[str, str]
    principals: Mapping[str, str]
    ledger: Ledger = field(default_factory=Ledger)
    ended: dict[str, dict[str, str]] = field(default_factory=lambda: {user: {} for user in USERS})
    renewed_at: float = 0.0
    _next_user: Iterator[str] = field(default_factory=lambda: itertools.cycle(USERS))

    def path(self, user: str) -> str:
        """Where a user's cookies count and sockets open."""
        return f"/{self.name}/{user}"

    def next_user(self) -> str:
        """Whose turn it is to run a query."""
        return next(self._next_user)


class Sessions:
    """All pages that were loaded lately."""

    def __init__(self, signers: Signers, clock: Callable[[], float] = time.monotonic) -> None:
        self._signers = signers
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self) -> Session:
        """A new one, with users that nobody else has."""
        numbers = {user: secrets.randbelow(2**31) for user in USERS}
        session = Session(
            name=secrets.token_hex(4),
            channels={user: new_channel() for user in USERS},
            principals={user: f"user:{number}" for user, number in numbers.items()},
        )
        self._sessions[session.name] = session
        while len(self._sessions) > REMEMBERED:
            self._sessions.popitem(last=False)
        return session

    def find(self, name: str) -> Session | None:
        """The one of this name, if it is remembered."""
        session = self._sessions.get(name)
        if session is not None:
            with contextlib.suppress(KeyError):  # forgotten this moment, by another thread
                self._sessions.move_to_end(name)
        return session

    def cookies(self, session: Session) -> list[Cookie]:
        """New ones, of both generations of Superset, for each user."""
        session.renewed_at = self._clock()
        streams, realtime = self._signers
        return [
            cookie
            for user in USERS
            for cookie in (
                Cookie(
                    streams.cookie_name,
                    streams.sign(session.channels[user]),
                    session.path(user),
                ),
                Cookie(
                    realtime.cookie_name,
                    realtime.sign(session.principals[user]),
                    session.path(user),
                ),
            )
        ]

    def due_cookies(self, session: Session) -> list[Cookie]:
        """New ones when those of Superset 7 have lived for half of their time."""
        due = self._clock() - session.renewed_at > RENEW_AFTER_S
        return self.cookies(session) if due else []
