# SPDX-License-Identifier: Apache-2.0
"""`wsgi-ws`, or `python -m wsgi_ws`: the command line."""

from __future__ import annotations

from wsgi_ws.first_process import end_at_sigterm


def main(name: str | None = None) -> None:
    """Run the command line.

    :param name: of the program, in its help; by default that of its file.
    """
    end_at_sigterm()
    from wsgi_ws.cli.main import cli  # takes most of the start

    cli(prog_name=name)


if __name__ == "__main__":
    main("python -m wsgi_ws")
