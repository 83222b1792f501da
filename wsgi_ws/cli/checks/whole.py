# SPDX-License-Identifier: Apache-2.0
"""The whole check: its parts in order, and what each part passes to the next."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from wsgi_ws.cli.checks.browser import check_browser
from wsgi_ws.cli.checks.configuration import check_configuration, shown_values
from wsgi_ws.cli.checks.machine import check_machine, in_container
from wsgi_ws.cli.checks.realtime import check_realtime
from wsgi_ws.cli.checks.redis import WHAT as REDIS
from wsgi_ws.cli.checks.redis import check_redis, same_server, while_it_answers
from wsgi_ws.cli.checks.report import Report
from wsgi_ws.cli.checks.streams import check_streams
from wsgi_ws.cli.checks.superset import check_superset, compared, transport_of
from wsgi_ws.cli.checks.url import WHAT as URL
from wsgi_ws.cli.checks.url import UrlOptions, check_url
from wsgi_ws.cli.checks.values import check_values
from wsgi_ws.cli.checks.words import SUPERSET, Finding, is_followed, red, yellow
from wsgi_ws.cli.trial import RealtimeTrial, StreamsTrial, Trial
from wsgi_ws.config.from_superset import names_redis, values_of
from wsgi_ws.config.keys import RedisSettings, json_key
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.meanings import BadValue, sentinels
from wsgi_ws.sources.redis_client import describe
from wsgi_ws.superset import names
from wsgi_ws.superset import settings as superset_settings
from wsgi_ws.superset.names import SEVEN, SIX, Generation
from wsgi_ws.superset.settings import Said, SupersetError, SupersetSettings, Unknown
from wsgi_ws.transport import Transport

# The keys that a part of the check needs.
_READING = ("redis", "redisStreamPrefix", "realtimeChannelPrefix", "transports")
_TOKEN = ("jwtSecret", "previousJwtSecret", "jwtAlgorithms", "jwtCookieName", "jwtChannelIdKey")
_END_TO_END = (*_TOKEN, *_READING)
# What Superset calls the prefix of each transport.
_PREFIXES = {Transport.STREAMS: names.PREFIX, Transport.REALTIME: names.CHANNEL_PREFIX}


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What to look at besides the configuration.

    :ivar superset: path or dotted name of Superset's settings, if not the configuration's.
    :ivar python: the interpreter that reads them.
    :ivar page: where users open Superset.
    :ivar url: the WebSocket to try end to end, if any.
    """

    superset: str | None = None
    python: str = sys.executable
    page: str | None = None
    url: UrlOptions | None = None


def check_all(environ: Mapping[str, str], options: CheckOptions) -> Report:
    """Look at all parts whose keys can be used."""
    container = in_container(environ)
    loaded, findings = check_configuration(environ, container=container)
    if loaded is None:
        return Report((), findings)
    findings += check_machine(loaded)
    superset, reading = _read_superset(
        environ, options.superset or loaded.settings.superset_config, options.python
    )
    needed = frozenset(map(transport_of, compared(superset)) if superset else ())
    findings += _unless_wrong(
        loaded, _READING, REDIS, lambda: _look_at_redis(loaded, needed, container=container)
    )
    findings += reading
    if superset:
        findings += check_superset(superset, loaded)
        for generation in _to_compare(superset, loaded):
            one_redis = _one_redis(superset, loaded, generation)
            findings += check_values(superset, loaded, generation, one_redis=one_redis)
            findings += check_browser(superset, loaded, options.page, generation)
    url = options.url
    if url:
        findings += _unless_wrong(loaded, _END_TO_END, URL, lambda: _try_url(url, loaded, superset))
    return Report(shown_values(loaded), findings)


def _to_compare(superset: SupersetSettings, loaded: Loaded) -> Sequence[Generation]:
    """Of a file for two generations those that are followed: `check_superset` tells of others."""
    looked_at = compared(superset)
    followed = [g for g in looked_at if is_followed(transport_of(g), loaded)]
    return followed or looked_at


