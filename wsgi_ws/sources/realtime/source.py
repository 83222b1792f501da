# SPDX-License-Identifier: Apache-2.0
"""The source for Superset's realtime channel: composes subscriber, broadcasts, memory and resync.

Topics are routes: a socket has its principal's, and its tab's if it has named one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence

import gevent

from wsgi_ws.command import command
from wsgi_ws.config.keys import Settings
from wsgi_ws.hub import Hub
from wsgi_ws.loop import SLICE, give_way
from wsgi_ws.observe.log_limiter import LogLimiter
from wsgi_ws.observe.metrics import TransportMetrics
from wsgi_ws.sources import silence
from wsgi_ws.sources.link import Link
from wsgi_ws.sources.realtime.broadcast import Broadcaster
from wsgi_ws.sources.realtime.departures import Departure, Departures
from wsgi_ws.sources.realtime.envelope import REPEATABLE, MalformedMessage, Message, message_of
from wsgi_ws.sources.realtime.memory import Memory
from wsgi_ws.sources.realtime.owed import RETURN_MIN, Claim
from wsgi_ws.sources.realtime.resync import Resync
from wsgi_ws.sources.realtime.subscriber import SILENCE_MAX, ChannelSubscriber
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.sources.redis_replies import to_subscribe
from wsgi_ws.superset.realtime import channel_name
from wsgi_ws.transport import Transport
from wsgi_ws.websocket.closing import Ending
from wsgi_ws.websocket.connection import Connection
from wsgi_ws.websocket.frames import CloseCode
from wsgi_ws.wording import counted

log = logging.getLogger(__name__)

ALIKE_INTERVAL = 60.0  # seconds between two log lines of one kind of malformed message
MANY = 256  # sockets of one targeted message: more are sent to in slices
WATCH_INTERVAL = 1.0  # seconds between two looks at how long Redis has been away
SILENCE_PATIENCE = 600.0  # seconds with sockets, but without any message, before a hint
# Of a tab whose last socket is not known here (another worker or host had it) it is not known what
# it has got. It gets more than it may have missed: what is for it alone is little, and what is for
# everybody is needed for as long as a browser is between two sockets that it changes by itself.
EVERYBODYS_REACH = 5.0  # seconds
# With which a browser closes a socket to open the next one.
RENEWING = (CloseCode.NORMAL, CloseCode.NO_STATUS)
# So many open sockets of one name are a crowd, as of the guests of an embedded page. Whose is whose
# there is not asked: it would take too long, and too many would be closed for a few.
CROWD_MIN = 9
MISSED = "messages may have been missed"


class RealtimeSource:
    """The messages of the channel, for the sockets of one hub. A `Source`."""

    def __init__(self, settings: Settings, hub: Hub, metrics: TransportMetrics) -> None:
        """Nothing runs or connects before the `jobs` do."""
        self._settings = settings
        self._hub = hub
        self._metrics = metrics
        self._channel = channel_name(settings.realtime_channel_prefix)
        self.link = Link(
            Transport.REALTIME,
            to_subscribe(settings.redis.user, self._channel),
            address=describe(settings.redis),
            is_optional=settings.transports == "auto",
            meanwhile=(
                f"sockets stay open for {settings.realtime_outage:g} s, and are closed with 1012 "
                "when it can again, so that browsers ask Superset for what they have missed"
            ),
        )
        self._memory = Memory(settings.realtime_memory, settings.realtime_memory_bytes)
        self._departures = Departures(hub, settings.realtime_memory)
        self._broadcaster = Broadcaster(hub, self._memory, metrics, settings.realtime_merge)
        self._resync = Resync(hub, metrics)
        client = connect(settings.redis, read_timeout=SILENCE_MAX)
        self._subscriber = ChannelSubscriber(client, self._channel, self, self.link)
        self._limiter = LogLimiter(ALIKE_INTERVAL)
        self._messages = 0
        self._has_been_subscribed = False
        self._resubscribed_at = float("-inf")

    # --- for the worker --------------------------------------------------------------------------

    @property
    def caught_up(self) -> bool:
        """There is nothing to catch up with: Redis keeps nothing."""
        return self.link.connected.is_set()

    def lag(self) -> float:
        """Seconds for which nothing could be read."""
        return 0.0 if self.link.connected.is_set() else time.monotonic() - self.link.lost_at

    def unreadiness(self) -> str | None:
        """Why messages don't reach sockets; None when they do."""
        if self.link.connected.is_set():
            return None
        where = describe(self._settings.redis)
        why = f": {self.link.trouble}" if self.link.trouble else ""
        return f"channel {self._channel} of Redis at {where} can't be subscribed to{why}"

    def closed_because(self) -> str | None:
        """Why nobody is admitted: Redis has been away for too long."""
        if self.lag() <= self._settings.realtime_outage:
            return None
        return f"Redis is away for more than {self._settings.realtime_outage:g} s"

    def jobs(self) -> Sequence[Callable[[], None]]:
        """What must run in greenlets."""
        return (
            self._subscriber.run,
            self._broadcaster.run,
            self._resync.run,
            self._watch_outages,
            self._hint_at_silence,
        )

    def join(self, connection: Connection, *, last_id: str | None, tab_id: str | None) -> None:
        """Subscribe a connection to its routes; a tab that comes back gets what it has missed."""
        principal = connection.channel
        topics = [principal] if tab_id is None else [principal, f"{principal}:{tab_id}"]
        departure = self._departures.take(topics[-1])
        alike = self._open_alike(topics[-1])
        self._hand_over(connection, topics, departure, alike)
        for topic in topics:
            self._hub.subscribe(connection, topic)
        if self._has_claim(topics[-1], departure, alike):
            self._resync.add(connection, MISSED)

    def leave(self, connection: Connection, ending: Ending) -> None:
        """Keep what is known of what the tab has got."""
        claim = self._resync.claim_of(connection)
        self._resync.leave(connection)
        is_told = _is_told(ending, claim)
        self._departures.note(connection, is_told=is_told, claim=Claim.NONE if is_told else claim)

    # --- told by the subscriber ------------------------------------------------------------------

    def on_subscribed(self) -> None:
        """Whoever is here already may have missed something."""
        self._close_all(MISSED)
        self._departures.owe_all()
        if self._has_been_subscribed:
            self._resubscribed_at = time.monotonic()
        self._has_been_subscribed = True

    def on_lost(self) -> None:
        """Whoever is not closed yet will be when Redis is back: once is enough."""
        self._resync.hold()

    def on_messages(self, messages: Sequence[bytes]) -> None:
        """Hand out what was published."""
        self._messages += len(messages)
        begin = time.monotonic()
        for data in messages:
            self._broadcaster.wait_for_room()
            try:
                message = message_of(data)
            except MalformedMessage as error:
                self._skip(error)
                continue
            if message.routes is None:
                self._broadcaster.put(message)
            else:
                self._send(message, message.routes)
            # By its own time. By the loop's, a broadcast on its way would let one message through
            # in each turn, and hold the others up.
            if time.monotonic() - begin >= SLICE:
                give_way()
                begin = time.monotonic()

    def _send(self, message: Message, routes: tuple[str, ...]) -> None:
        """To the sockets of some routes, before anything that is for everybody."""
        if message.topic in REPEATABLE:
            self._memory.remember(message.frame, routes, time.monotonic())
        connections = self._subscribed_to(routes)
        if len(connections) > MANY or (connections and self._broadcaster.has_targeted):
            self._broadcaster.put_delivery(message, connections)
            return
        for connection in connections:
            connection.send(message.frame)
            connection.events_sent += 1
        self._metrics.delivered(1, len(connections))

    def _subscribed_to(self, routes: Sequence[str]) -> Collection[Connection]:
        """Each connection once, however many of the routes lead to it."""
        by_topic = self._hub.by_topic
        found = [by_topic[route] for route in routes if route in by_topic]
        return found[0] if len(found) == 1 else set().union(*found)

    def _skip(self, error: MalformedMessage) -> None:
        self._metrics.malformed()
        self._limiter.write(
            *(log.warning, str(error), time.monotonic()),
            *("a message of channel %s is skipped: %s", self._channel, error),
        )

    # --- what a tab may have missed --------------------------------------------------------------

    def _open_alike(self, topic: str) -> list[Connection]:
        """The open sockets of a name: the tab's last one, if its end has not been noticed yet, or
        those of other browsers."""
        if self._is_crowd(topic):
            return []
        peers = self._hub.by_topic.get(topic, ())
        return [peer for peer in peers if self._hub.topics_of(peer)[-1] == topic]

    def _is_crowd(self, topic: str) -> bool:
        return len(self._hub.by_topic.get(topic, ())) >= CROWD_MIN

    def _hand_over(
        self,
        connection: Connection,
        topics: Sequence[str],
        departure: Departure | None,
        alike: Sequence[Connection],
    ) -> None:
        """Send what the tab may have missed."""
        now = time.monotonic()
        heard = [peer.taken_until for peer in alike]
        after, everybodys = now - self._settings.realtime_memory, now - EVERYBODYS_REACH
        if departure is not None and len(topics) > 1:  # without a name it may be another tab's
            after = departure.heard_at
            heard.append(after)
        after, everybodys = min([after, *heard]), min([everybodys, *heard])
        frames = [*self._memory.since([None], everybodys), *self._memory.since(topics, after)]
        if frames:
            connection.taken_until = after  # until a pong proves that these have arrived
            connection.send(b"".join(frames))
            connection.events_sent += len(frames)
            self._metrics.replayed(len(frames))

    def _has_claim(
        self, topic: str, departure: Departure | None, alike: Sequence[Connection]
    ) -> bool:
        """Whether a socket that opens now is of a tab that may have missed something, and whose
        browser has not been told."""
        return (
            # Who was told is not back so soon: it was between two sockets then.
            time.monotonic() - self._resubscribed_at < RETURN_MIN
            or (departure is not None and departure.claim is not Claim.NONE)
            or (self._departures.is_claimed(topic) and not self._is_crowd(topic))
            or any(self._resync.claim_of(peer) is Claim.OWN for peer in alike)
            or self._has_forgotten(departure, alike)
        )

    def _has_forgotten(self, departure: Departure | None, alike: Sequence[Connection]) -> bool:
        """Whether the tab has missed more than is remembered."""
        if not self._settings.realtime_memory:
            return False
        heard = [peer.taken_until for peer in alike if peer.unanswered_since is not None]
        if departure is not None and not departure.is_told:
            heard.append(departure.heard_at)
        return bool(heard) and not self._memory.is_complete_since(min(heard))

    # --- from time to time -----------------------------------------------------------------------

    def _watch_outages(self) -> None:
        """When Redis is away for too long, let browsers know: their charts then say so."""
        was_closed = False
        while True:
            gevent.sleep(WATCH_INTERVAL)
            is_closed = self.closed_because() is not None
            if is_closed and not was_closed:
                self._close_all("realtime backend unavailable")
            was_closed = is_closed

    def _close_all(self, reason: str) -> None:
        count = self._resync.begin(reason)
        if not count:
            return
        line = ("closing %s with 1012: %s", counted(count, "socket"), reason)
        if self.link.is_flapping:
            self._limiter.write(log.warning, "closing", time.monotonic(), *line)
        else:
            log.warning(*line)

    def _hint_at_silence(self) -> None:
        """Say once that browsers come, but nothing is published for them."""
        if silence.lasts(
            lambda: not self._messages,
            *(self._hub, self.link),
            patience=SILENCE_PATIENCE,
            interval=WATCH_INTERVAL,
        ):
            self._hint()

    def _hint(self) -> None:
        log.warning(
            "%s open, but nothing has been published on channel %s for %.0f s: does Superset's "
            "DISTRIBUTED_COORDINATION_CONFIG name this Redis (%s), and is its "
            "REALTIME_CHANNEL_PREFIX our realtimeChannelPrefix? %s check --superset "
            "superset_config.py compares them",
            *(counted(len(self._hub), "realtime socket"), self._channel, SILENCE_PATIENCE),
            describe(self._settings.redis),
            command(),
        )


def _is_told(ending: Ending, claim: Claim) -> bool:
    """Whether a browser knows that its socket is gone, so that it asks Superset.

    It does not when it has closed the socket itself, to open the next one: perhaps before our close
    had reached it, so that the code that it answers is not ours. If nothing is answered, the path
    may have been dead. But a client that answers in its own way is not closed for ever: of a claim
    that was handed down, our close is the end.
    """
    if ending.by == "client":
        return ending.code not in RENEWING
    if ending.by == "network" or ending.answer not in (None, *RENEWING):
        return True
    return claim is Claim.HANDED_DOWN and ending.code == CloseCode.SERVICE_RESTART
