# SPDX-License-Identifier: Apache-2.0
"""The arrows of docs/architecture.md: who imports whom, and who knows which library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "wsgi_ws"

# From the top down; a module imports from lower layers only.
LAYERS = [
    {"worker"},
    {"service"},
    {"entrance", "fanout", "catchup", "heartbeat", "reporter"},
    {"access_log", "arrival", "handshake", "listener"},
    {"stream", "replay"},
    {"elsewhere", "blocking_reader"},
    {"registry", "redis_client"},
    {"connection", "events", "auth", "history", "origin", "request_head", "plain_http"},
    {"protocol", "stream_id", "timeslice", "metrics", "logs", "app", "exposure", "watchdog"},
    {"log_limiter", "log_lines", "remedies", "prometheus", "descriptors"},
    {"config"},
    {"config_checks", "config_superset"},
    {"config_draft", "config_values"},
    {"settings"},
    {"redis_address", "superset_settings", "read_superset"},
]
# The command line stands on top of all that and beside the service. Within it:
CLI_LAYERS = [
    {"main"},
    {"check"},
    {"check_url"},
    {"check_browser", "check_redis", "check_streams", "check_superset", "tail"},
    {"check_config", "check_machine", "publish", "socket_client", "token"},
    {"report"},
    {"findings"},
]
# What it may use of the service: what needs no event loop.
FOR_THE_CLI = {
    "descriptors",
    "config",
    "settings",
    "superset_settings",
    "redis_client",
    "elsewhere",
    "events",
    "stream_id",
    "origin",
}
LEAVES = {"protocol", "stream_id", "auth", "app", "origin", "request_head", "timeslice"}
LEAVES |= {"superset_settings", "read_superset", "plain_http", "descriptors"}
LEAVES |= {"redis_address", "exposure", "log_limiter", "log_lines", "prometheus", "remedies"}

# Library → the only modules that may import it.
KNOWN_BY = {
    "gunicorn": {"worker"},
    "geventwebsocket": {"worker"},
    "flask": {"app"},
    "redis": {"redis_client", "blocking_reader", "stream", "catchup", "elsewhere"},
    "statsd": {"metrics"},
    "prometheus_client": {"prometheus"},
    "jwt": {"auth"},
    "wsproto": {"protocol"},
}
PURE = ["protocol", "events", "auth", "replay", "history", "stream_id", "origin", "request_head"]
PURE += [
    "arrival",
    "handshake",
    "registry",
    "heartbeat",
    "connection",
    "config",
    "config_checks",
    "config_draft",
    "config_superset",
    "config_values",
    "metrics",
    "logs",
    "app",
]
PURE += ["superset_settings", "read_superset"]
PURE += ["redis_address", "exposure", "log_limiter", "log_lines", "prometheus", "remedies"]
FRAMEWORKS = {"gevent", "geventwebsocket", "redis", "flask", "gunicorn"}


def imported_names(file: Path) -> Iterator[str]:
    """Absolute names of everything that a file imports, functions and type checking included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}, line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


SOURCES = {file.stem: file for file in sorted((ROOT / PACKAGE).glob("*.py"))}
MODULES = [name for name in SOURCES if name not in ("__init__", "__main__")]
CLI = {file.stem: file for file in sorted((ROOT / PACKAGE / "cli").glob("*.py"))}
DEMO = sorted((ROOT / PACKAGE / "demo").glob("*.py"))


def own_imports(file: Path) -> set[str]:
    """Modules of the package that a file imports."""
    parts = (name.split(".") for name in imported_names(file))
    return {p[1] for p in parts if p[0] == PACKAGE and len(p) > 1 and p[1] in SOURCES}


def libraries(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_names(file)}


def layer_of(module: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if module in layer)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_one_place(module: str) -> None:
    assert sum(module in layer for layer in LAYERS) == 1


def test_every_place_has_its_module() -> None:
    assert set().union(*LAYERS) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards_only(module: str) -> None:
    beside_or_above = [n for n in own_imports(SOURCES[module]) if layer_of(n) <= layer_of(module)]
    assert beside_or_above == []


def test_there_are_no_cycles() -> None:
    graph = TopologicalSorter({name: own_imports(SOURCES[name]) for name in SOURCES})
    try:
        graph.prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("module", sorted(LEAVES))
