# SPDX-License-Identifier: Apache-2.0
"""What a source of events is to the rest of the worker.

A source reads events, makes frames of them, and hands these to a hub of its own, by topic. Each
socket belongs to one source, which alone decides what it subscribes to and what it is sent first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from wsgi_ws.sources.link import Link
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection


class Source(Protocol):
    """Events of one kind, on their way to the sockets of one hub."""

    @property
    def link(self) -> Link:
        """Whether the source can be read."""

    @property
    def caught_up(self) -> bool:
        """Whether the last read brought all that there was."""

    def lag(self) -> float:
        """Seconds that the reading is behind the source. To be asked every few seconds: it is at
        most the time since the last answer that was 0."""

    def unreadiness(self) -> str | None:
        """Why events don't reach sockets at once; None when they do."""

    def closed_because(self) -> str | None:
        """Why nobody new is admitted, whatever the configuration says; None when clients are."""

    def jobs(self) -> Sequence[Callable[[], None]]:
        """What must run in greenlets, until killed, or until it returns by itself."""

    def join(self, connection: Connection, *, last_id: str | None, tab_id: str | None) -> None:
        """Let a connection, which the hub knows already, have its events from now on.

        :param last_id: as the client has sent it: where its events ended last time. Not checked.
        :param tab_id: the browser's tab, if it has named one.
        """

    def leave(self, connection: Connection, ending: Ending) -> None:
        """Hear that a connection has ended; the hub knows it until now."""
