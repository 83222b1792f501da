# SPDX-License-Identifier: Apache-2.0
"""Superset's part in the demo: a page, the cookies with the tokens, and queries to run.

As Superset up to 6.1 (streams) and as Superset 7 (realtime), each with a page, a cookie and queries
of its own. Knows the server under demonstration only by its port.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, NamedTuple

import redis
from flask import Flask, Response, abort, jsonify, request

from wsgi_ws.demo.producer import Message, run_query, run_task
from wsgi_ws.superset.names import TASK_STATUS
from wsgi_ws.superset.producer import Event, new_channel, new_job_id
from wsgi_ws.superset.token import RealtimeSigner, Signer

log = logging.getLogger(__name__)

MAX_QUERIES_AT_ONCE = 64  # threads; further queries wait for their turn
MAX_QUERIES_PER_REQUEST = 100
REMEMBERED_PER_CHANNEL = 5_000
FAILING = 10  # each tenth query ends with an error, to show that too


class Runner:
    """Runs what takes a while, in threads."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._pool = ThreadPoolExecutor(MAX_QUERIES_AT_ONCE)
        self._numbers = itertools.count(1)

    def start(self, count: int, run: Callable[[int, str, bool], None]) -> list[str]:
        """Start that many of `run(number, id, whether it fails)`; returns their ids."""
        ids = [new_job_id() for _ in range(count)]
        for job_id in ids:
            number = next(self._numbers)
            self._pool.submit(self._run, run, number, job_id)
        return ids

    def stop(self) -> None:
        """Let those that run end at once."""
        self.stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, run: Callable[[int, str, bool], None], number: int, job_id: str) -> None:
        try:
            run(number, job_id, number % FAILING == 0)
        except redis.RedisError as error:
            log.error("query %s was not published: %s", job_id, error)


class Queries:
    """Superset up to 6.1: remembers what was published, so that the page can count misses."""

    def __init__(self, runner: Runner, publish: Callable[[Event], str]) -> None:
        """:param publish: puts an event into Redis and returns its id in the global stream."""
        self._runner = runner
        self._publish = publish
        self._published: defaultdict[str, deque[tuple[int, int]]] = defaultdict(
            lambda: deque(maxlen=REMEMBERED_PER_CHANNEL)
        )

    def start(self, channel: str, count: int) -> list[str]:
        """Start that many queries; returns their job ids."""

        def send(event: Event) -> None:
            if not self._runner.stopping.is_set():
                self._published[channel].append(_id_numbers(self._publish(event)))

        def run(_: int, job_id: str, fails: bool) -> None:
            run_query(channel, job_id, send, self._runner.stopping.wait, fails=fails)

        return self._runner.start(count, run)

    def published_after(self, channel: str, last_id: str) -> int:
        """How many events of the channel are newer than the one with this id."""
        last = _id_numbers(last_id)
        return sum(published > last for published in list(self._published[channel]))


class Tasks:
    """Superset 7: its database of tasks, which a page asks when its socket opens."""

    def __init__(self, runner: Runner, publish: Callable[[Message], int]) -> None:
        self._runner = runner
        self._publish = publish
        self._ended: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def start(self, principal: str, count: int) -> list[str]:
        """Start that many tasks; returns their ids."""

        def run(number: int, task_id: str, fails: bool) -> None:
            def send(message: Message) -> None:
                if self._runner.stopping.is_set():
                    return
                if message.topic == TASK_STATUS:  # committed before anybody is told
                    self._ended[principal][task_id] = message.payload["status"]
                self._publish(message)

            run_task(principal, number, task_id, send, self._runner.stopping.wait, fails=fails)

        return self._runner.start(count, run)

    def ended(self, principal: str) -> dict[str, str]:
        """The tasks of a user that have ended, and how."""
        return dict(self._ended[principal])


class Signers(NamedTuple):
    """Who signs the cookies."""

    streams: Signer
    realtime: RealtimeSigner


def create_app(signers: Signers, queries: Queries, tasks: Tasks, websocket_port: int) -> Flask:
    """The demo's own web application."""
    app = Flask(__name__, static_folder=None)
    html = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("{{websocket_port}}", str(websocket_port))

    def channel() -> str | None:
        return signers.streams.channel(request.cookies.get(signers.streams.cookie_name, ""))

    def principal() -> str | None:
        return signers.realtime.principal(request.cookies.get(signers.realtime.cookie_name, ""))

    def count() -> int:
        wanted = request.args.get("count", 1, int)
        return wanted if 1 <= wanted <= MAX_QUERIES_PER_REQUEST else abort(400)

    def page_of(transport: str) -> Response:
        response = Response(
            html.replace("{{transport}}", transport), content_type="text/html; charset=utf-8"
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def streams_page() -> Response:
        response = page_of("streams")
        if channel() is None:
            _set_cookie(response, signers.streams, new_channel())
        return response

    @app.get("/realtime")
    def realtime_page() -> Response:
        response = page_of("realtime")
        if principal() is None:
            _set_cookie(response, signers.realtime, f"user:{secrets.randbelow(2**31)}")
        return response

    @app.post("/jobs")
    def start_jobs() -> tuple[dict[str, Any], int]:
        return {"job_ids": queries.start(channel() or abort(401), count())}, 202

    @app.get("/waiting")
    def waiting() -> dict[str, int]:
        after = request.args.get("after", "")
        return {"count": queries.published_after(channel() or abort(401), after)}

    @app.post("/tasks")
    def start_tasks() -> tuple[dict[str, Any], int]:
        return {"job_ids": tasks.start(principal() or abort(401), count())}, 202

    @app.get("/tasks")
    def ended_tasks() -> Response:
        """As Superset, with each answer a new token: this is how a page renews its cookie."""
        name = principal() or abort(401)
        response = jsonify(ended=tasks.ended(name))
        _set_cookie(response, signers.realtime, name)
        return response

    return app


def _set_cookie(response: Response, signer: Signer | RealtimeSigner, who: str) -> None:
    response.set_cookie(signer.cookie_name, signer.sign(who), httponly=True, samesite="Lax")


def _id_numbers(entry_id: str) -> tuple[int, int]:
    """A stream id as numbers that compare in stream order."""
    milliseconds, _, sequence = entry_id.partition("-")
    try:
        return int(milliseconds), int(sequence or 0)
    except ValueError:
        abort(400)
