# SPDX-License-Identifier: Apache-2.0
"""Executes Superset's settings as Superset does and writes those about async queries as JSON.

Runs in a process of its own (`settings` feeds this file to an interpreter, maybe another
one than the service's), since the file is a program: it may print, connect or end the process.
Standard library only; knows nothing of this package.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any

MODULE_NAME = "superset_config"
WANTED = frozenset(
    "FEATURE_FLAGS DEFAULT_FEATURE_FLAGS CACHE_CONFIG DATA_CACHE_CONFIG PREFERRED_URL_SCHEME "
    "SESSION_COOKIE_NAME SESSION_COOKIE_SECURE SESSION_COOKIE_SAMESITE SESSION_COOKIE_DOMAIN "
    "TALISMAN_ENABLED TALISMAN_CONFIG WEBDRIVER_BASEURL WEBDRIVER_BASEURL_USER_FRIENDLY "
    "REALTIME_CHANNEL_PREFIX DISTRIBUTED_COORDINATION_CONFIG".split()
)
WANTED_PREFIXES = ("GLOBAL_ASYNC_QUER", "WEBSOCKET_")
CALLED = frozenset({"REALTIME_CHANNEL_PREFIX"})  # Superset calls these if they can be called
# What of a large setting is looked at; nothing else of it leaves this process.
WANTED_KEYS = {
    "FEATURE_FLAGS": ("GLOBAL_ASYNC_QUERIES",),
    "DEFAULT_FEATURE_FLAGS": ("GLOBAL_ASYNC_QUERIES",),
    "CACHE_CONFIG": ("CACHE_TYPE",),
    "DATA_CACHE_CONFIG": ("CACHE_TYPE",),
    "TALISMAN_CONFIG": ("content_security_policy", "force_https"),
}
UNKNOWN = {"__unknown__": True}
PLACEHOLDER_TEXT = "\0placeholder\0"  # recognized inside texts that were built with one
MAX_PLACEHOLDERS = 50
# Exceptions whose text names code or a variable; others may quote a password.
TELLING = (ImportError, KeyError, NameError, AttributeError, SyntaxError, FileNotFoundError)

Places = dict[str, list[tuple[str, int]]]


def main() -> None:
    """Read what `sys.argv[1]` names; the last line on standard output is the JSON object."""
    output = os.dup(1)
    os.dup2(2, 1)  # whatever the settings print is not part of the answer
    answer = read(sys.argv[1])
    with os.fdopen(output, "w", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps(answer) + "\n")
        stream.flush()
    os._exit(0)  # threads that the settings have started don't hold the answer back


def read(target: str) -> dict[str, Any]:
    """The settings of a file or a dotted module: values, places, and what had to be left out."""
    finder = PlaceholderFinder()
    sys.meta_path.append(finder)
    while True:
        try:
            module = execute(target)
            found = {name: value_of(name, v) for name, v in vars(module).items() if wanted(name)}
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing in ("", target) or missing in finder.missing:
                return {"error": explained(error, target)}
            if len(finder.missing) == MAX_PLACEHOLDERS:
                return {"error": explained(error, target)}
            finder.missing.append(missing)
        except BaseException as error:
            return {"error": explained(error, target)}
        else:
            break
    file = getattr(module, "__file__", None) or target
    values = {name: plain(narrowed(name, value)) for name, value in found.items()}
    places: Places = {}
    note_places(file, places, set())
    return {
        "file": file,
        "values": values,
        "places": places,
        "missing": finder.missing,
        "guessed": Placeholder.asked,
    }


def wanted(name: str) -> bool:
    return name in WANTED or (name.isupper() and name.startswith(WANTED_PREFIXES))


def value_of(name: str, value: Any) -> Any:
    """A setting as Superset uses it."""
    return value() if name in CALLED and callable(value) else value


def narrowed(name: str, value: Any) -> Any:
    """Of a dictionary like FEATURE_FLAGS only what is looked at."""
    keys = WANTED_KEYS.get(name)
    if keys is None or not isinstance(value, dict):
        return value
    return {key: value[key] for key in keys if key in value}


def plain(value: Any) -> Any:
    """A value as JSON can have it; `UNKNOWN` for what it can't, or what a placeholder is in."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return UNKNOWN if PLACEHOLDER_TEXT in value else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return UNKNOWN


