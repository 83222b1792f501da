# SPDX-License-Identifier: Apache-2.0
"""From stream entries to sockets: the hot path, one call per step, no hand-over between greenlets.

What has been handed out and what is in the history is always the same set: both happen here without
a switch in between. Catch-ups rely on it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from wsgi_ws.event import MalformedEntry, frame_of, head_of
from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources.stream_id import StreamId
from wsgi_ws.sources.streams.entry import RawEntry, data_of
from wsgi_ws.sources.streams.history import History, Kept
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

# Entries parsed before the first of them is sent, so that what one socket gets of them shares a
# send(). As many as one read brings at most: some 10 ms of work, in which the loop does not turn.
PIECE = 4000
ALIKE_INTERVAL = 60.0  # seconds between two log lines of one kind of malformed entry


class Fanout:
    """Hands events to the sockets of their channels and remembers them for catch-ups."""

    def __init__(
        self,
        hub: Hub,
        history: History,
        metrics: TransportMetrics,
        *,
        on_progress: Callable[[], None],
        on_gap: Callable[[StreamId], None],
    ) -> None:
        """
        :param on_progress: called after each batch, when the history has it.
        :param on_gap: called when live sockets have missed what followed an ID.
        """
        self._on_progress = on_progress
        self._on_gap = on_gap
        self._hub = hub
        self._history = history
        self._metrics = metrics
        self._limiter = LogLimiter(ALIKE_INTERVAL)

    def start(self, past: Sequence[RawEntry], position: StreamId) -> None:
        """Take the newest entries of the past, for catch-ups only.

        Doesn't give way: a catch-up must not see a part of it. Remembers it in pieces, since the
        history forgets as much at once as it was given at once.
        """
        self._history.start_at(StreamId.parse(past[0][0]).predecessor() if past else position)
        for start in range(0, len(past), PIECE):
            piece = past[start : start + PIECE]
            self._history.append(list(_readable(piece)), piece[-1][0])

    def unseen(self, entries: Sequence[RawEntry]) -> list[RawEntry]:
        """Those of the entries that are not in the history and not older than it.

        Gives way to the loop. What comes meanwhile waits: the follower, which asks, hands it out.

        :param entries: ascending.
        """
        found: list[RawEntry] = []
        for start in range(0, len(entries), PIECE):
            found += self._unseen_piece(entries[start : start + PIECE])
            give_way()
        return found

    def _unseen_piece(self, entries: Sequence[RawEntry]) -> Iterator[RawEntry]:
        """Two servers may have given one ID to two events, hence the comparison of data."""
        first, last = (StreamId.parse(entries[i][0]) for i in (0, -1))
        seen = {(entry_id, data) for entry_id, _, data in self._history.between(first, last)}
        for raw in entries:
            with contextlib.suppress(MalformedEntry):  # was counted, and would be again
                data = data_of(raw[1])
                if (raw[0], data) not in seen and StreamId.parse(raw[0]) > self._history.floor:
                    frame_of(raw[0], data, head_of(data))  # or it is malformed
                    yield raw

    def gap(self, position: StreamId, oldest: StreamId) -> None:
        """The global stream was trimmed between two reads; the channels' own may have the rest."""
        self._metrics.gap()
        self._history.begin_behind_gap(oldest.predecessor())
        self._on_gap(position)

    def deliver(self, entries: Sequence[RawEntry]) -> None:
        """Hand a batch out, oldest first, giving way to the loop between pieces."""
        for start in range(0, len(entries), PIECE):
            if start:
                give_way()
            self._deliver_piece(entries[start : start + PIECE])

    def _skip(self, entry_id: bytes, error: MalformedEntry) -> None:
        """Count a malformed entry, and tell of the first of its kind in a minute."""
        self._metrics.malformed()
        self._limiter.write(
            *(log.warning, str(error), time.monotonic()),
            *("entry %s of the stream is skipped: %s", entry_id.decode(), error),
        )

    def _deliver_piece(self, entries: Sequence[RawEntry]) -> None:
        """Parse all, then send: a socket gets its events of a piece in one `send`, in order."""
        subscribed = self._hub.by_topic  # whose topics are channels
        kept = []
        frames: dict[str, list[bytes]] = {}
        for entry_id, fields in entries:
            try:
                data = data_of(fields)
                head = head_of(data)
                channel = head.channel_id
                if channel in subscribed:
                    frames.setdefault(channel, []).append(frame_of(entry_id, data, head))
            except MalformedEntry as error:
                self._skip(entry_id, error)
                continue
            kept.append((entry_id, channel, data))
        matched, sent = self._hub.deliver(frames)
        if log.isEnabledFor(logging.DEBUG):  # on the way of every event
            log.debug(
                "read up to %s: %s, %d for sockets here, deliveries: %d",
                entries[-1][0].decode(),
                counted(len(entries), "event"),
                matched,
                sent,
            )
        self._history.append(kept, entries[-1][0])
        self._metrics.delivered_batch(len(kept), matched, sent, entries[0][0])
        self._on_progress()


def _readable(entries: Iterable[RawEntry]) -> Iterator[Kept]:
    """Those that have a channel; the worker that saw the others live has counted them."""
    for entry_id, fields in entries:
        with contextlib.suppress(MalformedEntry):
            data = data_of(fields)
            yield entry_id, head_of(data).channel_id, data
