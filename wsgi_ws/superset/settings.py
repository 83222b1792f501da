# SPDX-License-Identifier: Apache-2.0
"""Superset's own settings: what they say, of which generation they are, and in which line.

They are read in a process of their own (`read_settings`). Knows neither this server's keys nor
Redis. No text that this module makes contains a secret.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsgi_ws.superset.names import (
    CACHE_BACKEND,
    COORDINATION,
    DEFAULTS,
    FLAG_VARIABLE,
    OF_SEVEN,
    OF_SIX,
    REDIS_CONFIG,
    SEVEN,
    SIX,
    Generation,
)

PATH_VARIABLE = "SUPERSET_CONFIG_PATH"
FROM_ENVIRONMENT = "env"  # in place of a path: what SUPERSET_CONFIG_PATH names
READ_TIMEOUT = 60.0  # seconds; the settings of a large installation import half of Superset


class SupersetError(Exception):
    """The settings can't be read or used; the text names the place and the remedy."""


class Unknown:
    """A value that can't be known here, since a package that it needs is missing."""

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting is set.

    :ivar name: the file's name, or words like `Superset's default`.
    :ivar line: 0 when it isn't known.
    :ivar left_out: whether it is a key that the dictionary of that line doesn't have.
    """

    name: str
    line: int = 0
    left_out: bool = False

    def __str__(self) -> str:
        left_out = "left out of " if self.left_out else ""
        return f"{left_out}{self.line_text or self.name}"

    @property
    def line_text(self) -> str:
        """`superset_config.py line 12`, or nothing when the line isn't known."""
        return f"{self.name} line {self.line}" if self.line else ""


@dataclass(frozen=True, slots=True)
class Said:
    """What Superset's settings say about one thing.

    :ivar setting: the name, maybe with a key: `GLOBAL_ASYNC_QUERIES_REDIS_CONFIG["db"]`.
    """

    value: Any = field(repr=False)
    setting: str
    where: Place

    def __str__(self) -> str:
        return f"{self.setting}, {self.where}"


@dataclass(frozen=True, slots=True)
class SupersetSettings:
    """The settings of one `superset_config.py` over Superset's defaults.

    :ivar places: name or `NAME.key` → each file and line that sets it, the last one decides.
    :ivar missing: packages that are not installed here; values made with them are unknown.
    :ivar guessed: whether one of them might have decided about other values too.
    """

    file: str
    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, Sequence[tuple[str, int]]]
    missing: Sequence[str] = ()
    flag_in_environment: str = ""
    guessed: bool = False

    def is_set(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Any:
        """The value or Superset's default; `UNKNOWN` when it can't be known here."""
        return _known(self.values.get(name, DEFAULTS.get(name)))

    @property
    def is_complete(self) -> bool:
        """Whether no value that is looked at depends on a package that is missing here."""
        parts = [v for value in self.values.values() for v in _values_in(value)]
        return not self.guessed and not any(isinstance(_known(v), Unknown) for v in parts)

    def item(self, name: str, key: str, default: Any = None) -> Any:
        """A key's value in a dictionary."""
        block = self.get(name)
        if isinstance(block, Unknown):
            return UNKNOWN
        return _known(block.get(key, default)) if isinstance(block, dict) else default

    def lines(self, name: str, key: str | None = None) -> list[int]:
        """Lines of the main file that set it."""
        places = self.places.get(f"{name}.{key}" if key else name, ())
        return [line for file, line in places if file == self.file]

    def where(self, name: str, key: str | None = None) -> Place:
        """Where it is set: `superset_config.py line 12`, or `Superset's default`.

        Of a key that a dictionary does not have: `left out of superset_config.py line 12`.
        """
        whole = self.get(name)
        left_out = bool(key) and isinstance(whole, dict) and key not in whole
        for spelling in (f"{name}.{key}" if key else name, name):
            if self.places.get(spelling):
                file, line = self.places[spelling][-1]
                return Place(Path(file).name, line, left_out)
        if self.is_set(name):
            return Place(Path(self.file).name, left_out=left_out)
        return Place("Superset's default")

    def said(self, name: str, key: str | None = None, default: Any = None) -> Said:
        value = self.item(name, key, default) if key else self.get(name)
        setting = f'{name}["{key}"]' if key else name
        return Said(value, setting, self.where(name, key))


def target_of(value: str, environ: Mapping[str, str]) -> str:
    """The path or dotted name that a setting or option means.

    :raises SupersetError: when it refers to SUPERSET_CONFIG_PATH, which is not set.
    """
    if value != FROM_ENVIRONMENT:
        return value
    path = environ.get(PATH_VARIABLE, "").strip()
    if not path:
        raise SupersetError(
            f"{PATH_VARIABLE} is not set: set it to the path of superset_config.py, or give the "
            "path itself"
        )
    return path


def read(target: str, environ: Mapping[str, str], python: str = sys.executable) -> SupersetSettings:
    """Read Superset's settings.

    :param target: path of a file (or its directory), or a dotted module name.
    :param environ: the environment that the settings see.
    :param python: the interpreter; Superset's own knows all packages that the settings import.
    :raises SupersetError: when they can't be read.
    """
    if os.path.isdir(target):
        target = str(Path(target) / "superset_config.py")
    # os.path: pathlib raises for a name that no file can have.
    if ("/" in target or target.endswith(".py")) and not os.path.isfile(target):
        raise SupersetError(f"{target} is not there or no file: give the path as seen from here")
    answer = _answer(_run(target, environ, python), target)
    if "error" in answer:
        raise SupersetError(_complaint(target, answer["error"]))
    places = {name: [(f, n) for f, n in spots] for name, spots in answer["places"].items()}
    return SupersetSettings(
        answer["file"],
        answer["values"],
        places,
        answer["missing"],
        environ.get(FLAG_VARIABLE, "").strip(),
        answer["guessed"],
    )


def _run(target: str, environ: Mapping[str, str], python: str) -> str:
    program = Path(__file__).with_name("read_settings.py").read_text(encoding="utf-8") + "\nmain()"
    try:
        done = subprocess.run(
            [python, "-", target],
            input=program,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=READ_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError) as error:  # ValueError: a name that no system could have
        raise SupersetError(f"{python} can't be run for {target!a}: {error}") from None
    except subprocess.TimeoutExpired:
        raise SupersetError(
            f"{target} is not done after {READ_TIMEOUT:.0f} s: does it wait for a database?"
        ) from None
    return done.stdout


def _answer(output: str, target: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise SupersetError(f"{target} ended the process that read it: run it with python alone")
    return answer


def _complaint(target: str, error: Mapping[str, Any]) -> str:
    line = f" line {error['line']}" if error["line"] else ""
    text = f": {error['text']}" if error["text"] else ""
    return (
        f"{target}{line} fails with {error['kind']}{text}; give it the environment that Superset "
        "has, or read it with Superset's own interpreter"
    )


def _values_in(value: Any) -> list[Any]:
    """A value and, if it is a dictionary or a list, those in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *inner]


