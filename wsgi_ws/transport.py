# SPDX-License-Identifier: Apache-2.0
"""The two ways in which Superset tells of its queries; each socket belongs to one. Pure."""

from __future__ import annotations

from enum import Enum

from wsgi_ws.superset.names import DEFAULTS, SEVEN, SIX


class Transport(Enum):
    """A transport, by its name in the configuration, in metrics and in logs."""

    STREAMS = "streams"  # Redis Streams: Superset up to 6.1
    REALTIME = "realtime"  # a Redis Pub/Sub channel: Superset 7

    # Enum's own, which is written in Python, is called at each look-up in a dict by transport: five
    # times per handshake. Members are equal only to themselves.
    __hash__ = object.__hash__


_USUAL_COOKIES = {
    Transport.STREAMS: DEFAULTS[SIX.cookie_name],
    Transport.REALTIME: DEFAULTS[SEVEN.cookie_name],
}


def cookie_name(transport: Transport, configured: str) -> str:
    """The cookie that a transport's token is in.

    :param configured: `jwtCookieName`. One key stands for two cookies: a name of the operator's own
        counts for both, and either default leaves both transports their own.
    """
    if configured in ("", *_USUAL_COOKIES.values()):
        return str(_USUAL_COOKIES[transport])
    return configured


def offered(configured: str) -> tuple[Transport, ...]:
    """The transports of a server.

    :param configured: `transports`.
    """
    return tuple(t for t in Transport if configured in (t.value, "auto", "both"))