def test_a_leaf_imports_nothing_of_the_package(module: str) -> None:
    assert own_imports(SOURCES[module]) == set()


@pytest.mark.parametrize(
    ("module", "besides"), [("metrics", {"prometheus"}), ("logs", set()), ("redis_client", set())]
)
def test_who_takes_settings_knows_nothing_else_of_the_package(
    module: str, besides: set[str]
) -> None:
    assert own_imports(SOURCES[module]) == {"settings"} | besides


@pytest.mark.parametrize(("library", "allowed"), KNOWN_BY.items(), ids=KNOWN_BY)
def test_a_library_is_known_in_its_rooms_only(library: str, allowed: set[str]) -> None:
    knowing = {name for name, file in SOURCES.items() if library in libraries(file)}
    assert knowing == allowed


@pytest.mark.parametrize("module", PURE)
def test_pure_rooms_know_no_framework(module: str) -> None:
    allowed = {"flask"} if module == "app" else set()
    assert libraries(SOURCES[module]) & FRAMEWORKS == allowed


def test_importing_the_package_loads_nothing() -> None:
    assert libraries(SOURCES["__init__"]) == set()


def test_nobody_imports_the_demo() -> None:
    files = [*SOURCES.values(), ROOT / "wsgi.py", ROOT / "gunicorn.conf.py"]
    importing = [f.name for f in files if any("wsgi_ws.demo" in n for n in imported_names(f))]
    assert importing == []


def test_the_demo_does_not_reach_into_the_service() -> None:
    assert set().union(*map(own_imports, DEMO)) <= {"config", "settings", "redis_client"}


def test_the_service_does_not_import_the_command_line() -> None:
    files = [*(SOURCES[name] for name in MODULES), SOURCES["__init__"], *DEMO]
    files += [ROOT / "wsgi.py", ROOT / "gunicorn.conf.py"]
    importing = [f.name for f in files if any("wsgi_ws.cli" in n for n in imported_names(f))]
    assert importing == []


def cli_imports(file: Path) -> set[str]:
    names = (name.split(".") for name in imported_names(file))
    return {part for n in names if n[:2] == [PACKAGE, "cli"] for part in n[2:3] if part in CLI}


@pytest.mark.parametrize("module", [name for name in CLI if name != "__init__"])
def test_a_module_of_the_command_line_imports_downwards_only(module: str) -> None:
    (place,) = (i for i, layer in enumerate(CLI_LAYERS) if module in layer)
    lower = set().union(*CLI_LAYERS[place + 1 :])
    assert cli_imports(CLI[module]) <= lower
    assert own_imports(CLI[module]) <= FOR_THE_CLI


def test_the_command_line_needs_no_gevent() -> None:
    program = (
        "import sys, wsgi_ws.cli.main; sys.exit(bool({'gevent', 'gunicorn'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0


def test_the_reader_of_supersets_settings_needs_the_standard_library_only() -> None:
    assert libraries(SOURCES["read_superset"]) <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("wsgi.py", {"app"}),
        ("gunicorn.conf.py", {"config", "descriptors", "exposure", "logs", "worker"}),
    ],
)
def test_the_entry_points_import_no_more_than_they_need(file: str, expected: set[str]) -> None:
    assert own_imports(ROOT / file) == expected


def test_the_entry_point_patches_before_it_imports_anything_else() -> None:
    first, second, *_ = ast.parse((ROOT / "wsgi.py").read_text()).body[1:]
    assert (ast.unparse(first), ast.unparse(second)) == (
        "from gevent import monkey",
        "monkey.patch_all()",
    )


# --- no state of modules -------------------------------------------------------------------------

HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


@pytest.mark.parametrize("module", [name for name in SOURCES if name != "__main__"])
def test_nothing_but_definitions_happens_at_import(module: str) -> None:
    body = ast.parse(SOURCES[module].read_text(encoding="utf-8")).body
    assert isinstance(body[0], ast.Expr)  # the docstring
    lines = [
        node.lineno
        for node in body[1:]
        if not isinstance(node, HARMLESS)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    assert lines == []


@pytest.mark.parametrize("module", MODULES)
def test_no_function_changes_a_modules_state(module: str) -> None:
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_begins_with_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(SOURCES[module].read_text(encoding="utf-8")))
