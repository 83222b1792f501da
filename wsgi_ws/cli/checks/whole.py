# SPDX-License-Identifier: Apache-2.0
"""The whole check: which parts are looked at, in which order, and what one part tells the next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from wsgi_ws.cli.checks import browser as check_browser
from wsgi_ws.cli.checks import configuration as check_config
from wsgi_ws.cli.checks import machine as check_machine
from wsgi_ws.cli.checks import redis as check_redis
from wsgi_ws.cli.checks import streams as check_streams
from wsgi_ws.cli.checks import superset as check_superset
from wsgi_ws.cli.checks import url as check_url
from wsgi_ws.cli.checks.findings import Finding, red, yellow
from wsgi_ws.cli.checks.report import Report
from wsgi_ws.config.from_superset import own_values
from wsgi_ws.config.keys import RedisSettings, json_key
from wsgi_ws.config.load import Loaded
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.superset import settings as superset_settings
from wsgi_ws.superset.settings import SupersetError, SupersetSettings, Unknown

# The keys that a part of the check needs.
_READING = ("redis", "redisStreamPrefix")
_END_TO_END = ("jwtSecret", "jwtAlgorithms", "jwtCookieName", "jwtChannelIdKey", *_READING)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What besides the configuration is to be looked at.

    :ivar superset: path or dotted name of Superset's settings, if not the configuration's.
    :ivar python: the interpreter that reads them.
    :ivar page: where users open Superset.
    """

    superset: str | None = None
    python: str = sys.executable
    page: str | None = None
    url: check_url.Options | None = None


def run(environ: Mapping[str, str], wishes: Wishes) -> Report:
    """Look at everything that can be looked at."""
    loaded, findings = check_config.check(environ)
    if loaded is None:
        return Report((), findings)
    findings += check_machine.check(loaded)
    findings += _unless_wrong(loaded, _READING, check_redis.WHAT, lambda: _redis(environ, loaded))
    superset, reading = _read_superset(
        environ, wishes.superset or loaded.settings.superset_config, wishes.python
    )
    findings += reading
    if superset:
        findings += check_superset.check(superset, loaded, one_redis=_one_redis(superset, loaded))
        findings += check_browser.check(superset, loaded, wishes.page)
    if wishes.url:
        options = wishes.url
        findings += _unless_wrong(
            loaded, _END_TO_END, check_url.WHAT, lambda: _url(options, loaded, superset)
        )
    return Report(check_config.values(loaded), findings)


def writers_redis(superset: SupersetSettings, own: RedisSettings) -> RedisSettings | None:
    """Superset's Redis as settings of here; None when part of them is unknown.

    What Superset's settings don't speak of, such as the Sentinels' TLS, is taken from `own`.
    """
    values: dict[str, Any] = {"host": "", "unix_socket_path": "", "sentinels": ()}
    said = own_values(superset)
    for name in (f.name for f in fields(RedisSettings)):
        entry = said.get("redis." + json_key(name))
        if entry and isinstance(entry.value, Unknown):
            return None
        if entry:
            values[name] = entry.value
    return replace(own, **values)


def _unless_wrong(
    loaded: Loaded, paths: Sequence[str], what: str, look: Callable[[], list[Finding]]
) -> list[Finding]:
    """What is said of a default that nobody has meant would only mislead."""
    wrong = loaded.wrong_among(*paths)
    if wrong:
        return [yellow(what, f"not looked at, as long as {', '.join(wrong)} can't be used")]
    return look()


def _redis(environ: Mapping[str, str], loaded: Loaded) -> list[Finding]:
    container = check_config.in_container(environ)
    client, findings = check_redis.check(loaded, container=container)
    if client:
        with client:
            findings += check_streams.check(client, loaded)
    return findings


def _read_superset(
    environ: Mapping[str, str], wanted: str, python: str
) -> tuple[SupersetSettings | None, list[Finding]]:
    if not wanted:
        return None, []
    try:
        target = superset_settings.target_of(wanted, environ)
        return superset_settings.read(target, environ, python), []
    except SupersetError as error:
        return None, [red(check_superset.WHAT, str(error))]


def _one_redis(superset: SupersetSettings, loaded: Loaded) -> bool | None:
    """Asked only when the addresses differ: a question to two servers."""
    own = loaded.settings.redis
    theirs = writers_redis(superset, own)
    if theirs is None or loaded.wrong_among("redis"):
        return None
    if describe(replace(theirs, db=own.db)) == describe(own):
        return True
    return check_redis.same_server(own, theirs)


def _url(
    options: check_url.Options, loaded: Loaded, superset: SupersetSettings | None
) -> list[Finding]:
    writer = writers_redis(superset, loaded.settings.redis) if superset else None
    prefix = superset.get(superset_settings.PREFIX) if superset else None
    findings = check_url.check(options, loaded, writer, prefix if isinstance(prefix, str) else None)
    said = superset.said(superset_settings.WEBSOCKET_URL) if superset else None
    if said and isinstance(said.value, str) and said.value.rstrip("/") != options.url.rstrip("/"):
        findings.append(
            yellow(
                check_url.WHAT,
                f"browsers are sent to {said.value} ({said}), not to {options.url}, which was "
                "tried here",
            )
        )
    return findings
