# SPDX-License-Identifier: Apache-2.0
"""Lays the levels: defaults < Superset's settings, if asked for < configuration file < environment.

Done once, in gunicorn's master. No message contains the value of a secret key.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsgi_ws.config.checks import check_whole
from wsgi_ws.config.draft import Draft
from wsgi_ws.config.from_environment import lay_environment
from wsgi_ws.config.from_file import FileError, lay_file, read_file
from wsgi_ws.config.from_superset import lay_superset
from wsgi_ws.config.from_url import spell_out_url, warn_of_overruled_parts
from wsgi_ws.config.keys import Settings, key_of
from wsgi_ws.config.set_by import NOBODY, SetBy
from wsgi_ws.superset.settings import SupersetError

CONFIG_PATH_VARIABLE = "WSGI_WS_CONFIG"
DEFAULT_CONFIG_PATH = "config.json"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of `load`.

    :ivar sources: dotted key → who has set it; a key at its default is absent.
    :ivar warnings: lines for the operator; gunicorn's master logs them.
    :ivar values: dotted key → its value as in the file; a key at its default is absent.
    :ivar wrong: dotted keys, or whole blocks, that have a problem and are therefore at their
        default; empty unless this is the rest of a `ConfigError`.
    """

    settings: Settings
    sources: Mapping[str, SetBy]
    warnings: tuple[str, ...]
    wrong: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def value(self, path: str) -> Any:
        """A key's value as it would stand in the file."""
        return self.values.get(path, key_of(path).default)

    def set_by(self, path: str) -> SetBy:
        """Who has set a key."""
        return self.sources.get(path, NOBODY)

    def wrong_among(self, *paths: str) -> list[str]:
        """Which of these keys, or of the keys in these blocks, are wrong."""
        return sorted(
            wrong
            for wrong in self.wrong
            if any(
                f"{path}.".startswith(f"{wrong}.") or wrong.startswith(f"{path}.") for path in paths
            )
        )


class ConfigError(Exception):
    """The service must not start like this.

    :ivar problems: a sentence for each, with the key, where its value came from and the remedy.
    :ivar rest: the configuration without the wrong values, for a report on everything else; None
        when a whole level of it could not be read.
    """

    def __init__(self, problems: Sequence[str], rest: Loaded | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.rest = rest


def load(environ: Mapping[str, str], directory: Path | None = None) -> Loaded:
    """Read all levels and check the result.

    :param environ: the environment variables (an empty or blank one counts as not set).
    :param directory: where the file's path starts from; the working directory by default.
    :raises ConfigError: when the service must not start like this.
    """
    draft = Draft()
    try:
        _lay_file(draft, environ, directory or Path())
    except FileError as error:
        raise ConfigError([str(error)]) from None
    below = spell_out_url(draft)
    lay_environment(draft, environ)
    if not spell_out_url(draft):
        warn_of_overruled_parts(draft, below)
    try:
        lay_superset(draft, environ)
    except SupersetError as error:
        problem = f"{draft.named('supersetConfig')}: {error}"
        raise ConfigError([*draft.problems.values(), problem]) from None
    check_whole(draft)
    loaded = Loaded(
        draft.settings(),
        draft.sources,
        tuple(draft.warnings),
        frozenset(draft.problems),
        draft.right_values(),
    )
    if draft.problems:
        raise ConfigError(list(draft.problems.values()), loaded)
    return loaded


def port_of(environ: Mapping[str, str]) -> tuple[int, SetBy]:
    """The port alone, and who has set it, however wrong all else is.

    For a probe that comes often, beside a service that runs and that a slip in its file does not
    end: a file that can't be read is left out. Superset's settings, a program, never have the port.
    """
    draft = Draft()
    with contextlib.suppress(FileError):
        _lay_file(draft, environ, Path())
    lay_environment(draft, environ)
    return draft.settings().port, draft.set_by("port")


def file_of(environ: Mapping[str, str], directory: Path) -> tuple[Path, str]:
    """The configuration file, which need not exist unless it is named.

    :returns: its path, and the variable that names it, or nothing.
    """
    named = environ.get(CONFIG_PATH_VARIABLE, "").strip()
    path = directory / (named or DEFAULT_CONFIG_PATH)
    return path, CONFIG_PATH_VARIABLE if named else ""


def _lay_file(draft: Draft, environ: Mapping[str, str], directory: Path) -> None:
    """:raises FileError: when the file can't be read."""
    path, named_by = file_of(environ, directory)
    lay_file(draft, read_file(path, named_by=named_by), path)
