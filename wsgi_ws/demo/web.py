# SPDX-License-Identifier: Apache-2.0
"""The demo's web application: the page, Superset's part in it, and the buttons.

Everything under /api/ is JSON and needs the token that the page was served with:

    POST /api/sessions                              a page begins: its users, and their cookies
    POST /api/sessions/<session>/queries            run `count` queries of each transport
    GET  /api/sessions/<session>/published?after=n  the ledger behind entry n, and what runs
    GET  /api/sessions/<session>/<user>/tasks       Superset 7: which tasks have ended
    POST /api/redis/stop, /api/redis/start          the demo's own Redis only
    POST /api/workers/kill, /api/server/reload

Never part of the service: its process starts the server and is not started by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import PurePosixPath

from flask import Flask, Response, abort, jsonify, request

from wsgi_ws.demo import guard
from wsgi_ws.demo.processes import DemoError, Gunicorn, OwnRedis
from wsgi_ws.demo.redis_finder import RedisNotFound
from wsgi_ws.demo.runner import Runner
from wsgi_ws.demo.sessions import USERS, Cookie, Session, Sessions
from wsgi_ws.transport import Transport

MAX_QUERIES = 100  # per request
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

Answer = Response | tuple[Response, int]


def create_app(
    sessions: Sessions,
    runner: Runner,
    server: Gunicorn,
    own_redis: OwnRedis | None,
    transports: Sequence[Transport],
    websocket_port: int,
    token: str,
) -> Flask:
    """
    :param own_redis: None when a Redis is configured, which is not the demo's to stop.
    :param transports: those that the server offers.
    :param token: what the page is served with and the API asks for.
    """
    app = Flask(__name__, static_folder=None)
    _guard(app, token, _content_security_policy(websocket_port))
    _serve_page(app, token)
    _add_superset(app, sessions, runner, transports, websocket_port)
    _add_buttons(app, sessions, server, own_redis)
    return app


def _guard(app: Flask, token: str, policy: str) -> None:
    """Requests of others are refused, and answers name what a browser may do with them."""

    @app.before_request
    def guarded() -> tuple[Response, int] | None:
        reason = guard.refusal_of_caller(request.host, request.headers.get("Origin"))
        if reason is None and request.path.startswith("/api/"):
            reason = guard.refusal_of_token(request.headers.get(guard.TOKEN_HEADER, ""), token)
        return None if reason is None else (jsonify(error=reason), 403)

    @app.after_request
    def hardened(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _serve_page(app: Flask, token: str) -> None:
    page = _read_page()
    page["index.html"] = page["index.html"].replace("{{token}}", token)

    @app.get("/")
    def index() -> Response:
        return part("index.html")

    @app.get("/page/<name>")
    def part(name: str) -> Response:
        kind = CONTENT_TYPES.get(PurePosixPath(name).suffix, "")
        return Response(page.get(name) or abort(404), content_type=f"{kind}; charset=utf-8")


def _add_superset(
    app: Flask,
    sessions: Sessions,
    runner: Runner,
    transports: Sequence[Transport],
    websocket_port: int,
) -> None:
    """What a page of Superset asks for: cookies, queries, and which of them have ended."""

    @app.post("/api/sessions")
    def open_session() -> Answer:
        session = sessions.open()
        answer = jsonify(
            session=session.name,
            users={user: session.path(user) for user in USERS},
            transports=[transport.value for transport in transports],
            websocket_port=websocket_port,
        )
        return _with_cookies(answer, sessions.cookies(session)), 201

    @app.post("/api/sessions/<name>/queries")
    def run_queries(name: str) -> Answer:
        session, count = _found(sessions, name), request.args.get("count", 1, int)
        if not 1 <= count <= MAX_QUERIES:
            abort(400)
        started: list[dict[str, str]] = []
        for _ in range(count):
            user = session.next_user()
            for transport in transports:
                job_id = runner.start(session, transport, user)
                started.append({"transport": transport.value, "user": user, "job_id": job_id})
        return jsonify(started=started), 202

    @app.get("/api/sessions/<name>/<user>/tasks")
    def ended_tasks(name: str, user: str) -> Response:
        """As Superset 7, whose answers renew the cookie too."""
        session = _found(sessions, name)
        ended = session.ended.get(user)
        if ended is None:
            abort(404)
        return _with_cookies(jsonify(ended=ended.copy()), sessions.cookies(session))


def _add_buttons(
    app: Flask, sessions: Sessions, server: Gunicorn, own_redis: OwnRedis | None
) -> None:
    """What the page does to the processes, and the look at them and into the ledger."""

    @app.get("/api/sessions/<name>/published")
    def published(name: str) -> Response:
        session = _found(sessions, name)
        entries = session.ledger.after(request.args.get("after", 0, int))
        answer = jsonify(
            entries=[asdict(entry) | {"transport": entry.transport.value} for entry in entries],
            refused=session.ledger.refused,
            redis="configured" if own_redis is None else _state(own_redis),
            workers=server.workers(),
        )
        return _with_cookies(answer, sessions.due_cookies(session))

    @app.post("/api/redis/<action>")
    def switch_redis(action: str) -> Answer:
        if own_redis is None:
            raise DemoError("This Redis is configured: the demo does not touch it.")
        actions = {"stop": own_redis.stop, "start": own_redis.start}
        (actions.get(action) or abort(404))()
        return jsonify(redis=_state(own_redis))

    @app.post("/api/workers/kill")
    def kill_a_worker() -> Answer:
        return jsonify(killed=server.kill_a_worker())

    @app.post("/api/server/reload")
    def reload() -> Answer:
        server.reload()
        return jsonify(reloading=True)

    @app.errorhandler(DemoError)
    @app.errorhandler(RedisNotFound)
    def cannot(error: DemoError | RedisNotFound) -> Answer:
        return jsonify(error=str(error)), 409


def _found(sessions: Sessions, name: str) -> Session:
    return sessions.find(name) or abort(404)


def _read_page() -> dict[str, str]:
    """The files of the page, by their names."""
    return {
        file.name: file.read_text(encoding="utf-8")
        for file in files(__package__).joinpath("page").iterdir()
        if PurePosixPath(file.name).suffix in CONTENT_TYPES
    }


def _content_security_policy(websocket_port: int) -> str:
    """Nothing but the page's own files and the server's socket; no script or style in the HTML."""
    sockets = " ".join(f"ws://{host}:{websocket_port}" for host in guard.HOSTS)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        f"connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _state(own_redis: OwnRedis) -> str:
    return "running" if own_redis.running else "stopped"


def _with_cookies(response: Response, cookies: Sequence[Cookie]) -> Response:
    for name, value, path in cookies:
        response.set_cookie(name, value, path=path, httponly=True, samesite="Lax")
    return response
