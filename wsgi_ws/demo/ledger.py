# SPDX-License-Identifier: Apache-2.0
"""The ledger: what the demo has put into Redis, in Redis's own order. The page holds it against
what its tabs have got, so it must not be written by anybody who sees a socket."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from wsgi_ws.transport import Transport

REMEMBERED = 50_000  # entries; a page asks for what is new several times a second


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that each tab of one user should get, if it is confirmed.

    :ivar number: its place in the ledger, from 1.
    :ivar key: what a tab sees of it, once only: the query and its status.
    :ivar id: the ID in the global stream; empty in realtime, which has none.
    :ivar at: when writing it began, in milliseconds since 1970.
    :ivar confirmed: whether Redis has said that it has it. Of the rest nobody can say whether it
        will arrive; but when it does, it is no stranger's.
    """

    number: int
    transport: Transport
    user: str
    key: str
    id: str
    at: float
    confirmed: bool


class Ledger:
    """The entries of one page, for several threads.

    :ivar refused: how much Redis has not taken, or not confirmed.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._count = 0
        self._entries: deque[Entry] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def publish(
        self, transport: Transport, user: str, key: str, publish: Callable[[], str]
    ) -> None:
        """Publish something and note it. One at a time, so that the numbers have Redis's order.

        :param publish: puts it into Redis; returns the ID, or an empty text. Its exceptions pass.
        """
        with self._lock:
            at = time.time() * 1000
            entry_id, confirmed = "", False
            try:
                with self._refusals_counted():
                    entry_id = publish()
                confirmed = True
            finally:
                self._count += 1
                entry = Entry(self._count, transport, user, key, entry_id, at, confirmed)
                self._entries.append(entry)

    def publish_to_all(self, publish: Callable[[], object]) -> None:
        """Publish something that is no entry, since each tab gets it, or its like.

        :param publish: puts it into Redis. Its exceptions pass.
        """
        with self._lock, self._refusals_counted():
            publish()

    @contextlib.contextmanager
    def _refusals_counted(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.refused += 1
            raise

    def after(self, number: int) -> list[Entry]:
        """The entries behind the one with this number, in their order.

        Takes no lock: a Redis that hangs may hold it for seconds.
        """
        newest_first = reversed(self._entries.copy())
        return list(takewhile(lambda entry: entry.number > number, newest_first))[::-1]
