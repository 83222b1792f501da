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
  before the next socket was open, must come on the next one, or a close as above; unless workers
  ended or subscribed anew in that moment (docs/transports.md, What a tab may miss between two
  sockets).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

# Seconds from the first message behind a gap until the socket has ended. One whose tab has just
# been closed is closed again when it is 10 s old; the rest is for a machine that is busy.
TOLD_WITHIN = 15.0
# Seconds without any message until the socket has ended, at the latest: `realtimeOutageMs`, the 8 s
# after which a dead connection is found out, and a new beginning of the same.
SILENT_AT_MOST = 60.0
# Seconds around an upheaval in which a renewal may go wrong: its page can come to another worker,
# which does not know what it has missed. Where subscriptions come and go, closes take ten seconds.
UPHEAVAL = 13.0
# Seconds for which a message may still come to a tab that comes back: 30 after its last socket has
# ended, which may have been dead for 12 until then; and somewhat longer.
MEMORY = 60.0


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

    :ivar upheavals: when a server has ended sockets, of which it then has several to end.
    """

    upheavals: list[float] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    _lost: list[tuple[str, Publication]] = field(default_factory=list)
    _missed: list[tuple[float, str, Publication]] = field(default_factory=list)

    def lost(self, name: str, publications: Iterable[Publication]) -> None:
        """They did not come, and the page was not told; a loss where PUBLISH has returned."""
        self._lost += [(name, publication) for publication in publications]

    def missed(self, renewed: float, name: str, publications: Iterable[Publication]) -> None:
        """They came on neither of two sockets, and the page was not told."""
        self._missed += [(renewed, name, publication) for publication in publications]

    def problems(self) -> dict[str, list[str]]:
        """Kind of problem → tab and message of each."""
        missed = [
            _named(name, p)
            for renewed, name, p in self._missed
            if p.returned and not self._is_near_upheaval(renewed)
        ]
        return {
            "realtime_lost_silently": [_named(name, p) for name, p in self._lost if p.returned],
            "realtime_missed_in_a_renewal": missed,
            "realtime_repeated": self.repeated,
            "realtime_out_of_order": self.out_of_order,
            "realtime_foreign": self.foreign,
        }

    def _is_near_upheaval(self, at: float) -> bool:
        place = bisect_left(self.upheavals, at - UPHEAVAL)
        return place < len(self.upheavals) and self.upheavals[place] <= at + UPHEAVAL


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

    def awaits_close(self, now: float) -> bool:
        """Whether something is missing for which a close may still come."""
        places = self._places(Ledger())
        missing = list(self._missing(self._opened, now)) if places else []
        return any(
            p.returned and behind is not None and now - behind <= TOLD_WITHIN
            for p in missing
            for behind in (_first_behind(p, places),)
        )

    def end(self, now: float, ending: Ending) -> Renewal | None:
        """Judge the socket.

        :returns: what is handed on to the next one.
        """
        places = self._places(self._ledger)
        owed = list(self._missing(self._opened, now))
        inherited = self._inherited()
        excused = {p for p in (*inherited, *owed) if _is_excused(p, places, now, ending)}
        self._ledger.lost(self._name, [p for p in owed if p not in excused])
        if self._renewal is not None:
            missed = [p for p in inherited if p not in excused]
            self._ledger.missed(self._renewal.at, self._name, missed)
        if ending is not Ending.RENEWED:
            return None
        return Renewal(now, [p for p in (*inherited, *owed) if p in excused and p.is_kept])

    def _inherited(self) -> list[Publication]:
        """What should have come on the last socket or, with its renewal, on this one."""
        if self._renewal is None:
            return []
        meanwhile = [p for p in self._missing(self._renewal.at, self._opened) if p.is_kept]
        return [p for p in self._renewal.debts if not self.has(p)] + meanwhile

    def _missing(self, since: float, until: float) -> Iterator[Publication]:
        return (
            publication
            for publication in self._journal.between(since, until)
            if publication.is_for(self._routes) and not self.has(publication)
        )

    def _places(self, ledger: Ledger) -> list[tuple[float, int]]:
        """When and as which publication each message came: as the earliest that it can be."""
        places = []
        last = {True: -1, False: -1}  # for everybody, and for somebody
        seen: Counter[bytes] = Counter()
        for at, text in self._received:
            mine = [p for p in self._journal.alike(text) if p.is_for(self._routes)]
            if not mine:
                ledger.foreign.append(f"{self._name}: {text.decode()}")
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
                ledger.repeated.append(f"{self._name}: {text.decode()}")
            else:
                ledger.out_of_order.append(f"{self._name}: {text.decode()}")
        return places


def _is_excused(
    publication: Publication, places: Sequence[tuple[float, int]], now: float, ending: Ending
) -> bool:
    """Whether it may still come on the next socket, or the page knows; else it is lost."""
    behind = _first_behind(publication, places)
    if behind is None:
        return ending is not Ending.OPEN and now - publication.begin <= SILENT_AT_MOST
    return ending is not Ending.OPEN and now - behind <= TOLD_WITHIN


def _first_behind(publication: Publication, places: Sequence[tuple[float, int]]) -> float | None:
    """When the first message came that was published after this one."""
    return next((at for at, number in places if number > publication.number), None)


def _named(name: str, publication: Publication) -> str:
    return f"{name}: {publication.text.decode()} #{publication.number}"