def _known(value: Any) -> Any:
    return UNKNOWN if isinstance(value, dict) and "__unknown__" in value else value


# --- which Superset it is ------------------------------------------------------------------------


def generations(superset: SupersetSettings) -> tuple[Generation, ...]:
    """Whom the settings are for: both in one file while an installation is upgraded."""
    six = any(name.startswith(OF_SIX) for name in superset.values)
    seven = any(name.startswith(OF_SEVEN) for name in superset.values)
    if superset.get(COORDINATION) and not six:
        seven = True
    return (*([SIX] if six or not seven else []), *([SEVEN] if seven else []))


# --- where Superset's Redis is -------------------------------------------------------------------


def redis_setting(superset: SupersetSettings, generation: Generation) -> str:
    """Which of its settings Superset takes the address of Redis from."""
    if generation is SEVEN:
        return COORDINATION
    if superset.is_set(CACHE_BACKEND) or not superset.is_set(REDIS_CONFIG):
        return CACHE_BACKEND
    return REDIS_CONFIG


def surprises(superset: SupersetSettings) -> Iterator[str]:
    """Where Superset takes the address of Redis from another place than its reader would think."""
    for generation in generations(superset):
        name = redis_setting(superset, generation)
        if name == REDIS_CONFIG:
            yield (
                f"only {REDIS_CONFIG} is set ({superset.where(REDIS_CONFIG)}), which Superset "
                f"reads up to 4.1; from 5.0 on it takes {CACHE_BACKEND}, by default "
                "localhost:6379, database 0: set that too"
            )
        elif not isinstance(superset.get(name), Unknown):
            yield from _surprises_of_cache(superset, name)


def _surprises_of_cache(superset: SupersetSettings, name: str) -> Iterator[str]:
    """Parts of a cache's setting that Superset does not look at here."""
    if superset.item(name, "CACHE_REDIS_URL"):
        yield (
            f'{name}["CACHE_REDIS_URL"] ({superset.where(name, "CACHE_REDIS_URL")}) has no effect: '
            "of this setting Superset reads CACHE_REDIS_HOST, CACHE_REDIS_PORT and CACHE_REDIS_DB, "
            "by default localhost:6379, database 0; set those"
        )
    db = superset.item(name, "CACHE_REDIS_DB", 0)
    sentinel = superset.item(name, "CACHE_TYPE") == "RedisSentinelCache"
    # Of messages no database is asked.
    if name == CACHE_BACKEND and sentinel and not isinstance(db, Unknown) and str(db) != "0":
        yield (
            f'{name}["CACHE_REDIS_DB"] is {db} '
            f"({superset.where(name, 'CACHE_REDIS_DB')}), but with RedisSentinelCache "
            "Superset (up to 6.1) writes events to database 0 whatever it says: 0 is what counts"
        )
