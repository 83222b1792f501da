# SPDX-License-Identifier: Apache-2.0
"""What is counted, behind one small interface; StatsD is where it goes.

The names of the seed (`ws_connected_client`, `ws_client_send_error`) and of the newer Node releases
are kept. StatsD is UDP: it never blocks, and nobody listening is no error.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterable
from typing import Any

from statsd.client.base import StatsClientBase

from wsgi_ws.config import StatsdSettings

log = logging.getLogger(__name__)


class StatsdClient(StatsClientBase):  # type: ignore[misc]  # the package has no types
    """The statsd package's client, with the options of the seed's client library (hot-shots).

    It adds to each metric a prefix and a suffix, and tags in the DogStatsD form
    (`name:1|c|#tag1,tag2:value`) or Telegraf's (`name,tag2=value:1|c`).
    """

    def __init__(self, settings: StatsdSettings, extra_tags: Iterable[str] = ()) -> None:
        self._prefix = ""  # the base class would put a dot behind it; hot-shots doesn't
        self._settings = settings
        self._tags = [*settings.global_tags, *extra_tags]
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._socket: socket.socket | None = None
        if not settings.mock:
            self._open()

    def _open(self) -> None:
        host, port = self._settings.host, self._settings.port
        try:
            family, kind, proto, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, proto)
            self._socket.setblocking(False)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:  # a name may also be none at all
            log.warning("no StatsD metrics: statsd.host %s can't be used (%s)", host, error)
            self._socket = None

    def incr(self, stat: str, count: int = 1, rate: float = 1, tags: Iterable[str] = ()) -> None:
        """Count; `tags` are added to the global ones."""
        self._emit(stat, f"{count}|c", tags)

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False) -> None:
        """Set a gauge to a value that is not negative."""
        self._emit(stat, f"{value}|g", ())

    def flush(self) -> None:
        """Send what `maxBufferSize` has kept back."""
        if self._buffer:
            self._transmit(b"\n".join(self._buffer))
            self._buffer.clear()
            self._buffered = 0

    def close(self) -> None:
        """Send the rest and close the socket."""
        self.flush()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _emit(self, stat: str, value: str, tags: Iterable[str]) -> None:
        settings = self._settings
        name = f"{settings.prefix}{stat}{settings.suffix}"
        all_tags = [*self._tags, *tags]
        if settings.telegraf:
            line = ",".join([name, *(tag.replace(":", "=") for tag in all_tags)]) + f":{value}"
        elif all_tags:
            joined = settings.tag_separator.join(all_tags)
            line = f"{name}:{value}|{settings.tag_prefix}{joined}"
        else:
            line = f"{name}:{value}"
        self._send(line.encode(errors="replace"))

    def _send(self, data: bytes) -> None:
        limit = self._settings.max_buffer_size
        if not limit:
            self._transmit(data)
            return
        if self._buffer and self._buffered + len(data) + 1 > limit:
            self.flush()
        self._buffer.append(data)
        self._buffered += len(data) + 1

    def _transmit(self, data: bytes) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # nobody listens, or the buffer is full: never mind
            self._socket.send(data)


class Metrics:
    """Everything that is counted, named after what happened."""

    def __init__(self, statsd: Any) -> None:
        """:param statsd: a `StatsdClient`."""
        self._statsd = statsd
        self.events_read = 0
        self.events_delivered = 0
        self.malformed_entries = 0
        self.gaps = 0

    def client_connected(self) -> None:
        self._statsd.incr("ws_connected_client")

    def client_send_error(self) -> None:
        self._statsd.incr("ws_client_send_error")

    def client_too_slow(self) -> None:
        self._statsd.incr("ws_client_backpressure_disconnect")

    def connection_rejected(self, reason: str) -> None:
        """An authenticated client was turned away for a limit."""
        self._statsd.incr("ws_connection_rejected", tags=[f"reason:{reason}"])

    def upgrade_rejected(self, reason: str) -> None:
        """A handshake was refused."""
        self._statsd.incr("ws_upgrade_rejected", tags=[f"reason:{reason}"])

    def delivered(self, events: int, deliveries: int) -> None:
        """`events` of the stream were handed out, to `deliveries` sockets in all."""
        self.events_read += events
        self.events_delivered += deliveries

    def malformed_entry(self) -> None:
        self.malformed_entries += 1
        self._statsd.incr("ws_malformed_entry")

    def stream_gap(self) -> None:
        """A client asked for events that are no longer there."""
        self.gaps += 1
        self._statsd.incr("stream_gap")

    def caught_up(self, events: int, seconds: float) -> None:
        """A reconnected client got what it had missed."""
        self._statsd.incr("ws_catch_up")

    def connections_now(self, count: int) -> None:
        """The gauge of sockets now connected to this worker."""
        self._statsd.gauge("ws_connected_clients", count)
        self._statsd.flush()
