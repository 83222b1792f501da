# SPDX-License-Identifier: Apache-2.0
"""The generated parts of docs/performance.md and docs/scaling.md, from the newest results."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import record

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SCALING = PAGE.with_name("scaling.md")


class Row(NamedTuple):
    """A line of the table: which figure of which case, and what it is compared with."""

    label: str
    case: str
    figure: str
    unit: str
    node: str = "–"
    target: str = "–"


FLOOR = "× floor"
COMPARED = (
    Row("drain", "drain", "cpu_us_per_event", "CPU per event, µs"),
    Row("drain, 9 of 10 events are others'", "drain_miss", "cpu_us_per_event", "CPU per event, µs"),
    Row("broadcast to 2,000", "broadcast", "cpu_us_per_delivery", "CPU per delivery, µs"),
    Row("1,000 single events per second", "latency", "p50_us", "p50, µs"),
    Row("…", "latency", "p99_us", "p99, µs"),
    Row("…", "latency", "cpu_us_per_event", "CPU per event, µs"),
    Row("10,000 idle sockets", "idle", "total_mib", "memory in all, MiB"),
    Row("…", "idle", "kib_per_socket", "per socket, KiB"),
    Row("…", "idle", "cpu_us_per_handshake", "CPU per handshake, µs"),
    Row("realtime: to 1,000", "realtime_broadcast", "cpu_us_per_delivery", "CPU per delivery, µs"),
    Row("realtime: 1,000 targeted per second", "realtime_targeted", "p50_us", "p50, µs"),
    Row("…", "realtime_targeted", "cpu_us_per_event", "CPU per message, µs"),
)
HALF = 0.5e6  # microseconds of CPU per second: the other half is for the bad days
RETURN_SECONDS = 10  # for all sockets of a worker to be back: browsers try for 15
ROWS = (
    Row("drain: an event for 1,000 sockets in turn", "drain", "x_floor", FLOOR, "4.1", "≤ 2.2"),
    Row("… per event", "drain", "cpu_us_per_event", "µs", "27"),
    Row("… events per second", "drain", "events_per_second", "/s"),
    Row("drain, 9 of 10 events are others'", "drain_miss", "x_floor", FLOOR, "2.35", "≤ 0.6"),
    Row("… per event", "drain_miss", "cpu_us_per_event", "µs", "11.6"),
    Row("… events per second", "drain_miss", "events_per_second", "/s"),
    Row("broadcast to 2,000 sockets", "broadcast", "x_floor", FLOOR, "2.28", "≤ 1.5"),
    Row("latency at 1,000 events/s: p50", "latency", "p50_us", "µs", "307", "≤ 250"),
    Row("… p99", "latency", "p99_us", "µs", "1,178", "≤ 500"),
    Row("… p50 of a straight line", "latency", "straight_p50_us", "µs"),
    Row("… p99 of a straight line", "latency", "straight_p99_us", "µs"),
    Row("… CPU per event", "latency", "cpu_us_per_event", "µs"),
    Row("10,000 idle sockets: memory in all", "idle", "total_mib", "MiB", "121", "≤ 75"),
    Row("… per socket", "idle", "kib_per_socket", "KiB", "5.6", "≤ 2"),
    Row("… pings and pongs: a core's share", "idle", "resting_cpu_percent", "%"),
    Row("… CPU per handshake", "idle", "cpu_us_per_handshake", "µs", "1,186", "≤ 280"),
    Row("… over that of a handshake in C", "idle", "handshake_x_floor", "×"),
    Row("catch-up of one client: median", "catchup", "p50_ms", "ms", "4,922", "≤ 15"),
    Row("… beside 200 other events/s, short history", "short_history", "p50_ms", "ms"),
    Row("storm of 1,000: last event after", "storm", "last_event_after_s", "s", "4.4", "≤ 1.2"),
    Row("… CPU per client", "storm", "cpu_us_per_client", "µs"),
    Row("180 readers: p99 latency", "slow_readers", "p99_us_without", "µs"),
    Row("… beside 20 that never read", "slow_readers", "p99_us", "µs"),
    Row("… memory that these took", "slow_readers", "peak_growth_mib", "MiB"),
    Row("200 live sockets: p99 latency", "storm_latency", "p99_us_calm", "µs"),
    Row("… while 1,000 others reconnect", "storm_latency", "p99_us", "µs"),
    Row("realtime: broadcast to 1,000", "realtime_broadcast", "x_floor", FLOOR),
    Row("… to 10,000", "realtime_broadcast_10k", "x_floor", FLOOR),
    Row("realtime: 1,000 targeted per second: p50", "realtime_targeted", "p50_us", "µs"),
    Row("… p99", "realtime_targeted", "p99_us", "µs"),
    Row("… CPU per message", "realtime_targeted", "cpu_us_per_event", "µs"),
    Row("realtime: 200 targeted per second: p99", "realtime_storm", "p99_us_calm", "µs"),
    Row("… while 10,000 get broadcasts", "realtime_storm", "p99_us_stormy", "µs"),
)
SHAPES = ("alone", "backlog")
READERS = (
    ("Redis's CPU per event that comes alone, µs", "alone", "redis_cpu_us_per_event"),
    ("… in a backlog", "backlog", "redis_cpu_us_per_event"),
    ("bytes from Redis per event that comes alone", "alone", "redis_bytes_per_event"),
    ("… in a backlog", "backlog", "redis_bytes_per_event"),
    ("a worker's CPU per event of others, alone, µs", "alone", "cpu_us_per_event_and_worker"),
    ("… in a backlog", "backlog", "cpu_us_per_event_and_worker"),
)


def refresh() -> Path:
    """Replace every block of the page, and the readers' of docs/scaling.md."""
    cases, curves = record.newest("cases"), record.newest("curves")
    replace_block(PAGE, "conditions", _conditions(cases))
    replace_block(PAGE, "cases", _cases(cases["cases"]))
    replace_block(PAGE, "compared", _compared(record.newest("peers")))
    replace_block(PAGE, "sizing", _sizing(cases["cases"], curves["curves"]))
    replace_block(SCALING, "readers", _readers(record.newest("readers")))
    return PAGE


