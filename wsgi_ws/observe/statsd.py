# SPDX-License-Identifier: Apache-2.0
"""A client of StatsD with the options of the Node server's client library (hot-shots).

It is UDP: sending never blocks, and a server that does not listen is no error.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterable

from statsd.client.base import StatsClientBase

from wsgi_ws.config.keys import StatsdSettings

log = logging.getLogger(__name__)


class StatsdClient(StatsClientBase):  # type: ignore[misc]  # the package has no types
    """The statsd package's counters and gauges, in lines and datagrams of our own.

    A line has a prefix and a suffix around its name, and tags in the DogStatsD form
    (`name:1|c|#tag1,tag2:value`) or Telegraf's (`name,tag2=value:1|c`).

    The package has no public way to change its lines: `_prefix`, `_prepare`, `_after` and `_send`
    are not documented (version 4).
    """

    def __init__(self, settings: StatsdSettings, extra_tags: Iterable[str] = ()) -> None:
        """:param extra_tags: of every metric, after the configured ones."""
        self._prefix = ""  # the package would put a dot behind it, hot-shots doesn't
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
            log.warning("no StatsD metrics: statsd.host %r can't be used (%s)", host, error)
            self._socket = None

    def incr(self, stat: str, count: int = 1, rate: float = 1, tags: Iterable[str] = ()) -> None:
        """Count; `tags` are added to the client's."""
        self._after(self._prepare(stat, f"{count}|c", rate, tags))

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

    def _prepare(
        self, stat: str, value: str, rate: float, extra_tags: Iterable[str] = ()
    ) -> str | None:
        """The line of a metric; None when `rate` leaves it out. The package calls it for gauges."""
        settings = self._settings
        name = f"{settings.prefix}{stat}{settings.suffix}"
        tags = [*self._tags, *extra_tags]
        if settings.telegraf:
            name = ",".join([name, *(tag.replace(":", "=") for tag in tags)])
        line: str | None = super()._prepare(name, value, rate)
        if line and tags and not settings.telegraf:
            line += f"|{settings.tag_prefix}{settings.tag_separator.join(tags)}"
        return line

    def _send(self, line: str) -> None:
        """Send a line, or keep it back. The package calls it."""
        data = line.encode(errors="replace")
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
        with contextlib.suppress(OSError):  # nobody listens, or the buffer is full
            self._socket.send(data)
