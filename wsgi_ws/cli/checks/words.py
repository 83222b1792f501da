# SPDX-License-Identifier: Apache-2.0
"""The words that all checks share: findings, and how a sentence speaks of a key.

A finding is a level, its subject, and one sentence with the remedy. No sentence contains a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from wsgi_ws.config.keys import key_of
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.set_by import Kind
from wsgi_ws.transport import Transport, offered

SUPERSET = "superset"  # the subject of what its settings are compared for


class Level(IntEnum):
    """How bad it is. Only red makes the check fail."""

    GREEN = 0
    YELLOW = 1
    RED = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar what: its subject, a word or two: `redis`, `superset cookie`.
    """

    level: Level
    what: str
    sentence: str


def green(what: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.GREEN, what, sentence)


def yellow(what: str, sentence: str) -> Finding:
    """It may be meant so; somebody should look at it."""
    return Finding(Level.YELLOW, what, sentence)


def red(what: str, sentence: str) -> Finding:
    """Events can't arrive like this."""
    return Finding(Level.RED, what, sentence)


def worst(findings: Iterable[Finding]) -> Level:
    """The whole report's level."""
    return max((finding.level for finding in findings), default=Level.GREEN)


def is_followed(transport: Transport, loaded: Loaded) -> bool:
    """Whether the key `transports` lets this server follow it."""
    return transport in offered(loaded.settings.transports)


def unknown(setting: str) -> str:
    """The sentence about a setting of Superset's that can't be compared."""
    return (
        f"{setting} can't be known here, since it is made with something that is not installed: "
        "compare it by hand, or name Superset's own interpreter with --python"
    )


def change(path: str, loaded: Loaded, value: Any) -> str:
    """How to give a key another value, where its present one comes from: `set REDIS_DB=0`.

    A secret's new value is not written out.
    """
    key = key_of(path)
    source = loaded.set_by(path)
    if key.secret:
        in_file = source.kind is Kind.FILE
        return f"set {path if in_file or not key.env else key.env} to the same value"
    text = ",".join(value) if isinstance(value, tuple) else text_of(value)
    if source.kind is Kind.ENVIRONMENT:
        return f"set {key.env}={text}"
    if source.kind is Kind.FILE:
        block = f' in "{path.split(".", maxsplit=1)[0]}"' if "." in path else ""
        return f'write "{path.rsplit(".", maxsplit=1)[-1]}": {json.dumps(value)}{block} in {source}'
    return f"set {path}{f' or {key.env}' if key.env else ''} to {text}"


def text_of(value: Any) -> str:
    """A value as text: JSON, but a string without quotation marks."""
    return value if isinstance(value, str) else json.dumps(value)
