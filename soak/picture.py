# SPDX-License-Identifier: Apache-2.0
"""The picture of a soak, in the style of docs/performance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

from bench.plots import COLOURS, STYLE
from soak.plan import REDIS_FAULTS, WORKER_FAULTS, Happened
from soak.samples import Sample, from_row

mpl.use("svg")

from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]

BLUE, RED, GREY, YELLOW = COLOURS
KINDS = {"Redis or network": (REDIS_FAULTS, RED), "workers": (WORKER_FAULTS, YELLOW)}
POINTS = 300  # of a line
THIN: Any = {"figure.figsize": (8.4, 8.0), "lines.marker": "", "lines.linewidth": 1.0}


def draw(result: Path, picture: Path) -> None:
    """Draw a recorded run."""
    run = json.loads(result.read_text(encoding="utf-8"))
    samples = [from_row(row) for row in run["samples"]]
    faults = [Happened(*fault) for fault in run["faults"]]
    with mpl.rc_context(STYLE | THIN | {"svg.hashsalt": "soak"}):
        figure, axes = plt.subplots(4, 1, layout="constrained", sharex=True)
        _memory(axes[0], samples)
        _descriptors(axes[1], samples)
        _latency(axes[2], samples)
        _load(axes[3], samples)
        for ax in axes:
            ax.margins(x=0.01)
            for handle in _marks(ax, faults, run["judged_from_s"] / 60):
                if ax is not axes[0]:  # explained once
                    handle.set_label(None)
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes[-1].set_xlabel("minutes")
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, metadata={"Date": None})
        plt.close(figure)


def _memory(ax: Any, samples: Sequence[Sample]) -> None:
    ax.set_title("memory of the workers (PSS), MiB")
    _line(ax, samples, [s.pss for s in samples], "all", BLUE)
    # By age: a worker that is replaced hands its line on.
    for number, colour in ((0, GREY), (1, YELLOW)):
        each = [sorted(s.workers.items())[number : number + 1] for s in samples]
        values = [found[0][1].pss if found else math.nan for found in each]
        _line(ax, samples, values, ("older", "younger")[number], colour)
    ax.set_ylim(bottom=0)


def _descriptors(ax: Any, samples: Sequence[Sample]) -> None:
    ax.set_title("descriptors of the workers")
    _line(ax, samples, [s.descriptors for s in samples], "descriptors", BLUE)
    _line(ax, samples, [s.sockets for s in samples], "clients' sockets", YELLOW)
    _line(ax, samples, [s.surplus for s in samples], "difference", GREY)


def _latency(ax: Any, samples: Sequence[Sample]) -> None:
    ax.set_title("latency from the producer to a client, ms")
    _line(ax, samples, [s.p99 for s in samples], "p99", RED)
    _line(ax, samples, [s.p50 for s in samples], "p50", BLUE)
    ax.set_yscale("log")


def _load(ax: Any, samples: Sequence[Sample]) -> None:
    ax.set_title("events and deliveries per second")
    _line(ax, samples, [s.deliveries for s in samples], "deliveries", BLUE)
    _line(ax, samples, [s.events for s in samples], "events", YELLOW)
    ax.set_yscale("symlog", linthresh=10)


def _line(ax: Any, samples: Sequence[Sample], values: Sequence[float], label: str, c: str) -> None:
    """The most of every few seconds: no spike is lost, and the file stays small."""
    width = -(-len(samples) // POINTS)
    starts = range(0, len(samples), width or 1)
    groups = [[v for v in values[i : i + width] if not math.isnan(v)] for i in starts]
    most = [max(group, default=math.nan) for group in groups]
    ax.plot([samples[i].at / 60 for i in starts], most, label=label, color=c)


def _marks(ax: Any, faults: Sequence[Happened], judged_from: float) -> Iterator[Any]:
    """Faults as bars as wide as they lasted, and where judging begins; yields what has a label."""
    for label, (kinds, colour) in KINDS.items():
        bars = [
            (fault.begin / 60, max(fault.end - fault.begin, 1.0) / 60)
            for fault in faults
            if fault.kind in kinds
        ]
        yield ax.broken_barh(
            bars,
            (0, 1),
            transform=ax.get_xaxis_transform(),
            color=colour,
            alpha=0.2,
            linewidth=0,
            label=label,
        )
    yield ax.axvline(judged_from, color=GREY, linestyle=":", label="judged from here")
