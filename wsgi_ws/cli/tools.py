# SPDX-License-Identifier: Apache-2.0
"""The commands around the server, with their options. The modules beside this one do the work.

Imported only when one of them is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import redis

from wsgi_ws import __version__
from wsgi_ws.cli import messages, publish, tail, token
from wsgi_ws.cli.checks.machine import installed
from wsgi_ws.cli.checks.report import print_report
from wsgi_ws.cli.checks.url import UrlOptions
from wsgi_ws.cli.checks.whole import CheckOptions, check_all
from wsgi_ws.cli.checks.words import Level, is_followed
from wsgi_ws.cli.program import Program, fail
from wsgi_ws.cli.redis_errors import (
    TIMEOUT,
    explain,
    explain_subscribe,
    explain_write,
    realtime_channel,
)
from wsgi_ws.cli.socket_client import Ended, Refused, Trust, Unreachable
from wsgi_ws.cli.socket_errors import bad_url, explain_refused, explain_unreachable, is_page
from wsgi_ws.config.load import ConfigError, Loaded, load
from wsgi_ws.sources.redis_client import connect
from wsgi_ws.superset import realtime
from wsgi_ws.superset.producer import STATUSES, new_channel
from wsgi_ws.transport import Transport
from wsgi_ws.wording import counted

tools = Program()


def _with_trust(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say whose certificates count; the command gets them as `trust`."""

    @click.option(
        "--cacert",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Trust the certificates of this CA for wss:// (default: the system's).",
    )
    @click.option("--insecure", is_flag=True, help="Accept any certificate for wss://.")
    @functools.wraps(command)
    def with_trust(*arguments: Any, cacert: str | None, insecure: bool, **options: Any) -> None:
        command(*arguments, trust=Trust(cacert, insecure), **options)

    return with_trust


@tools.command(short_help="Find out why no events arrive, and what to change.")
@click.option(
    "--superset",
    metavar="PATH|MODULE",
    help="Compare with Superset's settings: path of superset_config.py, a module's dotted name, or "
    "env for what SUPERSET_CONFIG_PATH names.",
)
@click.option(
    "--python",
    metavar="FILE",
    default=sys.executable,
    show_default=False,
    help="Interpreter that reads Superset's settings, if they import packages of Superset's.",
)
@click.option(
    "--page", metavar="URL", help="Where users open Superset, like https://bi.example.com"
)
@click.option("--url", metavar="URL", help="Connect there as a browser does and wait for an event.")
@click.option(
    "--hold",
    metavar="SECONDS",
    type=float,
    default=0.0,
    help="With --url: stay connected so long, to see whether a proxy cuts quiet sockets "
    "(65 shows most).",
)
@_with_trust
@click.option("--json", "json_wanted", is_flag=True, help="For programs.")
@click.pass_obj
def check(
    environ: Mapping[str, str],
    superset: str | None,
    python: str,
    page: str | None,
    url: str | None,
    hold: float,
    trust: Trust,
    json_wanted: bool,
) -> None:
    """Look for everything that keeps events from arriving, and say how to mend it.

    Exit status: 1 when something is wrong (BAD), 0 otherwise; "look" marks what may be meant so.
    Nothing is changed, except with --url: one event of each transport is written, for a channel and
    a user that no browser has.

    \b
    Examples:
      wsgi-ws check
      wsgi-ws check --superset superset_config.py --page https://bi.example.com
      wsgi-ws check --url wss://bi.example.com/ws --hold 65
      wsgi-ws check --json | jq '.findings[] | select(.level == "red")'
    """
    if hold and not url:
        raise click.UsageError("--hold needs --url")
    if page and not is_page(page):
        raise click.UsageError("--page is an address like https://bi.example.com")
    target = UrlOptions(url, page, trust, hold) if url else None
    report = check_all(environ, CheckOptions(superset, python, page, target))
    print_report(report, json_wanted=json_wanted)
    sys.exit(1 if report.level is Level.RED else 0)


def _transport_option(
    *more: str, default: str, text: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--transport",
        type=click.Choice([*more, *(transport.value for transport in Transport)]),
        default=default,
        show_default=True,
        help=text,
    )


