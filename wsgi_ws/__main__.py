# SPDX-License-Identifier: Apache-2.0
"""`python -m wsgi_ws`: the command line."""

from wsgi_ws.cli.main import cli

cli(prog_name="python -m wsgi_ws")
