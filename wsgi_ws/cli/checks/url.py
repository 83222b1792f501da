# SPDX-License-Identifier: Apache-2.0
"""End to end: a handshake as a browser does it, through whatever proxy is there, and one event.

Makes a token and a throw-away channel of its own. The event is written where Superset writes, if
Superset's settings are known, else where this configuration reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import redis

from wsgi_ws.cli.checks.browser import bad_url
from wsgi_ws.cli.checks.configuration import source_of
from wsgi_ws.cli.checks.findings import Finding, green, red, yellow
from wsgi_ws.cli.checks.redis import explain, permission_sentence
from wsgi_ws.cli.publish import event, forget, publish
from wsgi_ws.cli.socket_client import Ended, Refused, Socket, Trust, Unreachable
from wsgi_ws.cli.token import NoToken, cookie
from wsgi_ws.config.keys import RedisSettings
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import connect, describe
from wsgi_ws.superset.producer import new_channel

WHAT = "url"
PATIENCE = 5.0  # seconds for the event, and for the handshake
REDIS_TIMEOUT = 5.0
NGINX = (
    "in nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade"'
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to ask.

    :ivar page: Superset's address, for the `Origin`; by default the URL's own host.
    :ivar hold: seconds to keep the socket open afterwards, to see whether a proxy cuts it.
    """

    url: str
    page: str | None = None
    trust: Trust = field(default_factory=Trust)
    hold: float = 0.0


def check(
    options: Options, loaded: Loaded, writer: RedisSettings | None, prefix: str | None
) -> list[Finding]:
    """
    :param writer: where Superset writes; None: where this configuration reads.
    :param prefix: likewise.
    """
    problem = bad_url(options.url)
    if problem:
        return [red(WHAT, f"the URL {problem}")]
    channel = new_channel()
    try:
        headers = {
            "Cookie": cookie(loaded.settings, channel, expires_in=3600),
            "Origin": _origin(options),
        }
    except NoToken as error:
        return [yellow(WHAT, f"{options.url} can't be tried: {error}")]
    try:
        with Socket(options.url, headers, trust=options.trust, timeout=PATIENCE) as client:
            more = "" if options.hold else " (--hold 65 shows whether a proxy cuts quiet sockets)"
            findings = [green(WHAT, f"{options.url} takes the handshake{more}")]
            findings.append(_deliver(client, channel, loaded, writer, prefix, options.url))
            if options.hold and not findings[-1].level:
                findings.append(_hold(client, options, loaded))
            return findings
    except Unreachable as error:
        return [red(WHAT, unreachable(error, options.url) + _directly(options, loaded, headers))]
    except Refused as refusal:
        sentence = refused(refusal, options.url, loaded)
        return [red(WHAT, sentence + _directly(options, loaded, headers))]
    except Ended as error:
        return [red(WHAT, f"{options.url} takes the handshake, but the socket ends: {error}")]


# --- the event -----------------------------------------------------------------------------------


def _deliver(
    client: Socket,
    channel: str,
    loaded: Loaded,
    writer: RedisSettings | None,
    prefix: str | None,
    url: str,
) -> Finding:
    settings = writer or loaded.settings.redis
    stream_prefix = prefix or loaded.settings.redis_stream_prefix
    producer = connect(settings, read_timeout=REDIS_TIMEOUT)
    message = event(channel)
    try:
        begin = time.monotonic()
        publish(producer, stream_prefix, message)
        arrived = _await(client, message["job_id"])
        took = (time.monotonic() - begin) * 1000
    except redis.exceptions.NoPermissionError as error:
        return yellow(WHAT, f"no test event: {permission_sentence('XADD', error, loaded)}")
    except (redis.RedisError, OSError) as error:
        if writer:
            return yellow(
                WHAT, f"no test event: Superset's Redis at {describe(writer)} is out of reach here"
            )
        return red(WHAT, f"no test event: {explain(error, loaded)}")
    finally:
        forget(producer, stream_prefix, channel)
        producer.close()
    where = f"{describe(settings)}, streams {stream_prefix}…"
    if not arrived:
        return red(
            WHAT,
            f"an event written to {where} does not reach {url} within {PATIENCE:.0f} s: the server "
            "there reads another Redis, database or prefix; compare its configuration with "
            + ("Superset's" if writer else "this one"),
        )
    return green(WHAT, f"an event written to {where} has reached {url} in {took:.0f} ms")


