# SPDX-License-Identifier: Apache-2.0
"""The arrows of docs/architecture.md: which package may import which, and who knows a library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "wsgi_ws"

# A package, or a file at the top → what it may import of the others. Nothing imports upwards.
RULES: dict[str, set[str]] = {
    "": set(),
    "__main__": {"cli", "first_process"},
    "cli": {
        *("wording", "", "addresses", "command", "config", "event", "first_process", "http"),
        *("server", "sources", "superset", "transport"),
    },
    "demo": {"config", "sources", "superset", "transport"},
    "server": {"command", "config", "first_process", "http", "observe", "service"},
    "service": {
        *("wording", "transport", "clients", "command", "config", "http", "hub", "observe"),
        "sources",
    },
    "clients": {
        *("wording", "transport", "config", "http", "hub", "loop", "observe", "sources"),
        "websocket",
    },
    "http": {"addresses", "loop", "observe", "superset", "transport", "web_origin"},
    "sources": {
        *("wording", "transport", "command", "config", "event", "hub", "loop", "observe"),
        *("superset", "websocket"),
    },
    "hub": {"websocket"},
    "event": {"websocket"},
    "observe": {"wording", "config", "loop", "transport"},
    "websocket": {"loop"},
    "config": {"addresses", "superset", "transport", "web_origin"},
    "superset": set(),
    "loop": set(),
    "addresses": set(),
    "command": set(),
    "first_process": set(),
    "wording": set(),
    "transport": {"superset"},
    "web_origin": {"addresses"},
}
# What the command line may use of the service: what needs no event loop.
FOR_THE_CLI = {
    *("addresses", "command", "event", "first_process", "http.origin", "http.paths", "transport"),
    "wording",
    *("server.entry.launch", "server.listening", "server.log_file", "server.open_files"),
    *("config.from_superset", "config.keys", "config.load", "config.meanings", "config.set_by"),
    *(
        "sources.redis_client",
        "sources.redis_replies",
        "sources.finder",
        "sources.stream_id",
    ),
    *("superset.names", "superset.producer", "superset.settings", "superset.stream_names"),
    *("sources.realtime.envelope", "sources.streams.entry"),
    *("superset.realtime", "superset.token"),
}
# Library → the only modules that may import it.
KNOWN_BY = {
    "gunicorn": {"server.entry.launch", "server.entry.program", "server.worker"},
    "geventwebsocket": {"server.worker"},
    "flask": {"demo.web", "http.app"},
    "redis": {
        *("cli.checks.redis", "cli.checks.streams", "cli.checks.url", "cli.publish"),
        *("cli.messages", "cli.redis_errors", "cli.tail", "demo.redis_finder"),
        *("cli.checks.realtime", "cli.tools", "cli.trial", "superset.producer"),
        *("sources.redis_client", "sources.redis_wire", "sources.realtime.subscriber"),
        *("sources.streams.reader", "sources.streams.follower"),
        *("sources.streams.archive", "sources.streams.catchup", "sources.finder"),
        *("sources.permissions", "sources.redis_replies", "superset.realtime"),
        *("demo.processes", "demo.runner"),
    },
    "statsd": {"observe.statsd"},
    "prometheus_client": {"observe.prometheus"},
    "jwt": {"http.auth.authenticator", "superset.token"},
    "packaging": {"cli.checks.machine"},
    "wsproto": {"cli.socket_client", "websocket.frames"},
}


def name_of(file: Path) -> str:
    """The module's dotted name below the package; a package goes by its own name."""
    parts = file.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(file): file for file in sorted((ROOT / PACKAGE).rglob("*.py"))}


@cache
def imported_names(file: Path) -> tuple[str, ...]:
    """Absolute names of everything that a file imports, functions and type checking included."""

    def names() -> Iterator[str]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file.name}, line {node.lineno}: relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    return tuple(names())


def own_imports(file: Path) -> set[str]:
    """Modules of the package that a file imports."""
    found = set()
    for name in imported_names(file):
        package, *parts = name.split(".")
        if package == PACKAGE:
            while ".".join(parts) not in SOURCES:
                parts.pop()
            found.add(".".join(parts))
    return found


def libraries(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_names(file)}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_its_rule() -> None:
    assert set(RULES) == {package_of(module) for module in SOURCES}