@tools.command("token", short_help="Make a cookie as Superset would.")
@click.argument("channel", required=False)
@_transport_option(default="streams", text="Superset up to 6.1, or Superset 7 (realtime).")
@click.option("--principal", metavar="NAME", help="For realtime: user:42, or guest:… .")
@click.option(
    "--expires-in",
    metavar="SECONDS",
    type=float,
    help="Its end (exp); by default streams' have none, realtime's 15 minutes.",
)
@click.option("--raw", is_flag=True, help="The token alone, without the cookie's name.")
@click.pass_obj
def token_command(
    environ: Mapping[str, str],
    channel: str | None,
    transport: str,
    principal: str | None,
    expires_in: float | None,
    raw: bool,
) -> None:
    """Make a cookie as Superset would, for tests. Whoever has it gets the channel's events.

    \b
    Examples:
      wsgi-ws token                  # for a new channel
      curl -i -N -H "Cookie: $(wsgi-ws token)" -H "Connection: Upgrade" \\
        -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" \\
        -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" http://127.0.0.1:8080/
      wsgi-ws token --transport realtime --principal user:42
    """
    of_seven = transport == Transport.REALTIME.value
    if of_seven and (channel or not _is_principal(principal)):
        raise click.UsageError("a realtime token needs --principal user:…, and no CHANNEL")
    if principal and not of_seven:
        raise click.UsageError("--principal goes with --transport realtime")
    if not of_seven:
        _refuse_principal(channel)
    settings = _load(environ).settings
    name = principal or channel or new_channel()
    make: Callable[..., str] = token.sign if raw else token.cookie
    if of_seven:
        make = token.sign_realtime if raw else token.realtime_cookie
    try:
        click.echo(make(settings, name, expires_in=expires_in))
    except token.NoToken as error:
        fail(str(error))
    if not channel and not of_seven:
        click.echo(f"channel {name}", err=True)


@tools.command("tail", short_help="Show events as they come.")
@click.argument("channel", required=False)
@click.option("--since", metavar="ID", help="Begin after this entry ID; 0 shows all that is kept.")
@click.option("--count", metavar="N", type=click.IntRange(1), help="End after N events.")
@click.option("--url", metavar="URL", help="Get them from the server, as a browser does.")
@_transport_option(
    "auto",
    default="auto",
    text="Which to follow; auto: all that may be, but one socket and --since are of streams.",
)
@_with_trust
@click.option("--json", "json_wanted", is_flag=True, help="Whole events, one JSON object a line.")
@click.pass_obj
def tail_command(
    environ: Mapping[str, str],
    channel: str | None,
    since: str | None,
    count: int | None,
    url: str | None,
    transport: str,
    trust: Trust,
    json_wanted: bool,
) -> None:
    """Show events as they come: of one CHANNEL, or of all (from Redis only). Ctrl-C ends it.

    Of messages (realtime) CHANNEL is a principal, like user:42.

    \b
    Examples:
      wsgi-ws tail                   # does Superset write anything?
      wsgi-ws tail --since 0 --json
      wsgi-ws tail 8d6c… --url ws://127.0.0.1:8080/
      wsgi-ws tail user:42 --transport realtime
    """
    of_seven = transport == Transport.REALTIME.value
    if since and of_seven:
        raise click.UsageError("--since goes with streams: Redis keeps no messages")
    if of_seven and channel and not _is_principal(channel):
        raise click.UsageError("messages are for user:… or guest:…, or for everybody")
    if since or (url and not of_seven) or transport == Transport.STREAMS.value:
        _refuse_principal(channel)
    loaded = _load(environ)
    problem = bad_url(url) if url else None
    if problem:
        fail(f"the URL {problem}")
    begin = tail.entry_id(since) if since else None
    if since and begin is None:
        fail(f"--since {since!r} is no entry ID: write one like 1700000000000-0, or 0 for all")
    with _one_line_about_errors(loaded, url or ""):
        if not url:
            single = "streams" if since else transport
            events = _from_redis(loaded, channel, begin, single)
        elif channel and of_seven:
            events = tail.messages_from_server(loaded.settings, channel, url, trust)
        elif channel:
            events = tail.from_server(loaded.settings, channel, begin, url, trust)
        else:
            raise click.UsageError("a socket gets one channel's events: name it")
        _print_events(events, count, json_wanted)


def _from_redis(
    loaded: Loaded, channel: str | None, begin: Any, transport: str
) -> Iterator[dict[str, Any]]:
    """All that is to be followed; of `auto` that which the configuration has and Redis permits."""
    sources = {
        Transport.STREAMS: tail.from_redis(loaded.settings, channel, begin),
        Transport.REALTIME: messages.from_channel(loaded.settings, channel),
    }
    wanted = {
        kind: source
        for kind, source in sources.items()
        if transport == kind.value or (transport == "auto" and is_followed(kind, loaded))
    }

    def leave_out(kind: Transport, error: Exception) -> None:
        why = explain_subscribe(error, loaded) if kind is Transport.REALTIME else str(error)
        click.echo(f"wsgi_ws: without {kind.value}: {why}", err=True)

    return tail.merged(wanted, leave_out)


