# SPDX-License-Identifier: Apache-2.0
"""A worker's clients of one transport, each from the handshake's 101 to the end of its socket.

Limits, the expiry of tokens, pings, closing at a stop, and the access line at the end. What a
client gets in between is its source's and the hub's business.
"""

from __future__ import annotations

import logging
import time
from _socket import socket as RawSocket  # noqa: N812  a class, and gevent's patch must not reach it
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gevent

from wsgi_ws.config.keys import Settings, key_of
from wsgi_ws.http.handshake import Admitted
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.hub import Hub
from wsgi_ws.loop import give_way
from wsgi_ws.observe.access_log import AccessLog
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.log_lines import CloseLine, abbreviated, printable
from wsgi_ws.observe.metrics import Metrics, TransportMetrics
from wsgi_ws.sources.source import Source
from wsgi_ws.transport import Transport
from wsgi_ws.websocket.allowance import Allowances
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection, Limits
from wsgi_ws.websocket.frames import CloseCode, Data
from wsgi_ws.websocket.heartbeat import Heartbeat
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

LEAVE_TIME = 1.0  # seconds for a client that is turned away: it holds a descriptor for nothing
# Key → variable; here once, since a client that is turned away should cost little.
LIMITS = {path: key_of(path).env for path in ("maxTotalConnections", "maxConnectionsPerChannel")}
PIECE = 1000  # sockets to look at without giving way: a fraction of a millisecond


class _Limit(NamedTuple):
    """A limit: its key and value."""

    key: str
    number: int


class Newcomer(NamedTuple):
    """A client that has been taken over.

    :ivar reached: the limit for which it will be turned away.
    """

    clients: Clients
    connection: Connection
    admitted: Admitted
    early: bytes
    reached: _Limit | None

    @property
    def number(self) -> int:
        """Its socket's."""
        return self.connection.number

    def answer(self) -> None:
        """Send it the 101. Never raises."""
        self.connection.send(self.admitted.answer)

    def welcome(self) -> None:
        """Give it what it is due behind the 101."""
        self.clients.welcome(self)


