# SPDX-License-Identifier: Apache-2.0
"""An event to try a server with: written as Superset writes it, for somebody that nobody is.

One class for each transport: whose it is, the URL and cookie of a browser, and what arrives.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import Protocol
from urllib.parse import urlsplit

import redis

from wsgi_ws.cli.publish import event, publish
from wsgi_ws.cli.token import cookie, realtime_cookie
from wsgi_ws.config.keys import RedisSettings, Settings
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.superset import realtime
from wsgi_ws.superset.names import TASK_STATUS
from wsgi_ws.superset.producer import new_channel
from wsgi_ws.superset.stream_names import channel_stream

LIFETIME = 3600.0  # seconds of the token


class Trial(Protocol):
    """One try.

    :ivar server: where the event is written.
    :ivar is_writers: whether that is where Superset writes, by its own settings.
    :ivar command: that writes it.
    """

    server: RedisSettings
    is_writers: bool
    command: str

    @property
    def where(self) -> str:
        """Where the event is written, for a sentence."""

    @property
    def whose(self) -> str:
        """Of which Superset the handshake is, the end of a sentence; empty for the usual one."""

    def url(self, url: str) -> str:
        """As a browser asks for it."""

    def cookie(self, settings: Settings) -> str:
        """The value of a `Cookie` header.

        :raises NoToken: when it can't be signed.
        """

    def send(self, client: redis.Redis) -> None:
        """Write the event.

        :raises redis.RedisError: when it can't be written.
        """

    def is_it(self, text: str) -> bool:
        """Whether a message is the event."""

    def forget(self, client: redis.Redis) -> None:
        """Remove what is left of it, if allowed."""


class StreamsTrial:
    """An event in the streams of Superset up to 6.1, on a throw-away channel."""

    command = "XADD"
    whose = ""

    def __init__(self, server: RedisSettings, prefix: str, *, is_writers: bool) -> None:
        self.server = server
        self.is_writers = is_writers
        self._prefix = prefix
        self._channel = new_channel()
        self._event = event(self._channel)

    @property
    def where(self) -> str:
        return f"{describe(self.server)}, streams {self._prefix}…"

    def url(self, url: str) -> str:
        return url

    def cookie(self, settings: Settings) -> str:
        return cookie(settings, self._channel, expires_in=LIFETIME)

    def send(self, client: redis.Redis) -> None:
        publish(client, self._prefix, self._event)

    def is_it(self, text: str) -> bool:
        return bool(json.loads(text).get("job_id") == self._event["job_id"])

    def forget(self, client: redis.Redis) -> None:
        """The global stream is left to Superset: taking out its newest entry looks to followers as
        if Redis had lost data."""
        with contextlib.suppress(redis.RedisError):
            client.delete(channel_stream(self._prefix, self._channel))


class RealtimeTrial:
    """A message on the channel of Superset 7, for a user that there is not."""

    command = "PUBLISH"
    whose = " of a browser of Superset 7"

    def __init__(self, server: RedisSettings, prefix: str, *, is_writers: bool) -> None:
        self.server = server
        self.is_writers = is_writers
        self._prefix = prefix
        self._token = secrets.token_hex(8)
        self._principal = f"user:check-{self._token}"

    @property
    def where(self) -> str:
        return f"{describe(self.server)}, channel {realtime.channel_name(self._prefix)}"

    def url(self, url: str) -> str:
        parts = urlsplit(url)
        query = f"{parts.query}&" if parts.query else ""
        return parts._replace(query=f"{query}tab_id=check").geturl()

    def cookie(self, settings: Settings) -> str:
        return realtime_cookie(settings, self._principal, expires_in=LIFETIME)

    def send(self, client: redis.Redis) -> None:
        payload = {"task_id": self._token, "status": "success"}
        routes = [self._principal]
        realtime.publish(client, self._prefix, TASK_STATUS, "principal", payload, routes)

    def is_it(self, text: str) -> bool:
        return self._token in text

    def forget(self, client: redis.Redis) -> None:
        """Redis keeps nothing of it."""
