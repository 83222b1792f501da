# SPDX-License-Identifier: Apache-2.0
"""Starts everything that `make run` shows, waits for Ctrl-C and stops what it started.

The server is the real one, started as in production; around it a Redis when none is configured,
and a small web application in Superset's place. Everything listens on the loopback only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from werkzeug.serving import WSGIRequestHandler, make_server

from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import ConfigError, load
from wsgi_ws.demo import redis_finder
from wsgi_ws.demo.cleaner import Cleaner
from wsgi_ws.demo.guard import HOSTS
from wsgi_ws.demo.processes import DemoError, Gunicorn, OwnRedis
from wsgi_ws.demo.runner import Runner
from wsgi_ws.demo.sessions import Sessions, Signers
from wsgi_ws.demo.web import create_app
from wsgi_ws.sources import redis_client
from wsgi_ws.superset import producer, realtime
from wsgi_ws.superset.token import RealtimeSigner, Signer
from wsgi_ws.transport import Transport, cookie_name, offered

DEFAULT_PAGE_PORT = 8081
PORTS_TO_TRY = 100


class QuietHandler(WSGIRequestHandler):
    """Leaves the terminal to the server's log."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> int:
    """Run the demo until a signal; returns the exit code."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(stop)
    except (DemoError, ConfigError, redis_finder.RedisNotFound) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def run(stop: threading.Event) -> None:
    """Start, watch and stop everything."""
    environment = dict(os.environ, JWT_ALGORITHMS="HS256")
    settings = _settings(environment)
    page_port = _free_port(_page_port(os.environ.get("DEMO_PORT", "")))
    port = _free_port(settings.port, taken=page_port)
    if port != settings.port:
        _say(f"Port {settings.port} is taken, the server gets {port}.")
    environment["PORT"] = str(port)
    environment["ALLOWED_ORIGINS"] = ",".join(f"http://{host}:{page_port}" for host in HOSTS)

    with contextlib.ExitStack() as cleanup:
        cleaner = Cleaner()
        cleanup.callback(cleaner.close)
        redis_settings, own_redis = settings.redis, None
        if redis_finder.answers(redis_settings):
            _say(f"Redis: the one at {redis_client.describe(redis_settings)}.")
        else:
            own_redis = OwnRedis(cleaner)
            cleanup.callback(own_redis.close)
            redis_settings = own_redis.settings
            environment.update(redis_finder.environment(redis_settings))
            _say(f"Redis: none configured answers, started one on port {redis_settings.port}.")

        server = Gunicorn(environment, port, cleaner)
        cleanup.callback(server.close)
        server.wait_for_health(stop)

        client = cleanup.enter_context(redis_client.connect(redis_settings, read_timeout=5))
        prefix = settings.redis_stream_prefix
        # Superset's default limits would remove others' entries where theirs is higher.
        trimmed = own_redis is not None
        runner = Runner(
            lambda event: producer.publish(client, prefix, event, trimmed=trimmed),
            lambda m: realtime.publish(client, settings.realtime_channel_prefix, *m),
        )
        cleanup.callback(runner.stop)
        app = create_app(
            Sessions(_signers(settings)),
            runner,
            server,
            own_redis,
            offered(settings.transports),
            port,
            token=secrets.token_urlsafe(),
        )
        cleanup.enter_context(_served(app, page_port))
        if not stop.is_set():
            _say(f"\n  Open  http://localhost:{page_port}/\n  Stop  Ctrl-C\n")
        while not stop.wait(0.2):
            server.raise_if_ended()
            if own_redis is not None:
                own_redis.raise_if_ended()


def _settings(environment: dict[str, str]) -> Settings:
    """The configuration; a secret for this run only where none is configured."""
    try:
        return load(environment).settings
    except ConfigError as error:
        environment["JWT_SECRET"] = secrets.token_hex(32)
        try:
            settings = load(environment).settings
        except ConfigError:
            raise error from None
        _say("JWT secret: a random one for this run, as none of 32 bytes is configured.")
        return settings


def _signers(settings: Settings) -> Signers:
    """As the two generations of Superset would be set up for this server."""
    names = {t: cookie_name(t, settings.jwt_cookie_name) for t in Transport}
    secret = settings.jwt_secret
    return Signers(
        Signer(secret, names[Transport.STREAMS], settings.jwt_channel_id_key),
        RealtimeSigner(secret, names[Transport.REALTIME]),
    )


@contextlib.contextmanager
def _served(app: object, port: int) -> Iterator[None]:
    """Serve the demo's page in a thread."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _page_port(text: str) -> int:
    """The value of DEMO_PORT, or the default for a blank one."""
    if not text.strip():
        return DEFAULT_PAGE_PORT
    if text.strip().isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise DemoError(f"DEMO_PORT={text} is no port: choose a number from 1 to 65535")


def _free_port(first: int, taken: int | None = None) -> int:
    """The first free port of the loopback from this number on."""
    for port in range(first, min(first + PORTS_TO_TRY, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port != taken:
                    return port
    raise DemoError(f"no free port from {first} on: choose one with PORT and DEMO_PORT")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
