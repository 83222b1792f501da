# SPDX-License-Identifier: Apache-2.0
"""The dashboard and the documentation have the metrics that there are, and no others."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from wsgi_ws.observe.prometheus import Prometheus

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
UNITS = {"none", "s", "bytes", "cps"}  # Grafana's names: number, seconds, bytes (IEC), per second


def families() -> dict[str, str]:
    """Name as in queries, without a histogram's suffixes → type."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in Prometheus().registry.collect()
    }


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\bwsgi_ws_\w+", text))


def family_of(name: str) -> str:
    known = families()
    stem = re.sub("_(bucket|sum|count)$", "", name)
    return stem if known.get(stem) == "histogram" else name


def ids(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD  # of the Grafana that it came from
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {
        "datasource",
        "job",
    }


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in itertools.combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


@pytest.mark.parametrize("panel", PANELS, ids=ids)
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("stat", "timeseries")
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@pytest.mark.parametrize("panel", PANELS, ids=ids)
def test_a_panel_asks_for_metrics_that_there_are_in_the_way_of_their_kind(
    panel: dict[str, Any],
) -> None:
    known = families()
    for target in panel["targets"]:
        expression = target["expr"]
        assert expression.count('{job=~"$job"}') == len(re.findall(r"\bwsgi_ws_\w+", expression))
        for name in named_in(expression):
            kind = known[family_of(name)]
            rate = f"rate({name}" in expression
            assert rate == (kind in ("counter", "histogram")), expression


def test_the_dashboard_leaves_no_metric_out() -> None:
    shown = {family_of(name) for name in named_in(json.dumps(PANELS))}
    assert shown == set(families())


def test_the_documentation_has_every_metric_with_its_type() -> None:
    section = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(wsgi_ws_\w+)`[^|]*\| (\w+) \|", section, re.MULTILINE))
    assert rows == families()
