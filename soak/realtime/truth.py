# SPDX-License-Identifier: Apache-2.0
"""Whether a socket got what was published for it, or its page was told by a close. Pure.

Redis keeps nothing, so the rule is not that everything comes. It is that a loss is never silent:

- *Owed* to a socket is each message that is for it whose PUBLISH began after the socket was open,
  and returned. Whether the server was subscribed then does not matter: if not, a close must tell.
- What is for everybody comes in the order of publication, and so does what is for one tab or user;
  between the two there is no order (docs/transports.md, Messages). Nothing comes twice.
- Equal messages may become one: what is owed has come if its text came after its PUBLISH began.
- What has not come is no loss if the socket ended soon after the first message behind the gap, by
  whatever the page takes for a close. Where nothing came any more, the end may take as long as
  Redis may be away.
- A page that renews its socket takes that for no close. What was under way then, or published
  before the next socket was open, must come on the next one, or a close soon after its begin.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from soak.plan import HARMLESS, Happened

# Seconds from the first message behind a gap until the socket has ended. Closes are spread at a
# thousand per second; this is for a machine that is busy.
TOLD_WITHIN = 5.0
# Seconds without any message until the socket has ended, at the latest: `realtimeOutageMs`, the 8 s
# after which a dead connection is found out, and a new beginning of the same.
SILENT_AT_MOST = 60.0
# Seconds after a fault in which a renewal may go wrong: its page can come to another worker, which
# does not know what it has missed (docs/transports.md, What a tab may miss between two sockets).
FAULT_REACH = 15.0
MEMORY = 35.0  # seconds: somewhat longer than the server keeps messages for a tab that comes back


@dataclass(slots=True, eq=False)
class Publication:
    """A PUBLISH.

    :ivar text: as the browser gets it.
    :ivar routes: None: it is for everybody.
    :ivar is_kept: whether a tab that renews its socket gets it again.
    :ivar begin: when the command was sent.
    :ivar end: when it was answered, or the connection was lost; infinity before.
    :ivar returned: whether Redis has answered it.
    """

    number: int
    text: bytes
    routes: frozenset[str] | None
    is_kept: bool
    begin: float
    end: float = math.inf
    returned: bool = False

    def ends(self, now: float, *, returned: bool) -> None:
        self.end, self.returned = now, returned

    def is_for(self, routes: frozenset[str]) -> bool:
        return self.routes is None or not self.routes.isdisjoint(routes)


class Journal:
    """Everything that was published, in the order in which one connection did it."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self._alike: dict[bytes, list[Publication]] = {}

    def begins(
        self, text: bytes, routes: Iterable[str] | None, now: float, *, is_kept: bool = True
    ) -> Publication:
        """A message is about to be published."""
        whom = None if routes is None else frozenset(routes)
        publication = Publication(len(self.publications), text, whom, is_kept, now)
        self.publications.append(publication)
        self._alike.setdefault(text, []).append(publication)
        return publication

    def alike(self, text: bytes) -> Sequence[Publication]:
        """All publications of a text."""
        return self._alike.get(text, ())

    def between(self, since: float, until: float) -> Sequence[Publication]:
        """What began to be published after one moment and not after the other."""
        begin = attrgetter("begin")
        first = bisect_right(self.publications, since, key=begin)
        return self.publications[first : bisect_right(self.publications, until, key=begin)]


class Ending(Enum):
    """Of a socket, as its page sees it."""

    KNOWN = "the page knows that it has ended, or is gone itself"
    RENEWED = "the page has closed it to open the next one"
    OPEN = "the run is over, and it is still open"


@dataclass
class Renewal:
    """A page has closed its socket and opens the next one.

    :ivar debts: what may have been under way.
    """

    at: float
    debts: list[Publication]


@dataclass
class Ledger:
    """What was wrong with all sockets, as far as it can be told when each ends.

    :ivar sockets: how many there have been.
    """

    sockets: int = 0
    repeated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    _lost: list[tuple[str, Publication]] = field(default_factory=list)
    _missed: list[tuple[float, str, Publication]] = field(default_factory=list)

    def lost(self, name: str, publication: Publication) -> None:
        """It did not come, and nobody was told; unless its PUBLISH never returns."""
        self._lost.append((name, publication))

    def missed(self, renewed: float, name: str, publication: Publication) -> None:
        """It came on neither of two sockets, and nobody was told."""
        self._missed.append((renewed, name, publication))

    def problems(self, faults: Sequence[Happened], begin: float) -> dict[str, list[str]]:
        """Kind of problem → tab and message of each.

        :param begin: of the run, from which the faults' times count.
        """
        lost = [_named(name, p) for name, p in self._lost if p.returned]
        missed = [
            _named(name, p)
            for renewed, name, p in self._missed
            if p.returned and not _is_near(renewed - begin, faults)
        ]
        return {
            "realtime_lost_silently": lost,
            "realtime_missed_in_a_renewal": missed,
            "realtime_repeated": self.repeated,
            "realtime_out_of_order": self.out_of_order,
            "realtime_foreign": self.foreign,
        }


