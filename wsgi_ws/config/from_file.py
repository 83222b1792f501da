# SPDX-License-Identifier: Apache-2.0
"""The configuration file as a level: JSON, a value for each key, nested in blocks."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsgi_ws.config.draft import Draft
from wsgi_ws.config.keys import Key, blocks, keys
from wsgi_ws.config.meanings import BadValue
from wsgi_ws.config.set_by import Kind, SetBy
from wsgi_ws.config.values import from_json

# Options of the StatsD object that the Node server hands to its client library and that have no
# meaning here: they are named in one warning instead of being called unknown.
STATSD_FOREIGN_OPTIONS = frozenset(
    "bufferFlushInterval bufferHolder cacheDns cacheDnsTtl childOptions closingFlushInterval "
    "datadog errorHandler includeDataDogTags includeDatadogTags isChild isGlobal path protocol "
    "sampleRate socket stream tcpGracefulErrorHandling tcpGracefulRestartRateLimit "
    "udpSocketOptions udsGracefulErrorHandling udsGracefulRestartRateLimit udsRetryOptions "
    "useDefaultRoute".split()
)


class FileError(Exception):
    """The file can't be read; the text names it and the remedy."""


def read_file(path: Path, *, named_by: str) -> dict[str, Any]:
    """The file's object; empty when there is no file and nobody has named one.

    :param named_by: the variable that names it, or nothing.
    :raises FileError: when it can't be read: then nothing is known of what it would set.
    """

    def error(problem: str) -> FileError:
        return FileError(f"configuration file {path}{problem}")

    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))  # with or without a mark
    except FileNotFoundError:
        if not named_by:
            return {}
        raise error(
            f" does not exist: create it from config.example.json or correct {named_by}"
        ) from None
    except json.JSONDecodeError as bad:
        raise error(
            f", line {bad.lineno}, column {bad.colno}: not valid JSON ({_trailing_comma(bad)}"
            f"{bad.msg}); compare with config.example.json"
        ) from None
    except UnicodeDecodeError as bad:
        line = bad.object.count(b"\n", 0, bad.start) + 1
        raise error(f", line {line}: not in UTF-8, as JSON must be: save it as UTF-8") from None
    # The last two: a number or a nesting beyond all measure.
    except (OSError, ValueError, RecursionError) as bad:
        raise error(f" can't be read: {bad}") from None
    if not isinstance(document, dict):
        raise error(": the top level must be an object {…}")
    return document


def _trailing_comma(bad: json.JSONDecodeError) -> str:
    """The commonest slip, in words: Python before 3.13 names what could follow the comma only."""
    before, rest = bad.doc[: bad.pos].rstrip(), bad.doc[bad.pos :].lstrip(", \t\r\n")
    is_comma = before.endswith(",") or bad.doc.startswith(",", bad.pos)
    return f"a comma before {rest[0]}: " if is_comma and rest[:1] in ("}", "]") else ""


def lay_file(draft: Draft, document: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    """Take the values of the whole file, or of one block."""
    here = [key for key in keys() if key.path == prefix + key.name]
    known = {key.name: key for key in here} | {key.alias: key for key in here if key.alias}
    inner = () if prefix else tuple(blocks())
    for name, raw in document.items():
        key = known.get(name)
        if name in inner:
            if isinstance(raw, dict):
                lay_file(draft, raw, path, f"{name}.")
            else:
                draft.reject(name, f"{path}: {name} must be an object {{…}}")
        elif key and name == key.alias and key.name in document:
            draft.warnings.append(
                f"{path}: {name} is the old name of {key.path}, which is also set and wins"
            )
        elif key:
            _lay_value(draft, key, raw, SetBy(Kind.FILE, str(path)))
    unknown = [name for name in document if name not in known and name not in inner]
    _warn_unknown(draft, unknown, [*known, *inner], str(path), prefix)


def _lay_value(draft: Draft, key: Key, raw: Any, source: SetBy) -> None:
    draft.sources[key.path] = source
    try:
        draft.values[key.path] = from_json(key, raw)
    except BadValue as error:
        draft.reject(key.path, f"{draft.named(key.path)} {error}")


def _warn_unknown(
    draft: Draft, unknown: list[str], known: list[str], source: str, prefix: str
) -> None:
    foreign = STATSD_FOREIGN_OPTIONS.intersection(unknown) if prefix == "statsd." else ()
    if foreign:
        draft.warnings.append(
            f"{source}: options of statsd without effect here: {', '.join(sorted(foreign))}"
        )
    for name in unknown:
        if name not in foreign:
            near = _nearest(name, known, prefix)
            hint = f"; did you mean {near}?" if near else ""
            draft.warnings.append(f"{source}: unknown key {prefix}{name} is ignored{hint}")


def _nearest(name: str, known: Iterable[str], prefix: str) -> str:
    """The key that an unknown one was perhaps meant to be: of the same block, and at the top also
    one of a block, since redisPort is how the variable's name is read."""
    meant = {_plain(near): prefix + near for near in known}
    if not prefix:
        meant |= {_plain(key.path): key.path for key in keys()}
    near = difflib.get_close_matches(_plain(name), meant, n=1)
    return meant[near[0]] if near else ""


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
