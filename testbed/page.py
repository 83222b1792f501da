# SPDX-License-Identifier: Apache-2.0
"""A page of Superset 7: what it makes of its socket's life, for its charts and its list. Pure.

As superset-frontend's realtime.ts and asyncEvent.ts have it: charts wait for `task.status`, and ask
Superset whenever the socket opens or a first attempt to open it is ahead. Nothing else asks. From
the third close without an open in between the page is unhealthy, and every chart that waits fails.
"""

from __future__ import annotations

import json
from collections import Counter
from enum import Enum
from typing import Any

RETRY_MAX = 30.0  # seconds
CHANCE_MAX = 1.0  # seconds that chance adds at most
UNHEALTHY_FROM = 3  # closes since the last open


class Opening(Enum):
    """Why a socket opens. Only at RECONNECT a list is read anew."""

    INITIAL = "initial"
    RECONNECT = "reconnect"
    KEEPALIVE = "keepalive"


def retry_delay(closes: int, chance: float) -> float:
    """Seconds from a close to the next attempt.

    :param closes: since the last open, 1 or more.
    :param chance: 0 to 1.
    """
    delay = min(2.0 ** (closes - 1), RETRY_MAX)
    return delay + chance * min(delay, CHANCE_MAX)


class Database:
    """What Superset knows of its tasks, and its REST API tells.

    :ivar statuses: of the tasks that have ended, by their UUID.
    :ivar versions: how often each task has been changed, by its number.
    :ivar catch_ups: calls of /api/v1/task/status_changes.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.versions: dict[int, int] = {}
        self.catch_ups = 0

    def change(self, number: int) -> None:
        """Commit a change of a task."""
        self.versions[number] = self.versions.get(number, 0) + 1

    def status_changes(self) -> dict[str, str]:
        """The tasks that have ended."""
        self.catch_ups += 1
        return self.statuses


class Page:
    """What one tab shows.

    :ivar is_open: whether the socket is; messages of another state count for nothing.
    :ivar closes: since the last open.
    :ivar opened_by: how often, by the reason.
    :ivar messages: the texts that have come, in order.
    :ivar failed: charts that have shown an error.
    """

    def __init__(self, database: Database) -> None:
        self.is_open = False
        self.closes = 0
        self.opened_by: Counter[Opening] = Counter()
        self.messages: list[str] = []
        self.failed: list[str] = []
        self._database = database
        self._opening = Opening.INITIAL
        self._waiting: set[str] = set()
        self._rows = dict(database.versions)

    # --- what the user does ----------------------------------------------------------------------

    def wait_for(self, task_id: str) -> None:
        """Show a chart that is being computed."""
        self._waiting.add(task_id)

    # --- what the socket does --------------------------------------------------------------------

    def opened(self) -> None:
        """It is open, and nothing has come yet."""
        self.is_open, self.closes = True, 0
        self.opened_by[self._opening] += 1
        if self._opening is Opening.RECONNECT:
            self._rows = dict(self._database.versions)
        self._catch_up()

    def renews(self) -> None:
        """The page closes it to open the next one, with a new token."""
        self.is_open = False
        if not self.closes:
            self._opening = Opening.KEEPALIVE

    def closed(self) -> None:
        """It has ended, or could not be opened."""
        self.is_open = False
        self.closes += 1
        self._opening = Opening.RECONNECT
        if self.closes < UNHEALTHY_FROM:
            self._catch_up()
        else:
            self.failed += self._waiting
            self._waiting.clear()

    def take(self, text: str) -> None:
        """A message has come."""
        if not self.is_open:
            return
        self.messages.append(text)
        topic, payload = _read(text)
        if topic == "task.status":
            self._waiting.discard(str(payload.get("task_id")))
        elif topic == "entity.changed" and payload.get("entity_type") == "task":
            self._read_row(payload["id"])

    # --- what it shows ---------------------------------------------------------------------------

    def waiting(self) -> set[str]:
        """The charts that are still waited for."""
        return set(self._waiting)

    def stale_rows(self) -> set[int]:
        """The tasks that its list shows as they were before."""
        versions = self._database.versions
        return {
            number for number, version in versions.copy().items() if self._row(number) < version
        }

    def _row(self, number: int) -> int:
        return self._rows.get(number, 0)

    def _read_row(self, number: int) -> None:
        self._rows[number] = self._database.versions.get(number, 0)

    def _catch_up(self) -> None:
        """Ask once for all charts."""
        if self._waiting:
            self._waiting.difference_update(self._database.status_changes())


def _read(text: str) -> tuple[str | None, dict[str, Any]]:
    """Topic and payload; what is none counts for nothing."""
    message = _object(text)
    payload = message.get("payload")
    return message.get("topic"), payload if isinstance(payload, dict) else {}


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
