# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from wsgi_ws.command import NAME


class _Command(click.Command):
    """Its examples have the name by which the program was called."""

    def get_help(self, ctx: click.Context) -> str:
        name = ctx.find_root().info_name or NAME
        return super().get_help(ctx).replace(f"{NAME} ", f"{name} ")


class Program(_Command, click.Group):
    """A group of such commands."""

    command_class = _Command


def fail(text: str) -> NoReturn:
    """End the program with status 1 and one line."""
    click.echo(f"wsgi_ws: {text}", err=True)
    sys.exit(1)
