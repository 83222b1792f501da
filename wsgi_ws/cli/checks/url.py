# SPDX-License-Identifier: Apache-2.0
"""End to end: a browser's handshake, through the proxies if there are any, and one event.

With a token and a throw-away channel of its own, once for each transport. The event is written
where Superset writes, if Superset's settings are known, else where this configuration reads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import redis

from wsgi_ws.addresses import is_loopback
from wsgi_ws.cli.checks.words import Finding, green, red, yellow
from wsgi_ws.cli.redis_errors import TIMEOUT, explain, explain_write
from wsgi_ws.cli.socket_client import Ended, Refused, Socket, Trust, Unreachable
from wsgi_ws.cli.socket_errors import (
    bad_url,
    explain_long_cookies,
    explain_refused,
    explain_unreachable,
)
from wsgi_ws.cli.token import NoToken
from wsgi_ws.cli.trial import Trial
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import connect, describe

WHAT = "url"
LONG_COOKIES = 12 * 1024  # bytes: beyond the usual limit of nginx and Apache, 8 KiB
TOO_LONG = (400, 413, 431)  # what servers answer then
PATIENCE = 5.0  # seconds for the event, and for the handshake


@dataclass(frozen=True, slots=True)
class UrlOptions:
    """How to ask.

    :ivar page: Superset's address, for the `Origin`; by default the URL's own host.
    :ivar hold: seconds to keep the socket open afterwards, to see whether a proxy cuts it.
    """

    url: str
    page: str | None = None
    trust: Trust = field(default_factory=Trust)
    hold: float = 0.0


def check_url(options: UrlOptions, loaded: Loaded, trials: Sequence[Trial]) -> list[Finding]:
    """
    :param trials: one for each transport; what is not of a transport is looked at with the first.
    """
    problem = bad_url(options.url)
    if problem:
        return [red(WHAT, f"the URL {problem}")]
    strangers = _strangers(options)
    if strangers:
        return [red(WHAT, strangers)]
    if not trials:
        return [
            yellow(WHAT, f"{options.url} is not tried: Superset uses no transport of this server")
        ]
    first, *others = (_try(options, loaded, trial, is_first=trial is trials[0]) for trial in trials)
    # What keeps both out, such as a proxy's answer, is told once.
    return list(dict.fromkeys([*first, *(f for findings in others for f in findings)]))


def _try(options: UrlOptions, loaded: Loaded, trial: Trial, *, is_first: bool) -> list[Finding]:
    url = trial.url(options.url)
    try:
        headers = _headers(options, loaded.settings, trial)
    except NoToken as error:
        return [yellow(WHAT, f"{options.url} can't be tried: {error}")]
    try:
        with Socket(url, headers, trust=options.trust, timeout=PATIENCE) as client:
            hold = options.hold if is_first else 0.0
            more = " (--hold 65 shows whether a proxy cuts quiet sockets)"
            more = "" if hold or not is_first else more
            findings = [green(WHAT, f"{options.url} takes the handshake{trial.whose}{more}")]
            if is_first:
                findings += _check_previous_secret(options, loaded, trial)
                findings += _check_long_cookies(options, loaded, url, headers)
            findings.append(_deliver(client, loaded, trial, options.url))
            if hold and not findings[-1].level:
                findings.append(_hold(client, options, loaded))
            return findings
    except Unreachable as error:
        sentence = explain_unreachable(error, options.url)
        return [red(WHAT, sentence + _directly(url, loaded, headers))]
    except Refused as refusal:
        if refusal.status == 401 and _takes_previous_secret(options, loaded, trial):
            return [red(WHAT, _about_old_server(options, loaded))]
        sentence = explain_refused(refusal, options.url, loaded, page=_origin(options))
        return [red(WHAT, sentence + _directly(url, loaded, headers))]
    except Ended as error:
        return [red(WHAT, f"{options.url} takes the handshake, but the socket ends: {error}")]


def _headers(options: UrlOptions, settings: Settings, trial: Trial) -> dict[str, str]:
    """A browser's; `NoToken` when its token can't be signed."""
    return {"Cookie": trial.cookie(settings), "Origin": _origin(options)}


# --- the page ------------------------------------------------------------------------------------


def _strangers(options: UrlOptions) -> str:
    """Why no cookie of the page can be sent to the URL; empty if one can.

    Below one domain it can, if Superset names that as the cookie's.
    """
    if not options.page:
        return ""
    page, host = (_host(url) for url in (options.page, options.url))
    if page == host or _may_share_a_cookie(page, host):
        return ""
    return (
        f"{page} (--page) and {host} ({options.url}) are two hosts to a browser, which does not "
        "send the cookie of one to the other, whatever the server admits: take the host that users "
        "open for both, in Superset's setting too; to try the server alone, leave out --page"
    )


def _may_share_a_cookie(one: str, other: str) -> bool:
    """Whether two hosts are names below one domain that is more than a top-level one."""
    if is_loopback(one) or is_loopback(other) or ":" in one + other:
        return False
    ends = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    shared = list(itertools.takewhile(lambda labels: labels[0] == labels[1], ends))
    return len(shared) > 1 and not shared[0][0].isdigit()  # the last part of an IPv4 address


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _origin(options: UrlOptions) -> str:
    if options.page:
        page = urlsplit(options.page)
        return f"{page.scheme}://{page.netloc}"
    parts = urlsplit(options.url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"


# --- while one secret takes another's place ------------------------------------------------------


def _check_previous_secret(options: UrlOptions, loaded: Loaded, trial: Trial) -> Iterator[Finding]:
    """A server that takes tokens of jwtSecret may not know the one before."""
    takes = _takes_previous_secret(options, loaded, trial)
    if takes:
        yield green(WHAT, f"{options.url} takes tokens of previousJwtSecret too")
    elif takes is False:
        yield red(
            WHAT,
            f"the server behind {options.url} takes tokens of jwtSecret, but refuses those of "
            f"previousJwtSecret (from {loaded.set_by('previousJwtSecret')}), which browsers have "
            "from before the rotation: set it there too, and restart that server",
        )


def _takes_previous_secret(options: UrlOptions, loaded: Loaded, trial: Trial) -> bool | None:
    """Whether the server admits a token of previousJwtSecret; None when that can't be told."""
    secret = loaded.settings.previous_jwt_secret
    if not secret or secret == loaded.settings.jwt_secret:
        return None
    try:
        settings = replace(loaded.settings, jwt_secret=secret)
        headers = _headers(options, settings, trial)
        with Socket(trial.url(options.url), headers, trust=options.trust, timeout=PATIENCE):
            return True
    except Refused as refusal:
        return False if refusal.status == 401 else None
    except (NoToken, Unreachable, Ended):
        return None


