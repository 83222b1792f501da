# SPDX-License-Identifier: Apache-2.0
"""The program, and the commands that have to do with the server's process alone."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from wsgi_ws.cli.health import Unhealthy, ask
from wsgi_ws.cli.program import Program, fail
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE
from wsgi_ws.first_process import hold_sigterm
from wsgi_ws.server.entry import launch

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Commands(Program):
    """A health check runs every few seconds, and a start is waited for. So the other commands, the
    libraries of which (redis, PyJWT) take most of the time, are imported only when asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self._tools()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or self._tools().get(cmd_name)

    def _tools(self) -> Mapping[str, click.Command]:
        from wsgi_ws.cli.tools import tools

        return tools.commands


@click.group(context_settings=CONTEXT, cls=_Commands)
@click.option("-c", "--config", metavar="FILE", help="Configuration file, like WSGI_WS_CONFIG.")
@click.pass_context
def cli(context: click.Context, config: str | None) -> None:
    """The WebSocket server for Superset's async queries (serve), and tools around it.

    All commands read the configuration as the server does: defaults < Superset's settings (if
    supersetConfig is set) < config.json < environment. Run them where the server runs, with its
    environment.

    \b
    Nothing arrives in the browser?
      wsgi-ws check
      wsgi-ws check --superset /app/pythonpath/superset_config.py
      wsgi-ws check --url wss://superset.example.com/ws
      wsgi-ws tail
    """
    environ = dict(os.environ)
    if config:
        environ[CONFIG_PATH_VARIABLE] = config
    context.obj = environ


@cli.command(
    short_help="Start the server.",
    add_help_option=False,  # or click finds its -h in options of gunicorn's, like -bhost:8080
    options_metavar="",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", metavar="[OPTIONS OF GUNICORN]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def serve(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Start the server: gunicorn, with the settings and the application of this package.

    This process becomes gunicorn's master, so gunicorn's signals go to its process ID: TERM ends
    it, HUP reads the configuration anew, USR2 starts a second master. It listens on all addresses,
    at `port` of the configuration. A wrong configuration ends it with exit status 1.

    Options are gunicorn's own (gunicorn --help) and win. Useful are --workers N (processes, by
    default 1), --bind HOST:PORT and --pid FILE. Those that make no sense here are refused, or named
    in a warning.

    \b
    Examples:
      wsgi-ws serve
      wsgi-ws serve --workers 2 --bind 127.0.0.1:8080
      wsgi-ws --config /etc/wsgi-ws/config.json serve
    """
    if {"-h", "--help"} & {*arguments}:
        click.echo(context.get_help())
        return
    try:
        line = launch.command_line(arguments)
    except launch.Unsuitable as error:
        raise click.UsageError(str(error)) from None
    hold_sigterm()
    os.execve(line[0], line, context.obj)


@cli.command(short_help="Ask the server on this machine whether it is well.")
@click.option("--ready", is_flag=True, help="Whether events reach its sockets, not just: it lives.")
@click.pass_obj
def health(environ: Mapping[str, str], ready: bool) -> None:
    """Ask the server on this machine whether it is well. One line; exit status 1 when it is not.

    For health checks, of Docker and others, where there is no curl. It asks 127.0.0.1 at `port` of
    the configuration, and needs nothing else of it. Of a server with another --bind, give the port
    in the environment.

    \b
    Examples:
      wsgi-ws health
      wsgi-ws health --ready
      PORT=9000 wsgi-ws health
    """
    try:
        click.echo(ask(environ, ready=ready))
    except Unhealthy as error:
        fail(str(error))
