# SPDX-License-Identifier: Apache-2.0
"""Runs sample queries of a page's users, and writes what it publishes into the page's ledger."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis

from wsgi_ws.demo.producer import Message, run_query, run_task
from wsgi_ws.demo.sessions import Session
from wsgi_ws.superset.names import TASK_STATUS
from wsgi_ws.superset.producer import Event, new_job_id
from wsgi_ws.transport import Transport

log = logging.getLogger(__name__)

MAX_AT_ONCE = 64  # threads; further queries wait for their turn
FAILING = 10  # each tenth query ends with an error, to show that too


class Runner:
    """Queries in threads."""

    def __init__(
        self, publish_event: Callable[[Event], str], publish_message: Callable[[Message], object]
    ) -> None:
        """
        :param publish_event: puts one into Redis, as Superset up to 6.1 does; returns its ID in the
            global stream.
        :param publish_message: puts one into Redis, as Superset 7 does.
        """
        self._publish_event = publish_event
        self._publish_message = publish_message
        self._failing = False  # since the last thing that Redis has taken
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(MAX_AT_ONCE)
        self._numbers = itertools.count(1)

    def start(self, session: Session, transport: Transport, user: str) -> str:
        """Start a query; returns its ID."""
        job_id, number = new_job_id(), next(self._numbers)
        run = self._run_query if transport is Transport.STREAMS else self._run_task
        self._pool.submit(self._run, run, session, user, job_id, number)
        return job_id

    def stop(self) -> None:
        """Let those that run end at once."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(
        self,
        run: Callable[[Session, str, str, int], None],
        session: Session,
        user: str,
        job_id: str,
        number: int,
    ) -> None:
        try:
            run(session, user, job_id, number)
        except (redis.RedisError, OSError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """One line for an outage: the terminal is for the server's log, and the page counts."""
        with self._lock:
            first, self._failing = not self._failing, True
        if first:
            log.error("demo: queries can't be published: %s", error)

    def _succeeded(self) -> None:
        with self._lock:
            self._failing = False

    def _run_query(self, session: Session, user: str, job_id: str, number: int) -> None:
        def publish(event: Event) -> str:
            entry_id = self._publish_event(event)
            self._succeeded()
            return entry_id

        def send(event: Event) -> None:
            if not self._stopping.is_set():
                session.ledger.publish(
                    Transport.STREAMS,
                    user,
                    f"{job_id} {event['status']}",
                    lambda: publish(event),
                )

        channel = session.channels[user]
        run_query(channel, job_id, send, self._stopping.wait, fails=number % FAILING == 0)

    def _run_task(self, session: Session, user: str, job_id: str, number: int) -> None:
        def send(message: Message) -> None:
            if self._stopping.is_set():
                return
            if message.topic != TASK_STATUS:
                session.ledger.publish_to_all(lambda: self._publish_message(message))
                return
            status = message.payload["status"]
            session.ended[user][job_id] = status  # committed before anybody is told

            def publish() -> str:
                self._publish_message(message)
                self._succeeded()
                return ""

            session.ledger.publish(Transport.REALTIME, user, f"{job_id} {status}", publish)

        principal = session.principals[user]
        run_task(principal, number, job_id, send, self._stopping.wait, fails=number % FAILING == 0)