def replace_block(page: Path, name: str, block: str) -> None:
    """Write whole lines between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    text = page.read_text(encoding="utf-8")
    marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    found = marked.search(text)
    if not found:
        raise ValueError(f"{page} has no block {name}")
    page.write_text(text[: found.end(1)] + block + text[found.start(2) :], encoding="utf-8")


def _conditions(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    runs = max(len(runs) for runs in result["cases"].values())
    floors = [
        run["floor_us"] for runs in result["cases"].values() for run in runs if "floor_us" in run
    ]
    parts = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return (
        f"Measured {result['date'][:10]} at revision {result['revision']}, {runs} runs of each "
        f"case; {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux "
        f"{machine['kernel']}, load average before: {result['load_before'][0]}. The floor, one "
        f"`send()` of 250 bytes, was {_span(floors)} µs in these runs. {parts}.\n"
    )


def _cases(cases: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| case | unit | Node server | target | here |", "|---|---|---|---|---|"]
    for row in ROWS:
        if row.case in cases:
            here = _span(run[row.figure] for run in cases[row.case])
            lines.append(f"| {row.label} | {row.unit} | {row.node} | {row.target} | {here} |")
    return "\n".join(lines) + "\n"


def _compared(result: dict[str, Any]) -> str:
    """Medians, with the least and the most, of each server."""
    cases = result["peers"]
    others = list(dict.fromkeys(name for of in cases.values() for name in of if name != "here"))
    lines = [
        f"Measured {result['date'][:10]} at revision {result['revision']}, load average before: "
        f"{result['load_before'][0]}.",
        "",
        f"| case | figure | here | {' | '.join(f'{name} | here/{name}' for name in others)} |",
        "|---" * (3 + 2 * len(others)) + "|",
    ]
    for row in COMPARED:
        if row.case in cases:
            of = {name: [run[row.figure] for run in runs] for name, runs in cases[row.case].items()}
            middle = {name: statistics.median(values) for name, values in of.items()}
            cells = [f"{_number(middle['here'])} ({_span(of['here'])})"]
            for name in others:
                if name in of:
                    ratio = middle["here"] / middle[name]
                    cells += [f"{_number(middle[name])} ({_span(of[name])})", f"{ratio:.2f}"]
                else:  # it has not the case's transport
                    cells += ["–", "–"]
            lines.append(f"| {row.label} | {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sizing(cases: dict[str, list[dict[str, Any]]], curves: dict[str, list[dict[str, Any]]]) -> str:
    """What things cost, and how much of each half a core does."""
    busy = _least(cases["drain"], "cpu_us_per_event")
    costs = {
        "an event for nobody at this worker, in a busy stream": _miss_us(cases),
        "an event for one socket, in a busy stream": busy,
        "an event for one socket that comes alone": _least(cases["latency"], "cpu_us_per_event"),
        "a handshake": _least(cases["idle"], "cpu_us_per_handshake"),
        "a reconnection with ten missed events": _least(cases["storm"], "cpu_us_per_client"),
        "in Redis: an event read by one worker": _redis_us(cases),
    }
    lines = ["| what | CPU, µs | half a core does, per second |", "|---|---|---|"]
    lines += [f"| {what} | {cost:.3g} | {_round(HALF / cost)} |" for what, cost in costs.items()]
    return "\n".join([*lines, "", *_rules(cases, curves["workers"])]) + "\n"


def _rules(cases: dict[str, list[dict[str, Any]]], workers: list[dict[str, Any]]) -> Iterator[str]:
    first, last = workers[0], workers[-1]
    extra = (last["total_mib"] - first["total_mib"]) / (last["workers"] - first["workers"])
    client = _least(cases["storm"], "cpu_us_per_client")
    kib = _least(cases["idle"], "kib_per_socket")
    yield (
        f"- **Memory.** {cases['idle'][0]['base_mib']:.0f} MiB for master and first worker, "
        f"{extra:.0f} MiB for each further one with a filled history (`historyBytes`), and "
        f"{kib:.1f} KiB per socket beside the kernel's: {_round(2**20 / kib)} sockets per GiB."
    )
    yield (
        f"- **Sockets per worker.** What limits them is the day on which all come back at once: "
        f"{_round(RETURN_SECONDS * 1e6 / client)} sockets per worker are served within "
        f"{RETURN_SECONDS} s. Idle ones cost pings: "
        f"{_least(cases['idle'], 'resting_cpu_percent'):.1f} % of a core for 10,000."
    )
    yield (
        f"- **Events.** One worker follows a stream of {_round(HALF / _miss_us(cases))} events/s "
        "with half a core when next to none of them is for its sockets. Each worker of each server "
        "pays that: more workers share the sockets, not the stream."
    )
    yield (
        f"- **Redis.** Workers × events/s below {_round(HALF / _redis_us(cases))}: then the "
        "readers take half of its one core, and the producers' XADDs have the other half."
    )


def _readers(result: dict[str, Any]) -> str:
    """What each reading worker costs, and what a further one adds."""
    points = {
        (point["transport"], point["shape"], int(count)): point
        for count, of in result["readers"].items()
        for point in of
    }
    counts = sorted({count for _, _, count in points})
    lines = [
        f"Measured {result['date'][:10]} at revision {result['revision']}.",
        "",
        "| workers that read | " + " | ".join(map(str, counts)) + " |",
        "|---" * (len(counts) + 1) + "|",
    ]
    rules = []
    for transport in ("streams", "realtime"):
        for label, shape, figure in READERS:
            values = [points[transport, shape, count][figure] for count in counts]
            cells = " | ".join(_number(value) if value else "–" for value in values)
            lines.append(f"| {transport}: {label} | {cells} |")
        more = {shape: _per_reader(points, transport, shape, counts) for shape in SHAPES}
        rules.append(
            f"- **{transport}**: each worker costs Redis {_number(more['alone'])} µs for an event "
            f"that comes alone, {_number(more['backlog'])} µs for one in a backlog."
        )
    return "\n".join([*lines, "", *rules]) + "\n"


def _per_reader(
    points: dict[tuple[str, str, int], dict[str, Any]],
    transport: str,
    shape: str,
    counts: list[int],
) -> float:
    """Redis's CPU for each of the most readers, beyond that without any: microseconds."""
    first, *_, last = (points[transport, shape, n]["redis_cpu_us_per_event"] for n in counts)
    return float(last - first) / (counts[-1] - counts[0])


def _miss_us(cases: dict[str, list[dict[str, Any]]]) -> float:
    """What an event for nobody costs: the mixed case without its tenth for somebody."""
    busy = _least(cases["drain"], "cpu_us_per_event")
    return (_least(cases["drain_miss"], "cpu_us_per_event") - busy / 10) / 0.9


def _redis_us(cases: dict[str, list[dict[str, Any]]]) -> float:
    return _least(cases["drain_miss"], "redis_cpu_us_per_event")


def _round(value: float) -> str:
    """Two significant digits."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _least(runs: Iterable[dict[str, Any]], figure: str) -> float:
    return min(float(run[figure]) for run in runs)


def _span(values: Iterable[float]) -> str:
    """The least and the most, when they differ."""
    low, *_, high = sorted(values) * 2
    low, high = min(low, high), max(low, high)
    return _number(low) if _number(low) == _number(high) else f"{_number(low)} – {_number(high)}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{round(value, -2 if value >= 10_000 else 0):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
