# SPDX-License-Identifier: Apache-2.0
"""Whether a tab gets what several producers wrote to its channel, some of which died. Pure.

They overtake each other, so what is right is known only when all is over: what the global stream
has, in its order. What only the channel's stream has is an orphan: it is due in the last catch-up,
and it may come once in every connection (docs/reconnection.md, What is bounded instead).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from soak.truth import Problems
from wsgi_ws.sources.streams.replay import ORPHAN_LOOK_BACK_MS


class Written(NamedTuple):
    """An entry of a stream: its time by Redis's clock, and the event's job."""

    ms: int
    job: str


@dataclass
class SharedChannel:
    """A user's session whose events come from several producers.

    :ivar now_ms: Redis's clock.
    :ivar whole: the channel's entries of the global stream, when nothing is written any more.
    :ivar halves: the entries of the channel's own stream, likewise.
    :ivar places: job → its place in `whole`.
    :ivar excused: jobs whose second half came late: they may come again, and at another place.
    """

    name: str
    now_ms: Callable[[], int]
    whole: Sequence[Written] = ()
    halves: Sequence[Written] = ()
    excused: set[str] = field(default_factory=set)
    places: dict[str, int] = field(default_factory=dict)
    is_over: bool = False

    def settle(
        self, whole: Sequence[Written], halves: Sequence[Written], excused: set[str]
    ) -> None:
        """Nothing is written any more, and nothing is on its way."""
        self.whole, self.halves, self.excused = whole, halves, excused
        self.places = {written.job: place for place, written in enumerate(whole)}
        self.is_over = True

    def reader(self) -> SharedReader:
        """A tab's."""
        return SharedReader(self)


class SharedReader:
    """What one tab has got, in all of its connections."""

    def __init__(self, channel: SharedChannel) -> None:
        self.last_id = ""
        self._channel = channel
        self._connections: list[list[str]] = []
        self._accepted_ms = 0
        self._last_catch_up_from: int | None = None  # ms, of a connection after the end
        self._waits_no_more = False
        self._foreign: list[str] = []

    def opened(self) -> None:
        """A connection is accepted. Without a last_id it is due what is published from now on."""
        self._connections.append([])
        if not self.last_id:
            self._accepted_ms = self._channel.now_ms()
        elif self._channel.is_over:
            self._last_catch_up_from = int(self.last_id.split("-")[0])

    def take(self, event: Mapping[str, Any]) -> None:
        """An event has come."""
        self.last_id = event["id"]
        if event["channel_id"] == self._channel.name:
            self._connections[-1].append(event["job_id"])
        else:
            self._foreign.append(event["job_id"])

    def behind(self) -> bool:
        """Whether something is still to come."""
        got = set(self._jobs())
        due = [*self._due(to_the_end=True), *self._orphans_due()]
        return not self._channel.is_over or not got.issuperset(due)

    def is_suspicious(self) -> bool:
        return True  # it is judged when all is over

    def give_up_waiting(self) -> None:
        """What has not come by now is missing."""
        self._waits_no_more = True

    def problems(self) -> Problems:
        """What was wrong."""
        times, place = Counter(self._jobs()), self._channel.places
        judged = self._judged()
        in_order = sorted(judged, key=place.__getitem__)
        return Problems(
            lost=[job for job in self._due(to_the_end=self._waits_no_more) if not times[job]],
            repeated=[job for job in judged if times[job] > 1],
            out_of_order=[a for a, b in zip(judged, in_order, strict=True) if a != b],
            foreign=self._foreign,
            orphans_lost=[job for job in self._orphans_due() if not times[job]],
            orphans_repeated_at_once=[
                job
                for jobs in self._connections
                for job, count in Counter(jobs).items()
                if count > 1 and job not in place
            ],
        )

    def _jobs(self) -> Iterator[str]:
        return (job for jobs in self._connections for job in jobs)

    def _judged(self) -> list[str]:
        """What came, each once, without orphans and what is excused."""
        place, excused = self._channel.places, self._channel.excused
        return list(dict.fromkeys(j for j in self._jobs() if j in place and j not in excused))

    def _due(self, *, to_the_end: bool) -> list[str]:
        """What the global stream has since the tab was accepted, or since the first event it got.

        :param to_the_end: else, to the last event that it got.
        """
        got = sorted(map(self._channel.places.__getitem__, self._judged()))
        whole = self._channel.whole
        first = next((n for n, w in enumerate(whole) if w.ms > self._accepted_ms), len(whole))
        if got:
            first = min(first, got[0])
        end = len(whole) if to_the_end else got[-1] if got else 0
        return [written.job for written in whole[first:end]]

    def _orphans_due(self) -> list[str]:
        """What the last catch-up could see."""
        if self._last_catch_up_from is None:
            return []
        start, whole = self._last_catch_up_from - ORPHAN_LOOK_BACK_MS, self._channel.places
        return [job for ms, job in self._channel.halves if ms >= start and job not in whole]