def _await(client: Socket, job_id: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while True:
        text = client.receive(max(0.0, deadline - time.monotonic()))
        if text is None:
            return False
        if json.loads(text).get("job_id") == job_id:
            return True


def _hold(client: Socket, options: Options, loaded: Loaded) -> Finding:
    begin = time.monotonic()
    try:
        while (rest := begin + options.hold - time.monotonic()) > 0:
            client.receive(rest)
    except Ended as error:
        seconds = time.monotonic() - begin
        interval = loaded.settings.ping_sockets_interval_ms / 1000
        if error.code:
            return red(WHAT, f"the socket was closed after {seconds:.0f} s: {error}")
        return red(
            WHAT,
            f"the quiet socket was cut after {seconds:.0f} s: a proxy's read time-out is shorter "
            f"than the {interval:.0f} s between two pings; raise it (in nginx: proxy_read_timeout "
            "120s), or lower pingSocketsIntervalMs",
        )
    return green(WHAT, f"the socket stays open when it is quiet for {options.hold:.0f} s")


# --- what an answer means ------------------------------------------------------------------------


def unreachable(error: Unreachable, url: str) -> str:
    """No HTTP answer at all."""
    parts = urlsplit(url)
    meanings: dict[str, Callable[[], str]] = {
        "unknown_host": lambda: f"the host name {parts.hostname} is not known here",
        "refused": lambda: f"nothing listens at {parts.netloc}: start the server, or its proxy",
        "timeout": lambda: f"{parts.netloc} does not answer: a firewall may drop the packets",
        "network": lambda: f"{parts.netloc} can't be reached: {error}",
        "silent": lambda: f"{url} takes the connection, but sends no answer",
        "certificate": lambda: (
            f"the certificate of {parts.netloc} is not trusted ({error}): if it is your own, name "
            "its CA with --cacert; browsers must trust it too"
        ),
        "tls": lambda: _about_tls(parts, str(error)),
        "no_http": lambda: f"{parts.netloc} does not speak HTTP, or wants TLS: try wss://",
        "cut": lambda: (
            f"{url} ends the connection without an answer: the Node server does so with a cookie "
            "that it refuses, and so does a port that wants TLS (wss://)"
        ),
    }
    return meanings[error.kind]()


def refused(refusal: Refused, url: str, loaded: Loaded) -> str:
    """An HTTP answer instead of the 101."""
    status, ours = refusal.status, _is_ours(refusal)
    if status == 401 and ours:
        return (
            f"the server behind {url} refuses this configuration's token (401): it has another "
            f"jwtSecret or jwtCookieName than here (jwtSecret from "
            f"{source_of('jwtSecret', loaded)}), or the proxy removes the Cookie header; its log "
            "says which"
        )
    if status == 403 and ours:
        return (
            f"the server behind {url} takes the page for a foreign one (403): let the proxy pass "
            "on the host name (in nginx: proxy_set_header Host $host), or add the page to "
            "allowedOrigins"
        )
    if ours and (status in (404, 426) or _lacks_upgrade(refusal)):
        return (
            f"the request reaches the server behind {url} without its upgrade ({status}): the "
            f"proxy does not pass on the headers Upgrade and Connection; {NGINX}"
        )
    if ours and status == 400:
        return (
            f"the server behind {url} finds the handshake malformed (400: "
            f"{refusal.body.strip()[:200]}): look at the proxy; {NGINX}"
        )
    if ours and status == 503:
        return f"the server behind {url} takes nobody at present: {refusal.body.strip()[:200]}"
    return _not_ours(refusal, url)


def _not_ours(refusal: Refused, url: str) -> str:
    status = refusal.status
    if 300 <= status < 400:
        where = refusal.headers.get("location", "nowhere")
        better = where.replace("http", "ws", 1) if where.startswith("http") else where
        return (
            f"{url} redirects to {where} ({status}), and browsers do not follow that with a "
            f"WebSocket: write {better}, or send this path to the WebSocket server in the proxy"
        )
    if status in (502, 503, 504):
        return (
            f"the proxy at {url} can't reach the WebSocket server ({status}): correct the address "
            "in its proxy_pass, or start the server"
        )
    who = refusal.headers.get("server", "some server")
    if status in (401, 403, 407):
        return (
            f"{who} in front of {url} wants its own log-in ({status}): let this path through to "
            "the WebSocket server, which looks at the cookie itself"
        )
    if status == 400 and "HTTPS" in refusal.body:
        return f"{url} is a port for TLS: write wss://"
    return (
        f"{who} answers {url} itself ({status}), and not the WebSocket server: the path is not "
        "routed to it in the proxy, or the host or port in the URL is another's"
    )


def _is_ours(refusal: Refused) -> bool:
    """This server's refusals are short plain texts that repeat the status, or its 404."""
    body = refusal.body.strip()
    plain = refusal.headers.get("content-type", "").startswith("text/plain")
    return plain and (body == "Not Found" or body.startswith(f"{refusal.status} "))


def _lacks_upgrade(refusal: Refused) -> bool:
    return "Connection" in refusal.body or "HTTP/1.0" in refusal.body


def _about_tls(parts: SplitResult, detail: str) -> str:
    # A server that speaks none answers in plain text, or waits for the end of a request.
    if any(
        word in detail for word in ("WRONG_VERSION", "RECORD_LAYER", "HTTP_REQUEST", "timed out")
    ):
        return (
            f"{parts.netloc} speaks no TLS: wss:// needs a proxy that does (this server itself "
            "speaks none), or write ws:// if the page is http"
        )
    return f"TLS with {parts.netloc} fails: {detail}"


def _directly(options: Options, loaded: Loaded, headers: dict[str, str]) -> str:
    """Whether the server on this machine would have taken the same handshake."""
    port = loaded.settings.port
    parts = urlsplit(options.url)
    if parts.port == port:
        return ""
    plain = parts._replace(scheme="ws").geturl()
    try:
        with Socket(plain, headers, timeout=2.0, address=("127.0.0.1", port)):
            return f". The server on port {port} of this machine takes the same handshake"
    except (Unreachable, Refused, Ended):
        return ""


def _origin(options: Options) -> str:
    if options.page:
        page = urlsplit(options.page)
        return f"{page.scheme}://{page.netloc}"
    parts = urlsplit(options.url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
