# SPDX-License-Identifier: Apache-2.0
"""From stream entries to sockets: the hot path, one call per step, no hand-over between greenlets.

What has been handed out and what is in the history is always the same set: both happen here without
a switch in between. Catch-ups rely on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from wsgi_ws.events import Entry, MalformedEntry, data_of, frame_of, members_of, parse_entry
from wsgi_ws.history import History, Past
from wsgi_ws.metrics import Metrics
from wsgi_ws.registry import Registry
from wsgi_ws.stream_id import StreamId
from wsgi_ws.timeslice import TimeSlice

log = logging.getLogger(__name__)


class Fanout:
    """Hands events to the sockets of their channels and remembers them for catch-ups."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        metrics: Metrics,
        on_progress: Callable[[], None],
    ) -> None:
        """:param on_progress: called after each batch, when the history has it."""
        self._on_progress = on_progress
        self._registry = registry
        self._history = history
        self._metrics = metrics
        self._slice = TimeSlice()

    def start(self, past: Sequence[Entry], position: StreamId) -> None:
        """Take the newest entries of the past, for catch-ups only."""
        self._history.start_at(StreamId.parse(past[0][0]).predecessor() if past else position)
        kept = []
        for entry in past:
            try:
                event = parse_entry(entry)
            except MalformedEntry:
                continue  # counted by the worker that saw it live
            kept.append(Past(event.id, event.channel, event.data))
        if past:
            self._history.append(kept, past[-1][0])

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Hand a batch out, oldest first, giving way to the loop when it has taken too long."""
        by_channel = self._registry.by_channel
        kept = []
        delivered = 0
        for entry_id, fields in entries:
            try:
                data = data_of(fields)
                members = members_of(data)
                channel = members["channel_id"]
                connections = by_channel.get(channel)
                frame = frame_of(entry_id, members) if connections else b""
            except MalformedEntry as error:
                self._metrics.malformed_entry()
                log.warning("entry %s of the stream is skipped: %s", entry_id.decode(), error)
                continue
            kept.append(Past(entry_id, channel, data))
            if connections:
                for connection in connections:
                    connection.send(frame)
                delivered += len(connections)
        self._history.append(kept, entries[-1][0])
        self._metrics.delivered(len(kept), delivered)
        self._on_progress()
        self._slice.give_way()
