# SPDX-License-Identifier: Apache-2.0
"""The command line by which gunicorn serves this application, from any working directory.

gunicorn is imported only when it is asked for: the other commands do without it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from wsgi_ws.command import command

PROGRAM = str(Path(__file__).with_name("program.py"))
SETTINGS = str(Path(__file__).with_name("gunicorn_conf.py"))
APPLICATION = "wsgi_ws.server.entry.wsgi:app"
VARIABLE = "GUNICORN_CMD_ARGS"


class Unsuitable(Exception):
    """An argument would put another application or other settings in place of this service's; the
    text names it and the remedy."""


def command_line(arguments: Sequence[str]) -> list[str]:
    """What to execute, the program's path first.

    :param arguments: options for gunicorn.
    :raises Unsuitable: when they name what is not theirs to name.
    :raises SystemExit: with gunicorn's own message, when gunicorn would not take them.
    """
    from gunicorn.config import Config

    config = Config(prog="gunicorn")
    parser = config.parser()
    line = parser.parse_args(list(arguments))
    if line.args:
        raise Unsuitable(f"{line.args[0]}: serve takes options only, the application is its own")
    variable = parser.parse_args(config.get_cmd_args_from_env())
    for given, source in ((line, "the command line"), (variable, VARIABLE)):
        if given.config:
            raise Unsuitable(
                f"{given.config}: serve has gunicorn's settings itself, so leave out --config "
                f"(from {source}). The service's own file: {command()} --config FILE serve, or "
                "WSGI_WS_CONFIG"
            )
    # The application before the options: an option without its value must not take it for one.
    return [sys.executable, PROGRAM, "--config", SETTINGS, APPLICATION, *arguments]