class Clients:
    """The clients of one transport in one worker; owner of their connections."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        source: Source,
        metrics: Metrics,
        own_metrics: TransportMetrics,
        *,
        access_log: AccessLog,
        log_limiter: LogLimiter,
        numbers: Iterator[int],
        total: Callable[[], int],
    ) -> None:
        """
        :param own_metrics: the transport's.
        :param numbers: tell the sockets of a worker apart in logs.
        :param total: how many sockets the worker has, of all transports.
        """
        self.loop = gevent.get_hub().loop
        self.limits = Limits(
            max_message_bytes=settings.max_message_bytes,
            max_backlog_bytes=settings.max_socket_buffer_bytes,
            close_timeout=settings.close_timeout,
        )
        self.allowances = Allowances(settings.max_frames_per_second, settings.max_bytes_per_second)
        self._settings = settings
        self._hub = hub
        self._source = source
        self._metrics = metrics
        self._own_metrics = own_metrics
        self._access_log = access_log
        self._log_limiter = log_limiter
        self._heartbeat = Heartbeat(
            settings.ping_sockets_interval, settings.socket_response_timeout
        )
        # Timers, for tokens that have an `exp`, and for those who are turned away.
        self._expiries: dict[Connection, Any] = {}
        self._numbers = numbers
        self._total = total

    # --- for the worker --------------------------------------------------------------------------

    def jobs(self) -> Sequence[Callable[[], None]]:
        """What must run in greenlets, until killed."""
        return (self._heartbeat.run, self._sweep)

    def backlog_and_pings(self) -> tuple[int, int]:
        """Bytes that wait for clients, and how many clients have not answered a ping.

        Gives way in between.
        """
        backlog = pinged = 0
        connections = list(self._hub)
        for start in range(0, len(connections), PIECE):
            for connection in connections[start : start + PIECE]:
                backlog += connection.backlog_bytes
                pinged += connection.unanswered_since is not None
            give_way()
        return backlog, pinged

    def close_all(self, begin: float, spread: float) -> None:
        """Begin to close every connection that is there now, evenly spread over some time.

        :param begin: of that time, by `time.monotonic`.
        :param spread: its length in seconds.
        """
        connections = list(self._hub)
        for number, connection in enumerate(connections):
            turn = begin + spread * number / len(connections)
            if turn > time.monotonic():
                gevent.sleep(turn - time.monotonic())
            connection.close(CloseCode.GOING_AWAY, "server is stopping")

    # --- the beginning ---------------------------------------------------------------------------

    def check_room(self, admitted: Admitted) -> None:
        """Refuse a client of the realtime transport for which there is no place.

        To its browser a socket that opens and closes is a success: it would come back within two
        seconds, for ever, and ask Superset each time. What is refused comes back ever more slowly.
        A browser of the streams stops after some attempts either way, and gets the Node server's
        answer: a socket that is closed with 1013.

        :raises Refusal: 503.
        """
        identity = admitted.identity
        if identity.transport is Transport.REALTIME:
            reached = self._limit_reached(identity.channel)
            if reached:
                self._own_metrics.rejected(reached.key)
                raise Refusal(
                    "limit", f"{reached.key} is reached", f": {reached.number} per worker"
                )

    def take_over(self, sock: RawSocket, admitted: Admitted, early: bytes) -> Newcomer:
        """Take over a client that is admitted, and count it from now on, if there is a place."""
        channel = admitted.identity.channel
        reached = self._limit_reached(channel)
        connection = Connection(self, sock, channel, next(self._numbers))
        if not reached:
            self._hub.add(connection)
        return Newcomer(self, connection, admitted, early, reached)

    def welcome(self, newcomer: Newcomer) -> None:
        """Begin with a client that has got the 101. Its connection is cut when this raises."""
        connection, reached = newcomer.connection, newcomer.reached
        try:
            if reached:
                self._turn_away(connection, reached)
            else:
                self._begin(connection, newcomer.admitted, newcomer.early)
        except BaseException:
            connection.terminate("it could not be taken over")
            raise

    def _begin(self, connection: Connection, admitted: Admitted, early: bytes) -> None:
        identity = admitted.identity
        self._heartbeat.add(connection)
        self._own_metrics.connected()
        if identity.expires_at is not None:
            self._expire_at(connection, identity.expires_at)
        if early:
            connection.receive(early)
        self._source.join(connection, last_id=admitted.last_id, tab_id=admitted.tab_id)

    def _limit_reached(self, channel: str) -> _Limit | None:
        """What leaves no place for one more connection; None when there is place."""
        settings = self._settings
        if 0 < settings.max_total_connections <= self._total():
            return _Limit("maxTotalConnections", settings.max_total_connections)
        if 0 < settings.max_connections_per_channel <= self._hub.count(channel):
            return _Limit("maxConnectionsPerChannel", settings.max_connections_per_channel)
        return None

    def _turn_away(self, connection: Connection, reached: _Limit) -> None:
        limit, number = reached
        self._log_limiter.write(
            *(log.warning, limit, time.monotonic()),
            "%r is closed with 1013: %s is reached: %d per worker. Raise it (%s in the environment "
            "wins over the file) if the machine has room for more",
            *(connection, limit, number, LIMITS[limit]),
        )
        self._own_metrics.rejected(limit)
        connection.close(CloseCode.TRY_AGAIN_LATER, f"{limit} is reached")
        if not connection.ended:
            self._at(LEAVE_TIME, connection, connection.terminate, "it was turned away")

    def _expire_at(self, connection: Connection, expires_at: float) -> None:
        """Close when the token expires. `exp` is a time of day, so this counts from now on."""
        self._at(max(0.0, expires_at - time.time()), connection, self._expire, connection)

    def _expire(self, connection: Connection) -> None:
        self._own_metrics.token_expired()
        connection.close(CloseCode.POLICY_VIOLATION, "the token has expired")

    def _at(
        self, after: float, connection: Connection, end: Callable[..., None], *arguments: Any
    ) -> None:
        """End a connection after some seconds, unless it has ended by then."""
        timer = self.loop.timer(after)
        timer.start(end, *arguments)
        self._expiries[connection] = timer

    # --- told by connections, on the loop --------------------------------------------------------

    def on_data(self, connection: Connection, message: Data) -> None:
        """Clients have nothing to say in this protocol: what they send is dropped."""

    def on_send_error(self, connection: Connection, error: OSError) -> None:
        """A write failed."""
        self._metrics.client_send_error()
        log.debug("%r: send failed: %s", connection, error)

    def on_slow(self, connection: Connection) -> None:
        """A client reads more slowly than its events come."""
        self._metrics.client_too_slow()
        self._log_limiter.write(
            *(log.warning, "maxSocketBufferBytes", time.monotonic()),
            "%r is cut: it left more than maxSocketBufferBytes (%d) unread",
            *(connection, self.limits.max_backlog_bytes),
        )

    def on_ended(self, connection: Connection, ending: Ending) -> None:
        """A connection is over."""
        self._source.leave(connection, ending)
        self._hub.remove(connection)
        self._heartbeat.remove(connection)
        expiry = self._expiries.pop(connection, None)
        if expiry is not None:
            expiry.close()
        self._own_metrics.gone(ending.by, ending.code)
        if self._access_log.wanted:
            self._log_close(connection, ending)

    def _log_close(self, connection: Connection, ending: Ending) -> None:
        line = CloseLine(
            socket=connection.number,
            channel=abbreviated(connection.channel),
            code=int(ending.code),
            reason=printable(ending.reason),
            by=ending.by,
            lifetime_s=round(time.monotonic() - connection.opened_at, 3),
            events_sent=connection.events_sent,
        )
        self._access_log.write(line)

    # --- greenlets -------------------------------------------------------------------------------

    def _sweep(self) -> None:
        while True:
            gevent.sleep(self._settings.gc_channels_interval)
            stale = self._hub.sweep()
            if stale:
                log.error("removed, since still registered: %s", counted(stale, "ended socket"))
