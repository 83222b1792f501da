# SPDX-License-Identifier: Apache-2.0
"""An entry of a stream in its two forms: as Redis sends it, and as an event with a place. Pure.

The producer puts the event as JSON into the one field `data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsgi_ws.event import MalformedEntry, frame_of, head_of, identity
from wsgi_ws.sources.stream_id import StreamId

RawEntry = tuple[bytes, Sequence[bytes]]  # ID; name, value, name, … as hiredis gives them


@dataclass(slots=True)
class Entry:
    """An event at a place in a stream, for catch-ups.

    :ivar data: the event as the producer wrote it; of its members only the channel is known to be
        well-formed.
    """

    id: StreamId
    channel: str
    data: bytes
    _identity: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, raw: RawEntry) -> Entry:
        """From Redis's form.

        :raises MalformedEntry: no field `data`, not JSON, not an object, no channel.
        """
        data = data_of(raw[1])
        return cls(StreamId.parse(raw[0]), head_of(data).channel_id, data)

    @property
    def identity(self) -> bytes:
        """What tells two copies of one event from two events; see `event.identity`."""
        if self._identity is None:
            self._identity = identity(self.data)
        return self._identity

    def identity_among(self, known: dict[bytes, bytes]) -> bytes:
        """The same, looked up where a copy of the event has been asked before.

        :param known: identities by data, to which this one is added.
        """
        if self._identity is None:
            self._identity = known.get(self.data) or identity(self.data)
        if self.data:  # none where only the identity has been kept
            known[self.data] = self._identity
        return self._identity

    def frame(self) -> bytes:
        """The WebSocket frame for browsers, with this entry's ID.

        :raises MalformedEntry: not UTF-8.
        """
        return frame_of(bytes(self.id), self.data, head_of(self.data))

    def known_by_identity(self) -> Entry:
        """The same without its content, to be remembered: it can be matched, but not sent."""
        return Entry(self.id, self.channel, b"", self.identity)

    def at(self, place: StreamId) -> Entry:
        """The same event at another place, which shares its identity."""
        return Entry(place, self.channel, self.data, self._identity)


def data_of(fields: Sequence[bytes]) -> bytes:
    """The value of the field `data`.

    :raises MalformedEntry: there is none.
    """
    if len(fields) == 2 and fields[0] == b"data":  # Superset writes exactly this one field
        return fields[1]
    for i in range(0, len(fields) - 1, 2):
        if fields[i] == b"data":
            return fields[i + 1]
    raise MalformedEntry("it has no field data")
