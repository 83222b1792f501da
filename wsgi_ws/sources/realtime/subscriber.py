# SPDX-License-Identifier: Apache-2.0
"""The subscription to a Pub/Sub channel: keep it through outages, and never take a dead one for one
that is silent.

Redis keeps nothing of what it publishes. What comes while there is no subscription is lost, and
nobody can tell whether there was anything; whoever listens here must be told of each new beginning.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gevent
import redis

from wsgi_ws.sources.link import Link
from wsgi_ws.sources.redis_replies import MalformedReply, is_forbidden, is_of_ping_alone, to_ping
from wsgi_ws.sources.redis_wire import RedisWire

log = logging.getLogger(__name__)

# A channel may be silent for hours, and so may a connection whose other end is gone. Redis answers
# a PING also to a subscriber: the silence between two answers has a bound.
PING_INTERVAL = 3.0  # seconds
SILENCE_MAX = 8.0  # seconds without any word of Redis, after which the connection counts as dead


class Listener(Protocol):
    """Whom a subscriber tells."""

    def on_subscribed(self) -> None:
        """From now on nothing is missed. What came before this moment may have been."""

    def on_lost(self) -> None:
        """From now on everything is missed."""

    def on_messages(self, messages: Sequence[bytes]) -> None:
        """What was published, in order. May let Redis wait: what it holds for a subscriber that
        reads too slowly has a bound."""


class ChannelSubscriber:
    """Subscribed to one channel on a connection of its own; one greenlet runs `run` for ever."""

    def __init__(self, client: redis.Redis, channel: str, listener: Listener, link: Link) -> None:
        """:param client: whose `socket_timeout` is `SILENCE_MAX`."""
        self._client = client
        self._channel = channel.encode()
        self._listener = listener
        self._link = link
        self._trouble: Exception | None = None  # found by the greenlet that pings
        self._asked: deque[str] = deque()  # commands on this connection, not answered yet
        self._lacks_ping = False  # and that has been told

    def run(self) -> None:
        """Listen until killed."""
        while True:
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                was_connected = self._link.connected.is_set()
                self._link.down(self._trouble or error)
                if was_connected:
                    self._listener.on_lost()
            self._trouble = None
            self._link.pause()

    def _listen(self) -> None:
        wire = RedisWire(self._client)
        self._asked.clear()
        questions = (self._send_ping, RedisWire.check_master)
        watchers = [gevent.Greenlet(self._watch, wire, ask) for ask in questions]
        try:
            self._subscribe(wire)
            for watcher in watchers:
                watcher.start()
            if self._link.up():
                log.info("subscribed to channel %s", self._channel.decode())
            self._listener.on_subscribed()
            while True:
                self._hear(wire)
        finally:
            gevent.killall(watchers)
            wire.close()

    def _subscribe(self, wire: RedisWire) -> None:
        """Not while Redis is busy or loads its data, although it would permit that: browsers that
        are told to ask then, ask a Superset that can't read its caches."""
        wire.send(("PING",))
        try:
            wire.reply()
        except redis.ResponseError as error:
            if not is_of_ping_alone(error):
                raise
            self._tell_if_forbidden(error)
        self._send_subscribe(wire)
        self._take_answer(wire, wire.next())

    def _hear(self, wire: RedisWire) -> None:
        """Hand on the messages that have come, if any, and before trouble that is behind them: an
        error, or what can't even be parsed."""
        messages: list[bytes] = []
        first = wire.next()
        try:
            for reply in itertools.chain((first,), wire.arrived()):
                if _is(reply, b"message") and type(reply[2]) is bytes:
                    messages.append(reply[2])
                else:
                    self._take_answer(wire, reply)
        finally:
            self._listener.on_messages(messages)

    def _watch(self, wire: RedisWire, ask: Callable[[RedisWire], None]) -> None:
        """Ask for a sign of life, or with Sentinels for the master, now and then. Each has a
        greenlet of its own: Sentinels that are silent must not silence the other question."""
        try:
            while True:
                gevent.sleep(PING_INTERVAL)
                ask(wire)
        except (redis.RedisError, OSError) as error:
            self._trouble = error
            wire.interrupt()

    # --- questions and answers -------------------------------------------------------------------

    def _send_ping(self, wire: RedisWire) -> None:
        self._asked.append("PING")
        wire.send(("PING",))

    def _send_subscribe(self, wire: RedisWire) -> None:
        self._asked.append("SUBSCRIBE")
        wire.send(("SUBSCRIBE", self._channel))

    def _take_answer(self, wire: RedisWire, reply: Any) -> None:
        """
        :raises redis.RedisError: it is none, or one that tells of missed messages: who publishes is
            refused as well while a script runs, and a replica without its master hears nothing.
        """
        asked = self._asked.popleft() if self._asked else ""
        if isinstance(reply, redis.ResponseError):
            if asked != "PING" or not is_of_ping_alone(reply):
                raise reply
            self._tell_if_forbidden(reply)
            # The refusal comes before any word of a script that holds Redis up. To subscribe once
            # more changes nothing, and has an answer of its own, or is refused while one does.
            self._send_subscribe(wire)
        elif not _is_answer_to(asked, reply):
            raise MalformedReply("what is neither a message nor an answer")

    def _tell_if_forbidden(self, refusal: redis.ResponseError) -> None:
        """Say once that some outages can't be noticed without PING."""
        if is_forbidden(refusal) and not self._lacks_ping:
            self._lacks_ping = True
            log.warning(
                "%s; until then messages are missed without a word when Redis loads its data, or "
                "is a replica that has lost its master",
                to_ping(self._link.permission.user).explain(refusal),
            )


def _is(reply: Any, kind: bytes) -> bool:
    """Whether it is what Redis says to a subscriber: the kind, the channel, and something."""
    return type(reply) is list and len(reply) == 3 and reply[0] == kind


def _is_answer_to(asked: str, reply: Any) -> bool:
    if asked == "PING":
        return bool(reply == [b"pong", b""])
    return asked == "SUBSCRIBE" and _is(reply, b"subscribe")
