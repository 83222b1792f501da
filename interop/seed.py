# SPDX-License-Identifier: Apache-2.0
"""Fills a fresh Superset: source, dataset, charts, one dashboard, users. Runs in Superset's own
environment, with Superset's own models, and prints as JSON what the browser has to know.

    SUPERSET_CONFIG_PATH=… python seed.py DATA.db
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

CITIES = ("Aarhus", "Bergen", "Cork", "Delft", "Essen")
KINDS = ("walk", "bicycle", "tram")
DAYS = 60
USERS = ("alice", "bob")
PASSWORD = "interop"  # of users on a machine of tests

_SUM: dict[str, Any] = {
    "expressionType": "SIMPLE",
    "column": {"column_name": "trips"},
    "aggregate": "SUM",
    "label": "trips",
}
_ALWAYS = {"time_range": "No filter", "adhoc_filters": [], "row_limit": 1000}
_BY_DAY = {"x_axis": "day", "time_grain_sqla": "P1D", "metrics": [_SUM], "groupby": ["kind"]}
# Each asks another question, so that none finds the other's answer in the cache.
CHARTS: dict[str, dict[str, Any]] = {
    "Trips": {"viz_type": "big_number_total", "metric": _SUM},
    "Trips by day": {"viz_type": "echarts_timeseries_line", **_BY_DAY},
    "Trips by week": {"viz_type": "echarts_timeseries_bar", **_BY_DAY, "time_grain_sqla": "P1W"},
    "Trips by month": {"viz_type": "echarts_area", **_BY_DAY, "time_grain_sqla": "P1M"},
    "Kinds": {"viz_type": "pie", "metric": _SUM, "groupby": ["kind"]},
    "Cities": {
        "viz_type": "table",
        "query_mode": "aggregate",
        "metrics": [_SUM],
        "groupby": ["city"],
    },
    "Cities and kinds": {
        "viz_type": "treemap_v2",
        "metric": _SUM,
        "groupby": ["city", "kind"],
    },
    "Funnel": {"viz_type": "funnel", "metric": _SUM, "groupby": ["kind", "city"]},
}


def rows() -> Iterator[tuple[str, str, str, int]]:
    """The table: day, city, kind, trips."""
    first = date(2026, 1, 1)
    for day in range(DAYS):
        for c, city in enumerate(CITIES):
            for k, kind in enumerate(KINDS):
                yield str(first + timedelta(day)), city, kind, 10 + (day * (c + 2) + 7 * k) % 40


def write_source(path: Path) -> None:
    """The SQLite file that the charts ask."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE trips (day DATE, city TEXT, kind TEXT, trips INTEGER)")
        connection.executemany("INSERT INTO trips VALUES (?, ?, ?, ?)", rows())


def position(charts: list[Any]) -> dict[str, Any]:
    """The dashboard's layout: rows of four charts."""
    layout: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
    }
    for number, chart in enumerate(charts):
        row = f"ROW-{number // 4}"
        if row not in layout:
            layout["GRID_ID"]["children"].append(row)
            layout[row] = {
                "type": "ROW",
                "id": row,
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID"],
                "meta": {"background": "BACKGROUND_TRANSPARENT"},
            }
        layout[row]["children"].append(f"CHART-{chart.id}")
        layout[f"CHART-{chart.id}"] = {
            "type": "CHART",
            "id": f"CHART-{chart.id}",
            "children": [],
            "parents": ["ROOT_ID", "GRID_ID", row],
            "meta": {"chartId": chart.id, "width": 3, "height": 40, "sliceName": chart.slice_name},
        }
    return layout


def fill(source: Path) -> dict[str, Any]:
    """Make everything; within Superset's application context."""
    from superset import db, security_manager
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.core import Database
    from superset.models.dashboard import Dashboard
    from superset.models.embedded_dashboard import EmbeddedDashboard
    from superset.models.slice import Slice

    write_source(source)
    database = Database(database_name="trips", sqlalchemy_uri=f"sqlite:///{source}")
    dataset = SqlaTable(table_name="trips", database=database)
    db.session.add_all([database, dataset])
    db.session.commit()
    dataset.fetch_metadata()
    dataset.main_dttm_col = "day"
    charts = []
    for name, form in CHARTS.items():
        params = {**_ALWAYS, **form, "datasource": f"{dataset.id}__table"}
        chart = Slice(
            slice_name=name,
            viz_type=form["viz_type"],
            datasource_id=dataset.id,
            datasource_type="table",
            params=json.dumps(params),
        )
        charts.append(chart)
        db.session.add(chart)
    db.session.commit()
    dashboard = Dashboard(
        dashboard_title="Interoperation",
        slug="interop",
        published=True,
        slices=charts,
        position_json=json.dumps(position(charts)),
    )
    embedded = EmbeddedDashboard(dashboard=dashboard, allow_domain_list="")
    db.session.add_all([dashboard, embedded])
    db.session.commit()

    role = security_manager.find_role("Public")
    for kind, permission in (
        ("datasource_access", dataset.perm),
        ("database_access", database.perm),
    ):
        security_manager.add_permission_role(
            role, security_manager.add_permission_view_menu(kind, permission)
        )
    for user in USERS:
        security_manager.add_user(
            user,
            user.title(),
            "Interop",
            f"{user}@example.org",
            security_manager.find_role("Admin"),
            password=PASSWORD,
        )
    return {"charts": len(charts), "embedded": str(embedded.uuid)}


def main() -> None:
    from superset.app import create_app

    with create_app().app_context():
        print(json.dumps(fill(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
