# SPDX-License-Identifier: Apache-2.0
"""Superset's own AsyncQueryManager without the rest of Superset. Runs in Superset's environment.

    python producer.py REDIS_PORT PREFIX SECRET

It answers each line with a line, both of them JSON:
    {"visit": USER}    a page for the user with this number, 0 for an anonymous visitor
                       → {"cookie": "name=value", "channel": "…"}, from Superset's request handler
    {"job": CHANNEL, "user": USER or null, "updates": [[STATUS, {MEMBER: …}], …]}
                       → {"job_id": "…"}, published by Superset's update_job
"""

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from flask import Flask, g

_CACHE = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "127.0.0.1", "CACHE_REDIS_DB": 0}


def application(redis_port: str, prefix: str, secret: str) -> Flask:
    """Flask with Superset's default settings, and one page."""
    app = Flask("superset")
    app.config.from_object("superset.config")
    cache = {**_CACHE, "CACHE_REDIS_PORT": int(redis_port)}
    app.config.update(
        SECRET_KEY=secret,
        CACHE_CONFIG=cache,
        DATA_CACHE_CONFIG=cache,
        GLOBAL_ASYNC_QUERIES_CACHE_BACKEND=cache,
        GLOBAL_ASYNC_QUERIES_REDIS_STREAM_PREFIX=prefix,
        GLOBAL_ASYNC_QUERIES_JWT_SECRET=secret,
    )

    @app.route("/<int:user>")
    def page(user: int) -> str:
        if user:
            g.user = SimpleNamespace(id=user)
        return ""

    return app


def answer(app: Flask, manager: Any, asked: dict[str, Any]) -> dict[str, str]:
    """See above."""
    if "visit" in asked:
        client = app.test_client()
        cookie = client.get(f"/{asked['visit']}").headers["Set-Cookie"].partition(";")[0]
        with client.session_transaction() as session:
            return {"cookie": cookie, "channel": session["async_channel_id"]}
    job = manager.init_job(asked["job"], asked["user"])
    for status, members in asked["updates"]:
        manager.update_job(job, status, **members)
    return {"job_id": job["job_id"]}


def main() -> None:
    from superset.async_events.async_query_manager import AsyncQueryManager

    app = application(*sys.argv[1:])
    # init_app looks up Celery's tasks, which publishing does not need, and which need all the rest.
    tasks = SimpleNamespace(load_chart_data_into_cache=None, load_explore_json_into_cache=None)
    sys.modules["superset.tasks.async_queries"] = cast(ModuleType, tasks)
    manager = AsyncQueryManager()
    with app.app_context():
        manager.init_app(app)
    for line in sys.stdin:
        print(json.dumps(answer(app, manager, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
