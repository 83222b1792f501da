# SPDX-License-Identifier: Apache-2.0
"""A configuration while it is put together, level over level. Pure.

A problem is recorded and the rest goes on, so that an operator hears of everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wsgi_ws.config.keys import Settings, build
from wsgi_ws.config.set_by import NOBODY, SetBy


@dataclass(slots=True)
class Draft:
    """What is known so far.

    :ivar values: by dotted key, as in the file; what nobody has set is absent.
    :ivar sources: who has set each of them.
    :ivar warnings: sentences for the operator.
    :ivar problems: by dotted key (of a block, where all of it is wrong), a sentence each, with
        the value's source and the remedy.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, SetBy] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, value: Any, source: SetBy) -> None:
        """Set a key; its earlier value is lost."""
        self.values[path] = value
        self.sources[path] = source

    def reject(self, path: str, sentence: str) -> None:
        """Record a key's first problem; later ones are usually its consequences."""
        self.problems.setdefault(path, sentence)

    def set_by(self, path: str) -> SetBy:
        """Who has set a key."""
        return self.sources.get(path, NOBODY)

    def named(self, path: str) -> str:
        """The key with its source, for the beginning of a sentence."""
        return f"{path} (from {self.sources.get(path, 'the defaults')})"

    def all_named(self, paths: list[str]) -> str:
        """Several keys with their sources."""
        return ", ".join(map(self.named, paths))

    def settings(self) -> Settings:
        """All keys without a problem; the others are at their default."""
        return build(self.right_values())

    def right_values(self) -> dict[str, Any]:
        """The keys without a problem, as in the file."""
        return {path: v for path, v in self.values.items() if path not in self.problems}
