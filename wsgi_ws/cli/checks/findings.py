# SPDX-License-Identifier: Apache-2.0
"""What a check has found: a level, what it is about, one sentence with the remedy. Pure.

No sentence contains a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


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