# --- executing -----------------------------------------------------------------------------------


def is_file(target: str) -> bool:
    return target.endswith(".py") or os.sep in target or os.path.exists(target)


def execute(target: str) -> types.ModuleType:
    """The module: a file the way SUPERSET_CONFIG_PATH is read, else an import."""
    if not is_file(target):
        return importlib.import_module(target)
    directory = os.path.dirname(os.path.abspath(target))
    if directory not in sys.path:
        sys.path.append(directory)  # where its neighbours are, unless PYTHONPATH says otherwise
    loader = importlib.machinery.SourceFileLoader(MODULE_NAME, target)
    spec = importlib.util.spec_from_file_location(MODULE_NAME, target, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


class PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Puts something in the place of packages that are missing here but not where Superset runs."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if any(fullname == name or fullname.startswith(name + ".") for name in self.missing):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return PlaceholderModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class PlaceholderModule(types.ModuleType):
    @property
    def __all__(self) -> tuple[str, ...]:
        Placeholder.asked = True  # `import *` might have brought settings
        return ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder()


class Placeholder:
    """Whatever a missing package would have offered: can be called, indexed, subclassed.

    :ivar asked: whether the settings have asked one for an answer that may decide about others.
    """

    asked = False

    def __call__(self, *_args: Any, **_options: Any) -> Placeholder:
        return Placeholder()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder()

    def __getitem__(self, _key: Any) -> Placeholder:
        return Placeholder()

    def __iter__(self) -> Iterator[Any]:
        Placeholder.asked = True
        return iter(())

    def __bool__(self) -> bool:
        Placeholder.asked = True
        return True

    def __eq__(self, other: object) -> bool:
        Placeholder.asked = True
        return self is other

    __hash__ = object.__hash__

    def __mro_entries__(self, _bases: Any) -> tuple[type, ...]:
        return ()

    def __str__(self) -> str:
        return PLACEHOLDER_TEXT


def explained(error: BaseException, target: str) -> dict[str, Any]:
    """Kind, line and, where it can't be a secret, the text of what went wrong."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.abspath(frame.filename) == os.path.abspath(target):
            line = frame.lineno
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return {
        "kind": type(error).__name__,
        "line": line,
        "text": text if isinstance(error, TELLING) else "",
    }


# --- which line sets what ------------------------------------------------------------------------


def note_places(file: str, places: Places, seen: set[str]) -> None:
    """Add each place where a wanted name (or one of its keys, `NAME.key`) is set, in order."""
    if file in seen:
        return
    seen.add(file)
    try:
        with open(file, encoding="utf-8") as source:
            tree = ast.parse(source.read())
    except (OSError, ValueError, SyntaxError):
        return
    for node in statements(tree.body):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            origin = getattr(sys.modules.get(node.module or ""), "__file__", None)
            if origin:
                note_places(origin, places, seen)
        for name, line in settings_of(node):
            if wanted(name.split(".")[0]):
                places.setdefault(name, []).append((file, line))


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Those that run on import, in order; also within if, try, with and loops."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, part, ()):
                    nested = inner.body if isinstance(inner, ast.ExceptHandler) else [inner]
                    yield from statements(nested)


def settings_of(node: ast.stmt) -> Iterator[tuple[str, int]]:
    """Names and keys that a statement sets, with their lines."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from settings_of_target(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value:
        yield from settings_of_target(node.target, node.value)
    elif isinstance(node, ast.FunctionDef):
        yield (node.name, node.lineno)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name, node.lineno)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value  # NAME.update({...})
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            name = call.func.value.id
            yield (name, node.lineno)
            for argument in call.args:
                yield from keys_of(name, argument)


def settings_of_target(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, int]]:
    if isinstance(target, ast.Name):
        yield (target.id, target.lineno)
        yield from keys_of(target.id, value)
    elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
        name = target.value.id
        if isinstance(target.slice, ast.Constant):
            yield (f"{name}.{target.slice.value!s}", target.lineno)


def keys_of(name: str, value: ast.expr) -> Iterator[tuple[str, int]]:
    if isinstance(value, ast.Dict):
        for key in value.keys:
            if isinstance(key, ast.Constant):
                yield (f"{name}.{key.value!s}", key.lineno)
    elif isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg:
                yield (f"{name}.{keyword.arg}", keyword.value.lineno)
