# SPDX-License-Identifier: Apache-2.0
"""One value of the configuration: JSON or a variable's text → its form in the file, checked against
the key's type, bounds and choices. Pure.

The type is that of the key's default.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wsgi_ws.config.keys import Key
from wsgi_ws.config.meanings import BadValue, shown


def from_json(key: Key, raw: Any) -> Any:
    """A value of the file.

    :raises BadValue: the text goes behind the key: `must be true or false, not 5`.
    """
    kind: type = type(key.default)
    if not _is_writable(raw):
        raise BadValue(
            "contains \\u0000 or half of a surrogate pair, which no text in a file, a name or a "
            "path can have: remove it"
        )
    if kind is tuple:
        return _list(key, raw)
    if kind is int:
        return _number(key, raw)
    if kind is bool:
        if not isinstance(raw, bool):
            raise BadValue(f"must be true or false, not {shown(raw, key.secret)}")
        return raw
    if not isinstance(raw, str):
        raise BadValue(f"must be a text in quotes, not {shown(raw, key.secret)}")
    problem = _bad_choice(key, raw)
    if problem:
        raise BadValue(f"is {shown(raw, key.secret)}: {problem}")
    return raw


def from_text(key: Key, text: str) -> Any:
    """A variable's value, which is not blank.

    :raises BadValue: the text goes into brackets: `not a whole number`.
    """
    if key.parse_env:
        return tuple(key.parse_env(text))
    kind: type = type(key.default)
    if kind is bool:
        return _boolean(text)
    value: Any = text
    if kind is int:
        if not re.fullmatch(r"-?\d+", text):
            raise BadValue("not a whole number")
        value = int(text)
        problem = _out_of_bounds(key, value)
    else:
        problem = _bad_choice(key, text)
    if problem:
        raise BadValue(problem)
    return value


def kubernetes_hint(value: Any, name: str) -> str:
    """A remedy for what a Service's environment puts into the variable, else nothing."""
    if not (isinstance(value, str) and re.match(r"(tcp|udp)://", value)):
        return ""
    return (
        f"; Kubernetes injects a value like this for a Service of that name, it is not yours: set "
        f"{name} explicitly in the pod, or set enableServiceLinks: false in its spec"
    )


def _is_writable(raw: Any) -> bool:
    """Whether a text, or those in a list or object, can be a path or a name: JSON has others too,
    which raise wherever they are used."""
    parts = [*raw, *raw.values()] if isinstance(raw, dict) else raw
    texts = parts if isinstance(parts, list) else [parts]
    return not any(isinstance(t, str) and re.search("[\0\ud800-\udfff]", t) for t in texts)


def _list(key: Key, raw: Any) -> tuple[str, ...]:
    allow_object = key.name == "globalTags"
    if allow_object and isinstance(raw, dict):
        return tuple(f"{_tag_text(k)}:{_tag_text(v)}" for k, v in raw.items())
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return tuple(raw)
    form = "a list of texts" + (" or an object" if allow_object else "")
    raise BadValue(f"must be {form}, not {shown(raw)}")


def _tag_text(value: Any) -> str:
    # The seed's client library replaces the separators of the wire format in tags from an object.
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[:|@,]", "_", text)


def _number(key: Key, raw: Any) -> int:
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, str) and re.fullmatch(r"\s*-?\d+\s*", raw):
        raise BadValue(f"must be a number: write {raw.strip()} without quotes")
    if isinstance(raw, bool) or not isinstance(raw, int):
        hint = kubernetes_hint(raw, key.path)
        raise BadValue(f"must be a whole number, not {shown(raw, key.secret)}{hint}")
    problem = _out_of_bounds(key, raw)
    if problem:
        raise BadValue(f"is {raw}: {problem}")
    return raw


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise BadValue("neither true nor false")


def _out_of_bounds(key: Key, number: int) -> str | None:
    low, high = key.minimum, key.maximum
    if number < low or (high is not None and number > high):
        return f"it must be between {low} and {high}" if high else f"it must be at least {low}"
    return None


def _bad_choice(key: Key, text: str) -> str | None:
    choices = key.choices
    return f"it must be one of {', '.join(choices)}" if choices and text not in choices else None
