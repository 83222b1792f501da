# SPDX-License-Identifier: Apache-2.0
"""A client of StatsD with the options of the Node server's client library (hot-shots).

It is UDP: sending never blocks, and a server that does not listen is no error.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from typing import Any

import gevent
from gevent.event import Event
from statsd.client.base import StatsClientBase

from wsgi_ws.config.keys import StatsdSettings

log = logging.getLogger(__name__)

LOOK_UP_INTERVAL = 30.0  # seconds
LOOK_UP_PAUSE = 5.0  # seconds between two look-ups, after errors too


class StatsdClient(StatsClientBase):  # type: ignore[misc]  # the package has no types
    """The statsd package's counters and gauges, in lines and datagrams of our own.

    A line has a prefix and a suffix around its name, and tags in the DogStatsD form
    (`name:1|c|#tag1,tag2:value`) or Telegraf's (`name,tag2=value:1|c`).

    The package has no public way to change its lines: `_prefix`, `_prepare`, `_after` and `_send`
    are not documented (version 4).
    """

    def __init__(self, settings: StatsdSettings, extra_tags: Iterable[str] = ()) -> None:
        """Nothing is sent before the first `look_up`.

        :param extra_tags: of every metric, after the configured ones.
        """
        self._prefix = ""  # the package would put a dot behind it, hot-shots doesn't
        self._settings = settings
        self._tags = [*settings.global_tags, *extra_tags]
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._socket: socket.socket | None = None  # until the name is known: metrics are dropped
        self._peer: Any = None  # its address there
        self._in_trouble = False  # the name can't be used, and this has been told
        self._doubtful = Event()  # an error may mean that the name has moved

    def run(self) -> None:
        """Look the name up until killed: it may be unknown at first, and move later."""
        while not self._settings.mock:
            self.look_up()
            gevent.sleep(LOOK_UP_PAUSE)  # an error may come with each metric
            self._doubtful.wait(LOOK_UP_INTERVAL - LOOK_UP_PAUSE)
            self._doubtful.clear()

    def look_up(self) -> None:
        """Send to the address that the name has now. One that works is kept as long as it has it.

        Without an answer it goes on with the one before. May give way to other greenlets.
        """
        host, port = self._settings.host, self._settings.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            if self._socket is None or self._peer not in [each[4] for each in found]:
                self._send_to(found[0])
        except (OSError, UnicodeError) as error:  # a name may also be none at all
            if self._socket is None and not self._in_trouble:
                self._in_trouble = True
                log.warning(
                    "no StatsD metrics: statsd.host %r can't be used (%s); "
                    "it is tried again every %.0f s",
                    *(host, error, LOOK_UP_INTERVAL),
                )

    def _send_to(self, found: tuple[Any, ...]) -> None:
        """:param found: an address as `getaddrinfo` gives it."""
        family, kind, proto, _, address = found
        opened = socket.socket(family, kind, proto)
        try:
            opened.setblocking(False)
            opened.connect(address)
        except BaseException:
            opened.close()
            raise
        before, self._socket, self._peer = self._socket, opened, address
        if before is not None:
            before.close()
        if before is not None or self._in_trouble:
            log.info("StatsD metrics go to %s, the address of %s", address[0], self._settings.host)
        self._in_trouble = False

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
        try:
            self._socket.send(data)
        except BlockingIOError:  # the buffer is full
            pass
        except OSError:  # nobody listens, at least not there
            self._doubtful.set()