@pytest.mark.parametrize("package", RULES)
def test_a_package_imports_what_its_rule_allows(package: str) -> None:
    imported = {
        package_of(name)
        for module, file in SOURCES.items()
        if package_of(module) == package
        for name in own_imports(file)
    }
    assert imported - {package} <= RULES[package]


def test_no_rule_allows_more_than_is_used() -> None:
    used: dict[str, set[str]] = {package: set() for package in RULES}
    for module, file in SOURCES.items():
        used[package_of(module)] |= {package_of(name) for name in own_imports(file)}
    assert {package: used[package] - {package} for package in RULES} == RULES


FOLDERS = ("sources.streams.", "sources.realtime.")  # one for each source


def test_a_source_knows_nothing_of_another() -> None:
    for module, file in SOURCES.items():
        of = [folder for folder in FOLDERS if module.startswith(folder)]
        others = tuple({*FOLDERS} - {*of})
        assert not of or not any(name.startswith(others) for name in own_imports(file)), module


def test_only_the_service_says_which_sources_there_are() -> None:
    users = {
        module
        for module, file in SOURCES.items()
        if any(name.startswith(FOLDERS) for name in own_imports(file))
    }
    besides = ("cli.", *FOLDERS)
    assert {module for module in users if not module.startswith(besides)} == {"service"}


def test_there_are_no_cycles() -> None:
    graph = TopologicalSorter({name: own_imports(file) for name, file in SOURCES.items()})
    try:
        graph.prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize(("library", "allowed"), KNOWN_BY.items(), ids=KNOWN_BY)
def test_a_library_is_known_in_its_rooms_only(library: str, allowed: set[str]) -> None:
    assert {name for name, file in SOURCES.items() if library in libraries(file)} == allowed


def test_importing_the_package_loads_nothing() -> None:
    assert libraries(SOURCES[""]) == set()


@pytest.mark.parametrize(
    ("entry_point", "allowed"),
    [
        ("wsgi.py", {"server.entry.wsgi"}),
        ("gunicorn.conf.py", {"server.settings"}),
        ("wsgi_ws/server/entry/wsgi.py", {"http.app"}),
        ("wsgi_ws/server/entry/gunicorn_conf.py", {"server.settings"}),
        ("wsgi_ws/server/entry/program.py", {"first_process"}),
    ],
)
def test_an_entry_point_hands_over_to_what_it_starts(entry_point: str, allowed: set[str]) -> None:
    assert own_imports(ROOT / entry_point) == allowed


def test_the_command_line_takes_from_the_service_what_needs_no_loop() -> None:
    taken = {n for m, f in SOURCES.items() if package_of(m) == "cli" for n in own_imports(f)}
    assert {name for name in taken if package_of(name) not in ("", "cli")} == FOR_THE_CLI


def test_a_check_knows_no_other_check() -> None:
    """What two of them need is in cli.checks.words, or beside the commands that need it too."""
    shared = {"cli.checks.words", "cli.checks.report", "cli.checks.whole"}
    checks = {name for name in SOURCES if name.startswith("cli.checks.")} - shared
    assert not {(one, other) for one in checks for other in own_imports(SOURCES[one]) & checks}


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("cli.tools", {"gevent", "gunicorn"}),
        ("cli.main", {"gevent", "gunicorn", "jwt", "redis"}),  # a health check comes often
    ],
)
def test_the_command_line_imports_no_more_than_it_needs(module: str, without: set[str]) -> None:
    program = f"import sys, wsgi_ws.{module}; print(*{without} & {{*sys.modules}})"
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, timeout=60, check=True, capture_output=True, text=True)
    assert done.stdout == "\n"


def test_the_reader_of_supersets_settings_needs_the_standard_library_only() -> None:
    assert libraries(SOURCES["superset.read_settings"]) <= sys.stdlib_module_names


def test_the_entry_point_patches_before_it_imports_anything_else() -> None:
    first, second, *_ = tree_of("server.entry.wsgi").body[1:]
    assert (ast.unparse(first), ast.unparse(second)) == (
        "from gevent import monkey",
        "monkey.patch_all()",
    )


# --- what pure means ------------------------------------------------------------------------------