@tools.command(short_help="Publish a test event as Superset does.")
@click.argument("channel", required=False)
@_transport_option(default="streams", text="Superset up to 6.1, or Superset 7 (realtime).")
@click.option("--status", type=click.Choice(STATUSES), default="done", show_default=True)
@click.option("--job-id", metavar="ID", help="Default: a new one.")
@click.option("--user-id", metavar="N", type=int)
@click.option("--result-url", metavar="PATH", help="Where the result would be fetched.")
@click.option("--topic", metavar="NAME", help="Of a message, by default task.status.")
@click.option("--payload", metavar="JSON", help="Of a message, by default one without effect.")
@click.option("--count", metavar="N", type=click.IntRange(1), default=1, help="Send N events.")
@click.pass_obj
def send(
    environ: Mapping[str, str],
    channel: str | None,
    transport: str,
    status: str,
    job_id: str | None,
    user_id: int | None,
    result_url: str | None,
    topic: str | None,
    payload: str | None,
    count: int,
) -> None:
    """Publish a test event to CHANNEL as Superset does; prints the IDs that browsers see.

    With realtime, CHANNEL is a principal (user:42) or a tab (user:42:3); without one the message is
    for everybody. It prints how many subscribers have got the message: each worker is one.

    \b
    Examples:
      wsgi-ws send 8d6c2f4e-… --status error
      wsgi-ws send user:42 --transport realtime
      wsgi-ws send --transport realtime --topic entity.changed
    """
    loaded = _load(environ)
    if transport == Transport.REALTIME.value:
        _send_messages(loaded, channel, topic, payload, count)
        return
    if not channel or topic or payload:
        raise click.UsageError("an event needs a CHANNEL, and has neither --topic nor --payload")
    _refuse_principal(channel)
    settings = loaded.settings
    client = connect(settings.redis, read_timeout=TIMEOUT)
    try:
        with client:
            for _ in range(count):
                event = publish.event(
                    channel, status=status, job_id=job_id, user_id=user_id, result_url=result_url
                )
                click.echo(publish.publish(client, settings.redis_stream_prefix, event))
    except (redis.RedisError, OSError) as error:
        fail(explain_write("XADD", error, loaded))


def _send_messages(
    loaded: Loaded, route: str | None, topic: str | None, payload: str | None, count: int
) -> None:
    if route and not _is_principal(route):
        raise click.UsageError("a message goes to user:… or guest:…, or to everybody")
    try:
        content = json.loads(payload) if payload else None
    except ValueError:
        raise click.UsageError("--payload is not JSON") from None
    prefix = loaded.settings.realtime_channel_prefix
    try:
        with connect(loaded.settings.redis, read_timeout=TIMEOUT) as client:
            for _ in range(count):
                parts = messages.sample(topic, content, route)
                receivers = realtime.publish(client, prefix, *parts, [route] if route else None)
                click.echo(_about_receivers(receivers, loaded))
    except (redis.RedisError, OSError) as error:
        fail(explain_write("PUBLISH", error, loaded))


def _about_receivers(receivers: int, loaded: Loaded) -> str:
    channel = realtime_channel(loaded)
    if receivers:
        return f"{counted(receivers, 'subscriber')} of {channel}"
    return (
        f"nobody is subscribed to {channel}: start the server, or compare its Redis and "
        "realtimeChannelPrefix"
    )


def _is_principal(name: str | None) -> bool:
    kind, _, rest = (name or "").partition(":")
    return kind in ("user", "guest") and bool(rest)


def _refuse_principal(channel: str | None) -> None:
    """Streams have no such channel, and would carry its events to nobody."""
    if _is_principal(channel):
        raise click.UsageError("user:… and guest:… go with --transport realtime")


@tools.command()
def version() -> None:
    """Show the versions of server, Python and libraries."""
    click.echo(f"wsgi_ws {__version__}")
    click.echo(f"Python {platform.python_version()}")
    for name, number in installed().items():
        click.echo(f"{name} {number or 'missing'}")


def _load(environ: Mapping[str, str]) -> Loaded:
    try:
        return load(environ)
    except ConfigError as error:
        fail(str(error))


@contextlib.contextmanager
def _one_line_about_errors(loaded: Loaded, url: str) -> Iterator[None]:
    """End the program with one line for each error that tail may meet; Ctrl-C is no error."""
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)
    except token.NoToken as error:
        fail(str(error))
    except Unreachable as error:
        fail(explain_unreachable(error, url))
    except Refused as refusal:
        fail(explain_refused(refusal, url, loaded))
    except Ended as error:
        fail(f"the server ended the connection: {error}")
    except messages.Forbidden as error:
        fail(explain_subscribe(error, loaded))
    except (redis.RedisError, OSError) as error:
        fail(explain(error, loaded))


def _print_events(events: Any, count: int | None, json_wanted: bool) -> None:
    for number, event in enumerate(events, 1):
        click.echo(json.dumps(event, ensure_ascii=False) if json_wanted else tail.as_line(event))
        if number == count:
            return
