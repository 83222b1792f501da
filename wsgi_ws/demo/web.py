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
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

import jwt
import redis
from flask import Flask, Response, abort, request

from wsgi_ws.demo.producer import Event, new_job_id, run_query

log = logging.getLogger(__name__)

MAX_QUERIES_AT_ONCE = 64  # threads; further queries wait for their turn
MAX_QUERIES_PER_REQUEST = 100
REMEMBERED_PER_CHANNEL = 5_000
FAILING = 10  # each tenth query ends with an error, to show that too


@dataclass(frozen=True, slots=True)
class Token:
    """How the cookie is made; the server has the same values."""

    secret: str
    cookie_name: str
    channel_key: str
    algorithm: str = "HS256"

    def encode(self, channel: str) -> str:
        claims: dict[str, Any] = {self.channel_key: channel, "sub": None}
        return jwt.encode(claims, self.secret, self.algorithm)

    def channel(self, token: str) -> str | None:
        """The channel of a token that we signed, else None."""
        options: Any = {"verify_sub": False}  # null, as in Superset's tokens of anonymous users
        try:
            claims = jwt.decode(token, self.secret, [self.algorithm], options=options)
        except jwt.InvalidTokenError:
            return None
        channel = claims.get(self.channel_key)
        return channel if isinstance(channel, str) else None


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


def create_app(token: Token, queries: Queries, websocket_port: int) -> Flask:
    """The demo's own web application."""
    app = Flask(__name__, static_folder=None)
    html = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("{{websocket_port}}", str(websocket_port))

    def channel() -> str:
        found = token.channel(request.cookies.get(token.cookie_name, ""))
        return found or abort(401)

    @app.get("/")
    def page() -> Response:
        response = Response(html, content_type="text/html; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        if token.channel(request.cookies.get(token.cookie_name, "")) is None:
            value = token.encode(str(uuid4()))
            response.set_cookie(token.cookie_name, value, httponly=True, samesite="Lax")
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
