# SPDX-License-Identifier: Apache-2.0
"""Whether a tab gets what its channel was sent: all of it, once, in order, nothing else. Pure.

This is for channels that one producer writes to; `shared_truth` is for several.

A channel's events are numbered as they are published. What a number means is known for sure only
when its XADDs have been answered, so a tab notes what looks wrong, and what that is worth is asked
at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


@dataclass
class Channel:
    """What was published for one user's session.

    :ivar last: the newest event's number, from 1.
    :ivar void: events that Redis did not take, or only the first half of: nobody waits for them.
    :ivar excused: events whose second half is missing or late: they may come again, and at another
        place (docs/reconnection.md, What is bounded instead).
    """

    name: str
    last: int = 0
    void: set[int] = field(default_factory=set)
    excused: set[int] = field(default_factory=set)

    def reader(self) -> Reader:
        """A tab's."""
        return Reader(self)


class Problems(NamedTuple):
    """Events that a tab got wrongly.

    :ivar orphans_lost: the channel's stream has them, the global one has not.
    """

    lost: Sequence[int | str]
    repeated: Sequence[int | str]
    out_of_order: Sequence[int | str]
    foreign: Sequence[str]
    orphans_lost: Sequence[str] = ()
    orphans_repeated_at_once: Sequence[str] = ()


class AnyReader(Protocol):
    """What one tab has got.

    :ivar last_id: of the newest event; empty before the first.
    """

    last_id: str

    def opened(self) -> None: ...

    def take(self, event: Mapping[str, Any]) -> None: ...

    def behind(self) -> bool: ...

    def is_suspicious(self) -> bool: ...

    def give_up_waiting(self) -> None: ...

    def problems(self) -> Problems: ...


class Reader:
    """What one tab has got."""

    def __init__(self, channel: Channel) -> None:
        self.last_id = ""
        self._channel = channel
        self._due = channel.last + 1
        self._next = 0  # the number that should come next; 0 before the first event
        self._missing: set[int] = set()
        self._repeated: list[int] = []
        self._out_of_order: list[int] = []
        self._foreign: list[str] = []

    def opened(self) -> None:
        """A connection is accepted. Without a last_id it is due what is published from now on."""
        if not self._next:
            self._due = self._channel.last + 1

    def take(self, event: Mapping[str, Any]) -> None:
        """An event has come; its `job_id` is its number."""
        self.last_id = event["id"]
        if event["channel_id"] != self._channel.name:
            self._foreign.append(event["job_id"])
            return
        number = int(event["job_id"])
        expected = self._next or self._due
        if number >= expected or not self._next:
            self._missing.update(range(expected, number))
            self._next = number + 1
        elif number in self._missing:
            self._missing.remove(number)
            self._out_of_order.append(number)
        else:
            self._repeated.append(number)

    def behind(self) -> bool:
        """Whether something is still to come."""
        first = self._next or self._due
        return any(n not in self._channel.void for n in range(first, self._channel.last + 1))

    def is_suspicious(self) -> bool:
        return bool(self._missing or self._repeated or self._out_of_order or self._foreign)

    def give_up_waiting(self) -> None:
        """What has not come by now is missing."""
        first = self._next or self._due
        self._missing.update(range(first, self._channel.last + 1))

    def problems(self) -> Problems:
        """What was wrong, as far as it is known by now what the numbers mean."""
        void, excused = self._channel.void, self._channel.excused
        return Problems(
            lost=sorted(self._missing - void),
            repeated=[n for n in self._repeated if n not in excused],
            out_of_order=[n for n in self._out_of_order if n not in excused],
            foreign=self._foreign,
        )


@dataclass
class Ledger:
    """All tabs together.

    :ivar readers: how many there have been.
    :ivar suspicious: those that have something to be explained, with their names.
    """

    readers: int = 0
    suspicious: list[tuple[str, AnyReader]] = field(default_factory=list)

    def leaves(self, name: str, reader: AnyReader) -> None:
        """A tab is closed for good; what is on its way to it is not waited for."""
        self.readers += 1
        if reader.is_suspicious():
            self.suspicious.append((name, reader))

    def problems(self) -> dict[str, list[str]]:
        """Kind of problem → tab and number of each."""
        found: dict[str, list[str]] = {kind: [] for kind in Problems._fields}
        for name, reader in self.suspicious:
            for kind, numbers in reader.problems()._asdict().items():
                found[kind] += [f"{name}: {number}" for number in numbers]
        return found