# Pure: the same input gives the same output. No I/O, no clock, no event loop, through all imports.
PURE = {
    *(
        "addresses",
        "wording",
        "transport",
        "demo.guard",
        "config.draft",
        "config.keys",
        "config.meanings",
        "config.redis_url",
    ),
    *("http.auth.claims", "http.auth.cookies", "web_origin"),
    *("config.from_environment", "config.from_url", "config.set_by", "config.values"),
    *("event", "http.auth.authenticator", "http.handshake", "http.origin", "http.paths"),
    *("http.refusals", "http.request"),
    *("observe.counts", "observe.log_limiter", "observe.log_lines"),
    *("sources.realtime.envelope", "sources.realtime.memory", "sources.realtime.owed"),
    *("sources.streams.history", "sources.streams.replay", "sources.stream_id"),
    *("superset.names", "superset.stream_names"),
    *("websocket.allowance", "websocket.closing", "websocket.frames"),
    *(
        "sources.fair_queue",
        "sources.page_size",
        "sources.streams.entry",
        "sources.streams.trimming",
    ),
}
IMPURE = {
    *("asyncio", "fcntl", "flask", "gevent", "geventwebsocket", "gunicorn", "http.client", "io"),
    *("os", "prometheus_client", "redis", "resource", "select", "shutil", "signal", "socket"),
    *("_socket", "ssl", "statsd", "subprocess", "tempfile", "threading", "time", "urllib3"),
    *("pathlib", "logging", "random"),
}


def all_imports(module: str) -> set[str]:
    """Top-level names of the libraries that a module imports, itself or through its own imports."""
    seen, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += own_imports(SOURCES[name])
    return set().union(*(libraries(SOURCES[name]) for name in seen))


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_has_no_io_no_clock_and_no_loop(module: str) -> None:
    assert all_imports(module) & IMPURE == set()


# --- what is beside the service -------------------------------------------------------------------

# Folder → what it may import besides the service and its own. Nobody imports a file of tests.
TOOLS: dict[str, set[str]] = {
    "testbed": set(),
    "bench": {"testbed"},
    "scale": {"bench", "soak", "testbed"},
    "soak": {"bench", "testbed"},
    "deploy": {"testbed"},
    "compliance": set(),
    "pictures": {"testbed"},
    "tests": {"testbed"},
    "tests/tools": {"scale", "soak", "testbed", "tests"},
}


def folder_of(file: Path) -> str:
    """The folder of `TOOLS` that a file belongs to."""
    parts = file.relative_to(ROOT).parts
    return max({parts[0], "/".join(parts[:2])} & set(TOOLS), key=len)


@pytest.mark.parametrize("folder", TOOLS)
def test_a_tool_imports_what_its_rule_allows(folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*.py") if folder_of(file) == folder]
    imported = {name.split(".")[0] for file in files for name in imported_names(file)}
    assert (imported & set(TOOLS)) - {folder} <= TOOLS[folder]


@pytest.mark.parametrize("folder", ["", *TOOLS])
def test_nothing_imports_from_a_file_of_tests(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py") if folder else ROOT.glob("*.py")
    names = [name for file in files for name in imported_names(file)]
    assert [name for name in names if ".test_" in name] == []


# --- no state of modules -------------------------------------------------------------------------

PROGRAMS = {
    *("__main__", "demo.__main__", "demo.cleaner", "demo.redis_finder"),
    *("server.entry.gunicorn_conf", "server.entry.program", "server.entry.wsgi"),
}
HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def tree_of(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", [m for m in SOURCES if m not in PROGRAMS])
def test_nothing_but_definitions_happens_at_import(module: str) -> None:
    body = tree_of(module).body
    assert isinstance(body[0], ast.Expr)  # the docstring
    lines = [
        node.lineno
        for node in body[1:]
        if not isinstance(node, HARMLESS)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    assert lines == []


@pytest.mark.parametrize("module", SOURCES)
def test_no_function_changes_a_modules_state(module: str) -> None:
    assert not [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Global)]


def test_only_the_master_outlives_what_made_it() -> None:
    """What is remembered as bytes, which follow from the arguments, is nobody's state."""
    cached = [
        module
        for module in SOURCES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef)
        and any("cache" in ast.unparse(decorator) for decorator in node.decorator_list)
        and (node.returns is None or ast.unparse(node.returns) != "bytes")
    ]
    assert cached == ["server.master"]


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_begins_with_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree_of(module))


def test_a_folder_can_be_kept_in_mind() -> None:
    folders: dict[Path, int] = {}
    for file in SOURCES.values():
        if file.name != "__init__.py":
            folders[file.parent] = folders.get(file.parent, 0) + 1
    assert max(folders.values()) <= 12
