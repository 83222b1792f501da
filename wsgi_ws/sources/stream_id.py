# SPDX-License-Identifier: Apache-2.0
"""IDs of Redis stream entries: `<milliseconds>-<sequence>`, compared as pairs of numbers. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

# The Node server's rule for what a browser may send; Redis itself allows 64 bits for each part.
_FROM_CLIENT = re.compile(r"\d{1,15}-\d{1,10}", re.ASCII)
MAX_SEQUENCE = 2**64 - 1  # Redis's limit


class StreamId(NamedTuple):
    """An entry ID. `ms` is the Redis server's clock, milliseconds since the epoch."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> StreamId:
        """From Redis's own form.

        :raises ValueError: when it is no ID.
        """
        ms, seq = text.split(b"-")
        return cls(int(ms), int(seq))

    @classmethod
    def from_client(cls, text: str) -> StreamId | None:
        """From a `last_id` parameter; None when it is malformed."""
        return cls(*map(int, text.split("-"))) if _FROM_CLIENT.fullmatch(text) else None

    def predecessor(self) -> StreamId:
        """The largest ID below this one; `ZERO` has none and is returned itself."""
        if self.seq:
            return StreamId(self.ms, self.seq - 1)
        return StreamId(self.ms - 1, MAX_SEQUENCE) if self.ms else self

    def successor(self) -> StreamId:
        """The smallest ID above this one."""
        if self.seq < MAX_SEQUENCE:
            return StreamId(self.ms, self.seq + 1)
        return StreamId(self.ms + 1, 0)

    def earlier(self, ms: int) -> StreamId:
        """The first ID of the millisecond that was `ms` milliseconds before this one's."""
        return StreamId(max(0, self.ms - ms), 0)

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


ZERO = StreamId(0, 0)


def follows(later: bytes, earlier: bytes) -> bool:
    """Whether an ID in Redis's form is above another one.

    Texts of one form compare as their numbers do: as long as each other, the dash at one place. On
    the way of every event, where two IDs are nearly always like that.

    :raises ValueError: when one is no ID.
    """
    if len(later) == len(earlier) and later.find(b"-") == earlier.find(b"-"):
        return later > earlier
    return StreamId.parse(later) > StreamId.parse(earlier)