def _about_old_server(options: UrlOptions, loaded: Loaded) -> str:
    return (
        f"the server behind {options.url} takes tokens of previousJwtSecret, but refuses those of "
        f"jwtSecret (from {loaded.set_by('jwtSecret')}; 401): it has not yet been restarted with "
        "both, which comes first; only then may Superset sign with the new one"
    )


# --- the proxy -----------------------------------------------------------------------------------


def _check_long_cookies(
    options: UrlOptions, loaded: Loaded, url: str, headers: dict[str, str]
) -> Iterator[Finding]:
    """The cookies of all applications on the host name: a proxy may take less than this server."""
    if loaded.settings.max_header_bytes < 2 * LONG_COOKIES:  # nobody promises it
        return
    longer = headers | {"Cookie": f"check={'x' * LONG_COOKIES}; {headers['Cookie']}"}
    try:
        with Socket(url, longer, trust=options.trust, timeout=PATIENCE):
            return
    except Refused as refusal:
        if refusal.status in TOO_LONG:
            yield yellow(WHAT, explain_long_cookies(refusal, options.url, LONG_COOKIES))
    except (Unreachable, Ended):
        return  # another trouble, which the other handshakes show


def _directly(url: str, loaded: Loaded, headers: dict[str, str]) -> str:
    """Whether the server on this machine takes the same handshake, so that a proxy is to blame."""
    port = loaded.settings.port
    parts = urlsplit(url)
    if parts.port == port:
        return ""
    plain = parts._replace(scheme="ws").geturl()
    try:
        with Socket(plain, headers, timeout=2.0, address=("127.0.0.1", port)):
            return f". The server on port {port} of this machine takes the same handshake"
    except (Unreachable, Refused, Ended):
        return ""


# --- the event -----------------------------------------------------------------------------------


def _deliver(client: Socket, loaded: Loaded, trial: Trial, url: str) -> Finding:
    producer = connect(trial.server, read_timeout=TIMEOUT)
    try:
        begin = time.monotonic()
        trial.send(producer)
        arrived = _await(client, trial)
        took = (time.monotonic() - begin) * 1000
    except redis.exceptions.NoPermissionError as error:
        return yellow(WHAT, f"no test event: {explain_write(trial.command, error, loaded)}")
    except (redis.RedisError, OSError) as error:
        if trial.is_writers:
            where = describe(trial.server)
            return yellow(WHAT, f"no test event: Superset's Redis at {where} is out of reach here")
        return red(WHAT, f"no test event: {explain(error, loaded)}")
    finally:
        trial.forget(producer)
        producer.close()
    if not arrived:
        return red(
            WHAT,
            f"an event written to {trial.where} does not reach {url} within {PATIENCE:.0f} s: the "
            "server there reads another Redis, database or prefix; compare its configuration with "
            + ("Superset's" if trial.is_writers else "this one"),
        )
    return green(WHAT, f"an event written to {trial.where} has reached {url} in {took:.0f} ms")


def _await(client: Socket, trial: Trial) -> bool:
    deadline = time.monotonic() + PATIENCE
    while True:
        text = client.receive(max(0.0, deadline - time.monotonic()))
        if text is None:
            return False
        if trial.is_it(text):
            return True


def _hold(client: Socket, options: UrlOptions, loaded: Loaded) -> Finding:
    begin = time.monotonic()
    try:
        while (rest := begin + options.hold - time.monotonic()) > 0:
            client.receive(rest)
    except Ended as error:
        seconds = time.monotonic() - begin
        interval = loaded.settings.ping_sockets_interval
        if error.code:
            return red(WHAT, f"the socket was closed after {seconds:.0f} s: {error}")
        return red(
            WHAT,
            f"the quiet socket was cut after {seconds:.0f} s: a proxy's read time-out is shorter "
            f"than the {interval:.0f} s between two pings; raise it (in nginx: proxy_read_timeout "
            "120s), or lower pingSocketsIntervalMs",
        )
    return green(WHAT, f"the socket stays open when it is quiet for {options.hold:.0f} s")
