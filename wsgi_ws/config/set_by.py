# SPDX-License-Identifier: Apache-2.0
"""Who has set a key: a value that can be asked, and the words for it in a sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """The level that a value comes from."""

    DEFAULT = auto()
    SUPERSET = auto()
    FILE = auto()
    ENVIRONMENT = auto()
    URL = auto()  # `redis.url`, which may stand in the file or in the environment


@dataclass(frozen=True, slots=True)
class SetBy:
    """A value's source.

    :ivar name: the file's path, the variable, Superset's setting, or `redis.url`.
    :ivar place: where that is set: Superset's file and line, or the URL's own source.
    """

    kind: Kind
    name: str = ""
    place: str = ""

    def __str__(self) -> str:
        """For the middle of a sentence: `from environment variable REDIS_DB`."""
        if self.kind is Kind.DEFAULT:
            return "the default"
        if self.kind is Kind.ENVIRONMENT:
            return f"environment variable {self.name}"
        return f"{self.name}, {self.place}" if self.place else self.name


NOBODY = SetBy(Kind.DEFAULT)
