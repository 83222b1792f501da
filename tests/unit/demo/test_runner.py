# SPDX-License-Identifier: Apache-2.0
"""What the demo says and counts when Redis does not take its queries."""

from __future__ import annotations

import logging

import pytest
import redis

from testbed.servers import eventually
from wsgi_ws.demo.runner import Runner
from wsgi_ws.demo.sessions import Session
from wsgi_ws.transport import Transport


class Redis:
    """Takes everything, or nothing."""

    def __init__(self) -> None:
        self.away = True

    def publish(self, _: object) -> str:
        if self.away:
            raise redis.ConnectionError("refused")
        return "1-0"


@pytest.fixture
def session() -> Session:
    return Session("page", {"ana": "channel"}, {"ana": "user:1"})


@pytest.mark.parametrize("transport", list(Transport))
def test_each_query_that_redis_refuses_is_counted(transport: Transport, session: Session) -> None:
    server = Redis()
    runner = Runner(server.publish, server.publish)
    for _ in range(3):
        runner.start(session, transport, "ana")
    eventually(lambda: session.ledger.refused == 3, "the three are counted")
    runner.stop()


def test_an_outage_is_one_line(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    server = Redis()
    runner = Runner(server.publish, server.publish)

    def outage(refused: int) -> None:
        server.away = True
        for _ in range(20):
            runner.start(session, Transport.STREAMS, "ana")
        eventually(lambda: session.ledger.refused == refused, "all are refused")

    with caplog.at_level(logging.ERROR):
        outage(refused=20)
        server.away = False
        runner.start(session, Transport.STREAMS, "ana")
        eventually(lambda: len(session.ledger.after(20)) == 3, "a query has ended")
        outage(refused=40)
        runner.stop()
    assert [record.message for record in caplog.records] == [
        "demo: queries can't be published: refused"
    ] * 2
