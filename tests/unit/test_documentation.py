# SPDX-License-Identifier: Apache-2.0
"""README's table and the example file have every key there is, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from wsgi_ws.config.keys import Key, keys
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE, load

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE: dict[str, Any] = json.loads((ROOT / "config.example.json").read_text(encoding="utf-8"))
KEYS = list(keys())
PATHS = [key.path for key in KEYS]


def rows() -> dict[str, list[str]]:
    """README's configuration table: key → cells. A row may be about several keys."""
    table = README[README.index("| key | default |") :].split("\n\n")[0]
    found: dict[str, list[str]] = {}
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found.update((name, cells) for name in re.findall("`([^`]+)`", cells[0]))
    return found


def example_leaves(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in block.items():
        if isinstance(value, dict):
            found |= example_leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


@pytest.mark.parametrize("key", KEYS, ids=PATHS)
def test_a_key_is_in_the_readmes_table_with_its_variable(key: Key) -> None:
    _, _, variable, *_ = rows()[key.path]
    assert variable == (f"`{key.env}`" if key.env else "")


@pytest.mark.parametrize("key", [k for k in KEYS if k.path != "jwtSecret"], ids=lambda k: k.path)
def test_the_readmes_table_has_a_keys_default(key: Key) -> None:
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    shown = rows()[key.path][1]
    assert {str(default), json.dumps(default)} & {shown, *re.split(r"(?<=\"), ", shown)}


def test_the_readmes_table_has_no_key_that_there_is_not() -> None:
    assert set(rows()) <= set(PATHS)


def test_the_readme_names_the_variable_of_the_files_path() -> None:
    assert f"`{CONFIG_PATH_VARIABLE}`" in README


@pytest.mark.parametrize("key", [k for k in KEYS if k.path != "jwtSecret"], ids=lambda k: k.path)
def test_the_example_file_has_a_key_with_its_default(key: Key) -> None:
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    assert example_leaves(EXAMPLE).get(key.path, "missing") == default


def test_the_example_files_keys_come_in_the_order_of_declaration() -> None:
    assert list(example_leaves(EXAMPLE)) == PATHS


def test_the_example_file_works_and_warns_of_its_secret_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(EXAMPLE))
    (warning,) = load({}, tmp_path).warnings
    assert "jwtSecret" in warning
    assert EXAMPLE["jwtSecret"].startswith("CHANGE-ME")
