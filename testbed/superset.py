# SPDX-License-Identifier: Apache-2.0
"""What Superset does: publishes events as its AsyncQueryManager, sets the browser's cookie."""

from __future__ import annotations

from typing import Any

import redis

from testbed.servers import SECRET
from wsgi_ws.superset import producer
from wsgi_ws.superset.producer import Event, event, new_channel
from wsgi_ws.superset.token import Signer

__all__ = ["cookie", "event", "new_channel", "publish", "token"]


def publish(client: redis.Redis, prefix: str, channel: str, **members: Any) -> tuple[str, Event]:
    """Write a job update of the channel; returns the ID in the global stream, and the event."""
    message = event(channel, **members)
    return producer.publish(client, prefix, message), message


def token(channel: str, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """The cookie's JSON Web Token, with Superset's null `sub`."""
    return Signer(secret, algorithm=algorithm).sign(channel, **claims)


def cookie(channel: str, secret: str = SECRET) -> str:
    """The value of the `Cookie` header."""
    return Signer(secret).cookie(channel)
