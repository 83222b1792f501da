# SPDX-License-Identifier: Apache-2.0
"""gunicorn's options: which of them somebody has given, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

VARIABLE = "GUNICORN_CMD_ARGS"


@dataclass(frozen=True, slots=True)
class Option:
    """One that has a value of somebody's choice.

    :ivar flag: as it is written at its source: `--bind`, or `bind` in a file.
    """

    flag: str
    source: str
    value: Any

    def __str__(self) -> str:
        """For the beginning of a sentence."""
        return f"{self.flag} (from {self.source})"


def given(cfg: Any, name: str, own: Any = None) -> Option | None:
    """An option that overrules what gunicorn.conf.py says; None when nothing does.

    :param own: the value of gunicorn.conf.py; None if it says nothing: gunicorn's default.
    """
    setting = cfg.settings[name]
    value = setting.get()
    source = _source(cfg, name)
    if source:
        return Option(setting.cli[-1], source, value)
    usual = type(setting)().get() if own is None else own
    # A configuration file of somebody's own, which executes or imports gunicorn.conf.py.
    return Option(name, "gunicorn's configuration file", value) if value != usual else None


def _source(cfg: Any, name: str) -> str | None:
    """gunicorn forgets where a value comes from; its parser tells anew."""
    parser = cfg.parser()
    for source, arguments in (
        ("the command line", None),
        (VARIABLE, cfg.get_cmd_args_from_env()),
    ):
        found, _ = parser.parse_known_args(arguments)
        if getattr(found, name, None) is not None:
            return source
    return None
