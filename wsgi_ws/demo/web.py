# SPDX-License-Identifier: Apache-2.0
"""Superset's part in the demo: a page, the cookie with the token, and queries to run.

Knows the server under demonstration only by its port.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import redis
from flask import Flask, Response, abort, request

from wsgi_ws.demo.producer import run_query
from wsgi_ws.superset.producer import Event, new_channel, new_job_id
from wsgi_ws.superset.token import Signer

log = logging.getLogger(__name__)

MAX_QUERIES_AT_ONCE = 64  # threads; further queries wait for their turn
MAX_QUERIES_PER_REQUEST = 100
REMEMBERED_PER_CHANNEL = 5_000
FAILING = 10  # each tenth query ends with an error, to show that too


class Queries:
    """Runs sample queries and remembers what was published, so that the page can count misses."""

    def __init__(self, publish: Callable[[Event], str]) -> None:
        """:param publish: puts an event into Redis and returns its id in the global stream."""
        self._publish = publish
        self._pool = ThreadPoolExecutor(MAX_QUERIES_AT_ONCE)
        self._stopping = threading.Event()
        self._number = itertools.count(1)
        self._published: defaultdict[str, deque[tuple[int, int]]] = defaultdict(
            lambda: deque(maxlen=REMEMBERED_PER_CHANNEL)
        )

    def start(self, channel: str, count: int) -> list[str]:
        """Start that many queries; returns their job ids."""
        job_ids = [new_job_id() for _ in range(count)]
        for job_id in job_ids:
            fails = next(self._number) % FAILING == 0
            self._pool.submit(self._run, channel, job_id, fails)
        return job_ids

    def published_after(self, channel: str, last_id: str) -> int:
        """How many events of the channel are newer than the one with this id."""
        last = _id_numbers(last_id)
        return sum(published > last for published in list(self._published[channel]))

    def stop(self) -> None:
        """Let running queries end at once."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, channel: str, job_id: str, fails: bool) -> None:
        def send(event: Event) -> None:
            if not self._stopping.is_set():
                self._published[channel].append(_id_numbers(self._publish(event)))

        try:
            run_query(channel, job_id, send, self._stopping.wait, fails=fails)
        except redis.RedisError as error:
            log.error("query %s was not published: %s", job_id, error)


def create_app(signer: Signer, queries: Queries, websocket_port: int) -> Flask:
    """The demo's own web application."""
    app = Flask(__name__, static_folder=None)
    html = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("{{websocket_port}}", str(websocket_port))

    def channel() -> str:
        found = signer.channel(request.cookies.get(signer.cookie_name, ""))
        return found or abort(401)

    @app.get("/")
    def page() -> Response:
        response = Response(html, content_type="text/html; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        if signer.channel(request.cookies.get(signer.cookie_name, "")) is None:
            value = signer.sign(new_channel())
            response.set_cookie(signer.cookie_name, value, httponly=True, samesite="Lax")
        return response

    @app.post("/jobs")
    def start_jobs() -> tuple[dict[str, Any], int]:
        count = request.args.get("count", 1, int)
        if not 1 <= count <= MAX_QUERIES_PER_REQUEST:
            abort(400)
        return {"job_ids": queries.start(channel(), count)}, 202

    @app.get("/waiting")
    def waiting() -> dict[str, int]:
        return {"count": queries.published_after(channel(), request.args.get("after", ""))}

    return app


def _id_numbers(entry_id: str) -> tuple[int, int]:
    """A stream id as numbers that compare in stream order."""
    milliseconds, _, sequence = entry_id.partition("-")
    try:
        return int(milliseconds), int(sequence or 0)
    except ValueError:
        abort(400)
