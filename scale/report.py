# SPDX-License-Identifier: Apache-2.0
"""A run as a file, and as the table of docs/scaling.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scale.plan import Plan
from scale.verdict import Outcome, Wave
from soak.report import MARKS
from soak.samples import quantile
from soak.verdict import Check

ROWS = (
    ("sockets moved", "moved"),
    ("the instance's stop, s", "stop_s"),
    ("… its start until /ready, s", "start_s"),
    ("signal → last socket is back, s", "seconds"),
    ("a socket was away: p50, s", "away_p50_s"),
    ("… p99", "away_p99_s"),
    ("… at most", "away_max_s"),
    ("live events: p50, ms", "p50_ms"),
    ("… p99", "p99_ms"),
)
ENDS_OF_A_SOCKET = 4  # the client's, two of the proxy's, the server's


def figures(plan: Plan, outcome: Outcome, checks: Sequence[Check]) -> dict[str, Any]:
    """All that is kept."""
    return {
        "plan": asdict(plan) | {"crowds": plan.crowds, "proxies": plan.proxies},
        "sockets": outcome.sockets,
        "published": outcome.published,
        "delivered": outcome.delivered,
        "opening_s": round(outcome.opening, 1),
        "memory_mib": _rounded(outcome.memory),
        "bare_mib": _rounded(outcome.bare),
        "kernel_kib_per_end": round(outcome.memory["kernel"] * 1024 / _ends(outcome), 2),
        "calm": _part("calm", outcome.calm_latencies, outcome.calm),
        "waves": [_wave(wave) for wave in outcome.waves],
        "verdict": [check._asdict() for check in checks],
    }


def table(result: Mapping[str, Any]) -> str:
    """The record, for docs/scaling.md: of `figures` and where they are from."""
    plan = result["plan"]
    instances = [f"instance {number}" for number in range(1, plan["instances"] + 1)]
    parts = [*instances, "HAProxy", "Redis", "clients"]
    verdict = "".join(
        f"| {check['name']} | {MARKS[check['passed']]} | {check['figures']} |\n"
        for check in result["verdict"]
    )
    return (
        f"{_conditions(result)}\n{_waves(result, parts)}\nCores: on average, and in the busiest "
        f"half second.\n\n| verdict | | |\n|---|---|---|\n{verdict}\n{_memory(result, parts[:-1])}"
    )


def _conditions(result: Mapping[str, Any]) -> str:
    plan, machine = result["plan"], result["machine"]
    failed = sum(check["passed"] is False for check in result["verdict"])
    return (
        f"Recorded {result['date'][:10]} at revision {result['revision']}, {machine['cores']} "
        f"cores of {machine['cpu']} for everything: {plan['instances']} instances of "
        f"{plan['workers']} workers, {result['sockets']:,} sockets, {plan['pages']:.0%} of them "
        f"Superset 7's, through {plan['proxies']} HAProxy processes of one thread (a process may "
        f"open {machine['descriptors']:,} files here), {plan['rate']:,g} events/s: "
        f"{result['published']:,} events, {result['delivered']:,} deliveries. All sockets were "
        f"open after {result['opening_s']:g} s. Verdict: {f'{failed} FAILED' if failed else 'ok'}."
        "\n"
    )


def _waves(result: Mapping[str, Any], parts: Sequence[str]) -> str:
    """A column for each end of an instance."""
    waves = [result["calm"], *result["waves"]]
    lines = ["| | " + " | ".join(wave["what"] for wave in waves) + " |"]
    lines.append("|---" * (len(waves) + 1) + "|")
    for name, key in ROWS:
        lines.append(f"| {name} | " + " | ".join(_number(wave.get(key)) for wave in waves) + " |")
    for part in parts:
        cells = (", ".join(f"{cores:.2f}" for cores in wave["cores"][part]) for wave in waves)
        lines.append(f"| cores: {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _memory(result: Mapping[str, Any], parts: Sequence[str]) -> str:
    bare, full = result["bare_mib"], result["memory_mib"]
    each = ", ".join(f"{part} {bare[part]:,.0f} → {full[part]:,.0f}" for part in parts)
    return (
        f"MiB without and with all sockets: {each}. The kernel's objects took "
        f"{full['kernel']:,.0f} MiB for them: {result['kernel_kib_per_end']:g} KiB for each of the "
        f"{ENDS_OF_A_SOCKET} ends that a socket through a proxy has on one machine.\n"
    )


def summary(result: Mapping[str, Any]) -> Iterator[str]:
    """What has happened, a line each."""
    yield f"{result['published']:,} events, {result['delivered']:,} deliveries"
    yield f"MiB {result['memory_mib']}, without sockets {result['bare_mib']}"
    yield f"kernel: {result['kernel_kib_per_end']} KiB for each end of a socket"
    for part in (result["calm"], *result["waves"]):
        yield ", ".join(f"{name} {value}" for name, value in part.items())


def _wave(wave: Wave) -> dict[str, Any]:
    found = {
        "moved": len(wave.away),
        "stop_s": round(wave.stop, 1),
        "start_s": round(wave.start, 1),
        "seconds": round(wave.seconds, 1),
    }
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        if wave.away:
            found[f"away_{name}_s"] = round(quantile(wave.away, share), 1)
    return _part(wave.what, wave.latencies, wave.cores) | found


def _part(
    what: str, latencies: Sequence[float], cores: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    found: dict[str, Any] = {"what": what}
    if latencies:
        found["p50_ms"] = round(quantile(latencies, 0.5), 1)
        found["p99_ms"] = round(quantile(latencies, 0.99), 1)
    found["cores"] = {part: [round(x, 2) for x in both] for part, both in cores.items()}
    return found


def _ends(outcome: Outcome) -> int:
    return outcome.sockets * ENDS_OF_A_SOCKET


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _rounded(memory: Mapping[str, float]) -> dict[str, float]:
    return {part: round(mib, 1) for part, mib in memory.items()}