def writers_redis(
    superset: SupersetSettings, own: RedisSettings, generation: Generation
) -> RedisSettings | None:
    """Superset's Redis as settings of here; None when part of them is unknown.

    What Superset's settings don't speak of, such as the Sentinels' TLS, is taken from `own`.
    """
    values: dict[str, Any] = {"host": "", "unix_socket_path": "", "sentinels": ()}
    if not names_redis(superset, generation) and generation is SEVEN:
        return None
    said = values_of(superset, generation)
    for name in (f.name for f in fields(RedisSettings)):
        entry = said.get("redis." + json_key(name))
        if entry and isinstance(entry.value, Unknown):
            return None
        if entry:
            values[name] = entry.value
    try:
        values["sentinels"] = sentinels(values["sentinels"])
    except BadValue:
        return None
    return replace(own, **values)


def _unless_wrong(
    loaded: Loaded, paths: Sequence[str], what: str, look: Callable[[], list[Finding]]
) -> list[Finding]:
    """Skip a part whose keys are wrong: it would judge defaults that nobody chose."""
    wrong = loaded.wrong_among(*paths)
    if wrong:
        return [yellow(what, f"not looked at, as long as {', '.join(wrong)} can't be used")]
    return look()


def _look_at_redis(
    loaded: Loaded, needed: Collection[Transport], *, container: bool
) -> list[Finding]:
    """
    :param needed: what Superset uses; empty when that is not known.
    """
    usable, findings = check_redis(loaded, needed, container=container)
    if usable.client:
        with usable.client as client:
            looks: dict[Transport, Callable[[bool | None], list[Finding]]] = {
                Transport.STREAMS: lambda used: check_streams(client, loaded, used),
                Transport.REALTIME: lambda used: [check_realtime(client, loaded, used)],
            }
            for transport, look in looks.items():
                if transport in usable.transports:
                    used = _is_used(transport, needed)
                    findings += while_it_answers(
                        functools.partial(look, used), loaded, container=container
                    )
    return findings


def _is_used(transport: Transport, needed: Collection[Transport]) -> bool | None:
    return transport in needed if needed else None


def _read_superset(
    environ: Mapping[str, str], wanted: str, python: str
) -> tuple[SupersetSettings | None, list[Finding]]:
    if not wanted:
        return None, []
    try:
        target = superset_settings.target_of(wanted, environ)
        return superset_settings.read(target, environ, python), []
    except SupersetError as error:
        return None, [red(SUPERSET, str(error))]


def _one_redis(superset: SupersetSettings, loaded: Loaded, generation: Generation) -> bool | None:
    """Whether both addresses lead to one Redis; None if unknown. Asks only if they differ."""
    own = loaded.settings.redis
    theirs = writers_redis(superset, own, generation)
    if theirs is None or loaded.wrong_among("redis"):
        return None
    if describe(replace(theirs, db=own.db)) == describe(own):
        return True
    return same_server(own, theirs)


def _try_url(
    options: UrlOptions, loaded: Loaded, superset: SupersetSettings | None
) -> list[Finding]:
    trials = list(_trials(loaded, superset))
    findings = check_url(options, loaded, trials)
    for generation in superset_settings.generations(superset) if superset else ():
        findings += _compare_url(options, superset.said(generation.url) if superset else None)
    return findings


def _trials(loaded: Loaded, superset: SupersetSettings | None) -> Iterator[Trial]:
    """One for each transport that is followed here and that Superset uses, as far as is known."""
    settings = loaded.settings
    used = superset_settings.generations(superset) if superset else (SIX, SEVEN)
    for generation, transport, prefix in (
        (SIX, Transport.STREAMS, settings.redis_stream_prefix),
        (SEVEN, Transport.REALTIME, settings.realtime_channel_prefix),
    ):
        if generation not in used or not is_followed(transport, loaded):
            continue
        server = writers_redis(superset, settings.redis, generation) if superset else None
        said = superset.get(_PREFIXES[transport]) if superset else None
        make = StreamsTrial if transport is Transport.STREAMS else RealtimeTrial
        yield make(
            server or settings.redis,
            said if isinstance(said, str) else prefix,
            is_writers=server is not None,
        )


def _compare_url(options: UrlOptions, said: Said | None) -> Iterator[Finding]:
    if said and isinstance(said.value, str) and said.value.rstrip("/") != options.url.rstrip("/"):
        yield yellow(
            URL,
            f"browsers are sent to {said.value} ({said}), not to {options.url}, which was tried "
            "here",
        )