class Life:
    """One socket, from its opening to its end."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        name: str,
        routes: frozenset[str],
        now: float,
        renewal: Renewal | None = None,
    ) -> None:
        """
        :param name: the tab's.
        :param renewal: with which the page's last socket has ended.
        """
        ledger.sockets += 1
        self._journal = journal
        self._ledger = ledger
        self._name = name
        self._routes = routes
        self._opened = now
        self._renewal = renewal
        self._received: list[tuple[float, bytes]] = []
        self._last: dict[bytes, float] = {}  # when each text last came

    def take(self, text: bytes, now: float) -> None:
        """A message has come."""
        self._received.append((now, text))
        self._last[text] = now

    def has(self, publication: Publication) -> bool:
        """Whether it has come, or an equal one after it."""
        return self._last.get(publication.text, -math.inf) >= publication.begin

    def end(self, now: float, ending: Ending) -> Renewal | None:
        """Judge the socket.

        :returns: what is handed on to the next one.
        """
        places = self._places()
        self._judge_renewal(now, ending)
        debts = [
            publication
            for publication in self._missing(self._opened, now)
            if self._is_excused(publication, places, now, ending)
        ]
        if ending is not Ending.RENEWED:
            return None
        return Renewal(now, [publication for publication in debts if publication.is_kept])

    def _is_excused(
        self,
        publication: Publication,
        places: Sequence[tuple[float, int]],
        now: float,
        ending: Ending,
    ) -> bool:
        """Whether it may still come on the next socket, or the page knows; else it is lost."""
        behind = next((at for at, number in places if number > publication.number), None)
        since, patience = (
            (publication.begin, SILENT_AT_MOST) if behind is None else (behind, TOLD_WITHIN)
        )
        excused = ending is not Ending.OPEN and now - since <= patience
        if not excused:
            self._ledger.lost(self._name, publication)
        return excused

    def _judge_renewal(self, now: float, ending: Ending) -> None:
        renewal = self._renewal
        was_told = ending is Ending.KNOWN and now - self._opened <= TOLD_WITHIN
        if renewal is None or was_told:
            return
        meanwhile = [p for p in self._missing(renewal.at, self._opened) if p.is_kept]
        for publication in renewal.debts + meanwhile:
            if not self.has(publication):
                self._ledger.missed(renewal.at, self._name, publication)

    def _missing(self, since: float, until: float) -> Iterator[Publication]:
        return (
            publication
            for publication in self._journal.between(since, until)
            if publication.is_for(self._routes) and not self.has(publication)
        )

    def _places(self) -> list[tuple[float, int]]:
        """When and as which publication each message came: as the earliest that it can be."""
        places = []
        last = {True: -1, False: -1}  # for everybody, and for somebody
        seen: Counter[bytes] = Counter()
        for at, text in self._received:
            mine = [p for p in self._journal.alike(text) if p.is_for(self._routes)]
            if not mine:
                self._ledger.foreign.append(f"{self._name}: {text.decode()}")
                continue
            seen[text] += 1
            group = mine[0].routes is None
            since = self._opened - MEMORY
            possible = [p for p in mine if p.end >= since and p.begin <= at]
            place = next((p.number for p in possible if p.number > last[group]), None)
            if place is not None:
                last[group] = place
                places.append((at, place))
            elif seen[text] > len(possible):
                self._ledger.repeated.append(f"{self._name}: {text.decode()}")
            else:
                self._ledger.out_of_order.append(f"{self._name}: {text.decode()}")
        return places


def _is_near(at: float, faults: Sequence[Happened]) -> bool:
    return any(
        fault.begin - 1.0 <= at <= fault.end + FAULT_REACH
        for fault in faults
        if fault.kind not in HARMLESS
    )


def _named(name: str, publication: Publication) -> str:
    return f"{name}: {publication.text.decode()} #{publication.number}"
