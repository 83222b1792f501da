# SPDX-License-Identifier: Apache-2.0
"""The pictures of docs/performance.md, from recorded curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

mpl.use("svg")

from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]
from matplotlib.ticker import (  # type: ignore[import-not-found,unused-ignore]
    FuncFormatter,
    LogLocator,
    NullFormatter,
)

PICTURES = Path(__file__).parents[1] / "docs" / "performance"

COLOURS = ("#1f6f8b", "#d1495b", "#8d96a3", "#edae49")
STYLE: Any = {
    "figure.figsize": (8.4, 3.0),
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": "#e3e6ea",
    "lines.marker": "o",
    "lines.markersize": 4,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",  # the same results give the same file
}

Points = Sequence[dict[str, Any]]


class Line(NamedTuple):
    """A figure of each point."""

    label: str
    points: Points
    figure: str


class Panel(NamedTuple):
    """One diagram of a picture."""

    title: str
    lines: Sequence[Line]
    log: bool = True


def draw(curves: dict[str, list[dict[str, Any]]]) -> Iterator[Path]:
    """Write one picture per curve."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, points in curves.items():
            x, label, panels = _PICTURES[name](points)
            yield _picture(name, x, label, panels)


def _picture(name: str, x: str, label: str, panels: Iterable[Panel]) -> Path:
    panels = list(panels)
    figure, axes = plt.subplots(1, len(panels), layout="constrained")
    for panel, ax in zip(panels, axes, strict=True):
        _panel(ax, panel, x, label)
    path = PICTURES / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _panel(ax: Any, panel: Panel, x: str, label: str) -> None:
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        ax.plot(
            [point[x] for point in line.points],
            [point[line.figure] for point in line.points],
            label=line.label,
            color=colour,
        )
    values = sorted({point[x] for line in panel.lines for point in line.points})
    if values[-1] > 10 * values[0]:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(values, _labels(values))
    if panel.log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlabel(label)
    ax.set_title(panel.title)
    if panel.lines[0].label:
        ax.legend()


def _labels(values: Sequence[float]) -> list[str]:
    """Names for ticks; those that would touch the next one stay empty."""
    crowded = [
        after < 2.5 * value and values[-1] > 10 * values[0]
        for value, after in pairwise([*values, values[-1] * 10])
    ]
    return ["" if skip else _short(value) for value, skip in zip(values, crowded, strict=True)]


def _short(value: float) -> str:
    return f"{value / 1000:.2g}k" if value >= 1000 else f"{value:.3g}"


def _latencies(points: Points) -> Panel:
    lines = [Line("p99", points, "p99_us"), Line("p50", points, "p50_us")]
    return Panel("latency, µs", lines)


def _sockets(points: Points) -> tuple[str, str, Sequence[Panel]]:
    costs = [
        Line("1,000 events/s", points, "cpu_us_per_event"),
        Line("backlog", points, "drain_cpu_us_per_event"),
    ]
    return (
        "sockets",
        "sockets of one worker",
        (
            Panel("CPU per event, µs", costs),
            _latencies(points),
            Panel("memory in all, MiB", [Line("", points, "total_mib")], log=False),
        ),
    )


def _workers(points: Points) -> tuple[str, str, Sequence[Panel]]:
    costs = [
        Line("1,000 events/s", points, "cpu_us_per_event"),
        Line("backlog", points, "drain_cpu_us_per_event"),
        Line("backlog, 9 of 10 others'", points, "miss_cpu_us_per_event"),
    ]
    return (
        "workers",
        "workers",
        (
            Panel("CPU per event, all workers, µs", costs),
            _latencies(points),
            Panel("memory in all, MiB", [Line("", points, "total_mib")], log=False),
        ),
    )


def _rate(points: Points) -> tuple[str, str, Sequence[Panel]]:
    ours = [point for point in points if not point["miss"]]
    others = [point for point in points if point["miss"]]
    costs = [
        Line("all for somebody here", ours, "cpu_us_per_event"),
        Line("9 of 10 others'", others, "cpu_us_per_event"),
    ]
    shares = [Line("", ours, "cpu_share"), Line("", others, "cpu_share")]  # colours as before
    return (
        "asked_rate",
        "events per second",
        (
            Panel("CPU per event, µs", costs),
            _latencies(ours),
            Panel("cores in use", shares, log=False),
        ),
    )


def _size(points: Points) -> tuple[str, str, Sequence[Panel]]:
    costs = [
        Line("backlog", points, "drain_cpu_us_per_event"),
        Line("bare send() in C", points, "floor_us"),
    ]
    return (
        "bytes",
        "bytes of an event",
        (
            Panel("CPU per event, µs", costs),
            _latencies(points),
            Panel("backlog, MiB/s", [Line("", points, "drain_mib_per_second")]),
        ),
    )


def _fan(points: Points) -> tuple[str, str, Sequence[Panel]]:
    costs = [
        Line("10,000 deliveries/s", points, "cpu_us_per_delivery"),
        Line("backlog", points, "drain_cpu_us_per_delivery"),
    ]
    return (
        "sockets_per_channel",
        "sockets of a channel",
        (Panel("CPU per delivery, µs", costs), _latencies(points)),
    )


_PICTURES = {"sockets": _sockets, "workers": _workers, "rate": _rate, "size": _size, "fan": _fan}
