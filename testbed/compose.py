# SPDX-License-Identifier: Apache-2.0
"""Compose's files as Compose reads them: its tags, its merge of several files, its variables.

As much of https://docs.docker.com/reference/compose-file/merge/ as files about one service need.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

# A sequence of these replaces the one before; any other is appended to it.
COMMANDS = ("command", "entrypoint", "test")
# Written as a list of NAME=value or as a mapping.
ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Tagged:
    """A value behind `!reset` or `!override`."""

    tag: str
    value: Any


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tags."""


def _tagged(loader: _Loader, tag: str, node: yaml.Node) -> Tagged:
    if isinstance(node, yaml.MappingNode):
        return Tagged(tag, loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Tagged(tag, loader.construct_sequence(node, deep=True))
    return Tagged(tag, loader.construct_scalar(cast(yaml.ScalarNode, node)))


for _tag in ("reset", "override"):
    _Loader.add_constructor(
        f"!{_tag}",
        lambda loader, node, tag=_tag: _tagged(loader, tag, node),  # type: ignore[misc]
    )


def read(path: Path) -> dict[str, Any]:
    """A file with its tags, as `Tagged`."""
    return cast(dict[str, Any], yaml.load(path.read_text(), _Loader))


def merged(below: Any, above: Any, key: str = "") -> Any:
    """
    :param below: the file that comes first on the command line, or a part of it.
    :param key: where the two stand.
    """
    if isinstance(above, Tagged):
        return None if above.tag == "reset" else above.value
    if key == ENVIRONMENT:
        below, above = _as_mapping(below), _as_mapping(above)
    if isinstance(below, dict) and isinstance(above, dict):
        whole = below | {name: merged(below.get(name), v, name) for name, v in above.items()}
        return {name: value for name, value in whole.items() if value is not None}
    if isinstance(below, list) and isinstance(above, list) and key not in COMMANDS:
        return [*below, *(each for each in above if each not in below)]
    return merged({}, above) if isinstance(above, dict) else above


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """With `${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced.

    :raises ValueError: the message, when a variable that must be set is not.
    """
    if isinstance(value, dict):
        return {name: interpolated(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        name, operator, rest = found.group(1, 2, 3)
        text = variables.get(name, "")
        if not text and operator == ":?":
            raise ValueError(f"{name}: {rest}")
        return text or (rest if operator == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", replace, value)


def seconds(duration: str) -> float:
    """Of `1m30s` and the like."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found, duration
    minutes, rest = found.groups("0")
    return int(minutes) * 60 + int(rest)


def _as_mapping(environment: Any) -> Any:
    if isinstance(environment, list):
        return dict(line.split("=", 1) for line in environment)
    return environment or {}
