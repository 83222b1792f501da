# SPDX-License-Identifier: Apache-2.0
"""What the follower makes of errors, without Redis."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import redis

from wsgi_ws.sources.link import Link
from wsgi_ws.sources.redis_clock import RedisClock
from wsgi_ws.sources.redis_replies import to_follow_streams
from wsgi_ws.sources.streams.follower import StreamFollower
from wsgi_ws.transport import Transport

CUT_OFF: list[Exception] = [
    ConnectionError("Connection closed by server"),
    redis.ConnectionError("Error while reading from 127.0.0.1:6379 : (104, 'reset by peer')"),
    ConnectionResetError(104, "Connection reset by peer"),
]
AWAY: list[Exception] = [
    redis.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused."),
    redis.TimeoutError("Timeout connecting to server"),
]


class Stop(BaseException):
    """Ends `run`, which goes on for ever."""


def told_after(error: Exception, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the follower takes an error in a large read of the past for a refusal of Redis."""
    page = [(b"5-0", [b"data", b"x" * 1000])]
    client: Any = Mock()
    client.execute_command.side_effect = [page, error]
    permission = to_follow_streams("ws", "a-")
    link = Link(Transport.STREAMS, permission, address="", is_optional=False, meanwhile="")
    link.pause = Mock(side_effect=Stop)  # type: ignore[method-assign]
    follower = StreamFollower(
        *(client, "full", Mock(), link),
        count=100,
        block_ms=5000,
        history_bytes=10**6,
        reach_ms=0,
        clock=RedisClock(),
    )
    with pytest.raises(Stop):
        follower.run()
    return "closed in place of a reply" in caplog.text


@pytest.mark.parametrize("error", CUT_OFF, ids=str)
def test_a_connection_that_ends_in_a_large_reply_was_perhaps_closed_for_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert told_after(error, caplog)


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_a_redis_that_is_away_has_refused_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert not told_after(error, caplog)
