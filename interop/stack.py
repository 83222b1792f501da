# SPDX-License-Identifier: Apache-2.0
"""All processes of one installation: Redis, Superset, its Celery worker, this server, nginx."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from interop.environment import Environment
from interop.seed import PASSWORD, USERS
from testbed.nginx import Nginx, documented_with_superset
from testbed.ports import free_port
from testbed.servers import ROOT, SECRET, RedisServer, Server, eventually

PATIENCE = 120.0  # seconds until Superset answers: importing it alone takes ten
RESULTS_DB = 1  # where superset_config.py puts the results of queries
WORKERS = 8  # as many as the dashboard has charts, so that all queries run at the same time


class Stack:
    """One release of Superset and what belongs to it, until `close`."""

    server: Server  # this project's, another one after each restart
    redis: RedisServer
    seeded: dict[str, Any]  # what seed.py says

    def __init__(self, environment: Environment, home: Path) -> None:
        self.environment = environment
        self.home = home
        self.http_port = free_port()
        self.url = ""  # where the browser finds Superset
        self._processes = ExitStack()
        self._web = ExitStack()

    def start(self) -> None:
        """Start all that doesn't depend on the way to the socket, and fill Superset."""
        # What Redis has survives a restart of it.
        self.redis = RedisServer(self.home, "--appendonly", "yes")
        self._processes.callback(self.redis.close)
        self.server = self._start_server(free_port())
        self._processes.callback(self._stop_server)
        self.seeded = self._fill()
        self._start(
            *("worker.log", "celery", "--app=superset.tasks.celery_app:app"),
            *("worker", "--concurrency", str(WORKERS), "--loglevel", "INFO"),
        )
        eventually(self._worker_is_ready, "the Celery worker is ready", PATIENCE)

    def close(self) -> None:
        """Stop everything that runs."""
        self._web.close()
        self._processes.close()

    def serve_directly(self) -> None:
        """Superset and this server on two ports, the socket's origin in `connect-src`."""
        self._web.close()
        self.url = f"http://localhost:{self.http_port}"
        self._start_web(f"ws://localhost:{self.server.port}/ws", INTEROP_OTHER_ORIGINS="1")

    def serve_through_nginx(self) -> None:
        """Both behind the nginx of deploy/proxies, with Superset's own Content Security Policy."""
        self._web.close()
        upstreams, body = documented_with_superset(self.server.port, self.http_port)
        nginx = Nginx(self.home / "nginx", upstream=upstreams, server=body)
        self._web.callback(nginx.stop)
        self.url = f"http://localhost:{nginx.port}"
        self._start_web(nginx.url())

    def restart_server(self, between: Any) -> None:
        """Stop this server, call `between()`, start it on the same port."""
        assert self.server.terminate() == 0
        between()
        self.server = self._start_server(self.server.port)

    def forget_results(self) -> None:
        """The next page's charts find nothing in the cache, so they are computed again."""
        with redis.Redis(port=self.redis.port, db=RESULTS_DB) as results:
            results.flushdb()

    def slow_queries(self, seconds: float) -> None:
        """How long each query takes from now on."""
        (self.home / "slowness.json").write_text(json.dumps(seconds))

    def events_written(self) -> int:
        """How many Superset has written so far."""
        return int(self.redis.client.xlen("async-events-full"))

    def guest_token(self) -> str:
        """What an application that embeds the dashboard gets from Superset for its reader."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        headers = {"Content-Type": "application/json"}

        def ask(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(self.url + path, data, headers)
            with opener.open(request, timeout=60) as response:
                return json.load(response)

        login = {"username": USERS[0], "password": PASSWORD, "provider": "db"}
        access = ask("/api/v1/security/login", login)["access_token"]
        headers["Authorization"] = f"Bearer {access}"
        headers["X-CSRFToken"] = ask("/api/v1/security/csrf_token/")["result"]
        dashboard = {"type": "dashboard", "id": self.seeded["embedded"]}
        guest = {"user": {"username": "guest"}, "resources": [dashboard], "rls": []}
        return str(ask("/api/v1/security/guest_token/", guest)["token"])

    def _start_server(self, port: int) -> Server:
        return Server(self.home, self.redis.port, port=port, environ={"LOG_LEVEL": "verbose"})

    def _stop_server(self) -> None:
        self.server.stop()  # the one of now

    def _fill(self) -> dict[str, Any]:
        self._run("superset", "db", "upgrade")
        self._run("superset", "init")
        printed = self._run("python", str(ROOT / "interop" / "seed.py"), str(self.home / "data.db"))
        seeded: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return seeded

    def _run(self, program: str, *arguments: str) -> str:
        with (self.home / "setup.log").open("a") as log:
            done = subprocess.run(
                [self.environment.program(program), *arguments],
                cwd=self.home,
                env=self._environ(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        assert not done.returncode, f"{program} failed, see {log.name}"
        return done.stdout

    def _start_web(self, websocket_url: str, **environ: str) -> None:
        self._start(
            *("web.log", "gunicorn", "--worker-class", "gthread", "--threads", "16"),
            *("--bind", f"127.0.0.1:{self.http_port}", "--timeout", "120"),
            "superset.app:create_app()",
            until=self._web,
            INTEROP_WEBSOCKET_URL=websocket_url,
            **environ,
        )
        eventually(self._web_answers, "Superset answers", PATIENCE)

    def _start(self, log: str, program: str, *arguments: str, **options: Any) -> None:
        until = options.pop("until", self._processes)
        with (self.home / log).open("ab") as output:
            process = subprocess.Popen(
                [self.environment.program(program), *arguments],
                cwd=self.home,
                env=self._environ() | options,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        until.callback(_stop, process)

    def _environ(self) -> dict[str, str]:
        # The worker's page never opens a socket, but the setting must be there.
        return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {
            "INTEROP_HOME": str(self.home),
            "INTEROP_REDIS_PORT": str(self.redis.port),
            "INTEROP_JWT_SECRET": SECRET,
            "INTEROP_WEBSOCKET_URL": "",
            "FLASK_APP": "superset.app:create_app()",
            "SUPERSET_CONFIG_PATH": str(ROOT / "interop" / "superset_config.py"),
            "SUPERSET_HOME": str(self.home),
        }

    def _web_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _worker_is_ready(self) -> bool:
        return " ready." in (self.home / "worker.log").read_text(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
