# SPDX-License-Identifier: Apache-2.0
"""Draws docs/dashboard.png: the panels of grafana-dashboard.json, without Grafana.

    python -m deploy.dashboard_picture

It starts Redis and a server with two workers, plays four minutes of work and trouble on them,
scrapes /metrics meanwhile, evaluates the panels' expressions (the few forms that they have) and
lets Chromium make a picture of the result. The data are real; the looks are only like Grafana's.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from testbed.ports import free_port
from testbed.servers import ROOT, RedisServer, Server
from testbed.superset import cookie, event, new_channel
from wsgi_ws.superset.producer import xadds

DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
PICTURE = ROOT / "docs" / "dashboard.png"
PREFIX = "async-events-"
SECONDS, EVERY, WINDOW = 240, 2.5, 15.0  # the play, between two scrapes, what rates look back on

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]
Series = dict[Labels, list[float]]  # one value per scrape


# --- the play ------------------------------------------------------------------------------------


class Play:
    """Tabs that come, go and come back, a producer, and some trouble."""

    def __init__(self, server: Server, redis_server: RedisServer) -> None:
        self._server = server
        self._redis = redis_server
        self._channels = [new_channel() for _ in range(150)]
        self._client = redis.Redis(port=redis_server.port, socket_timeout=60)

    async def run(self) -> None:
        """All of it."""
        jobs = [self._tab(2 + number / 10) for number in range(300)]
        jobs += [self._produce(), self._slow_reader(35), self._refused(70), self._replace(110)]
        jobs += [self._outage(160)]
        tasks = [asyncio.create_task(job) for job in jobs]
        await asyncio.sleep(SECONDS)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _tab(self, delay: float) -> None:
        """One browser tab: it stays a while, and reconnects as Superset's page does."""
        await asyncio.sleep(delay)
        channel = random.choice(self._channels)
        last_id = ""
        while True:
            url = self._server.url(f"/ws?last_id={last_id}" if last_id else "/ws")
            headers = {"Cookie": cookie(channel)}
            with contextlib.suppress(ConnectionClosed, InvalidStatus, OSError, TimeoutError):
                async with connect(url, additional_headers=headers) as tab:
                    leaves_at = time.monotonic() + random.expovariate(1 / 90)
                    with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                        while True:
                            left = leaves_at - time.monotonic()
                            message = await asyncio.wait_for(tab.recv(), left)
                            last_id = json.loads(message)["id"]
            await asyncio.sleep(random.uniform(0.5, 2.5))

    async def _produce(self) -> None:
        """20 to 100 queries per second with four events each, six in ten for somebody here."""
        begin = time.monotonic()
        while True:
            wave = 1 - math.cos((time.monotonic() - begin) / 25)
            await asyncio.to_thread(self._publish, 2 + round(4 * wave))
            await asyncio.sleep(0.1)

    def _publish(self, queries: int, **members: Any) -> None:
        pipe = self._client.pipeline(transaction=False)
        for _ in range(queries):
            channel = random.choice(self._channels) if random.random() < 0.6 else new_channel()
            for status in ("pending", "running", "running", "done"):
                data = json.dumps(event(channel, status=status, **members))
                for xadd in xadds(PREFIX, channel, data):
                    pipe.xadd(*xadd)
        pipe.execute()

    async def _slow_reader(self, delay: float) -> None:
        """A client that reads nothing, and events that are large."""
        await asyncio.sleep(delay)
        with socket.create_connection(("127.0.0.1", self._server.port)) as client:
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: localhost\r\n"
                b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                b"Cookie: " + cookie("slow").encode() + b"\r\n\r\n"
            )
            for _ in range(180):
                data = json.dumps(event("slow", errors=["x" * 60_000]))
                _, whole = xadds(PREFIX, "slow", data)
                await asyncio.to_thread(self._client.xadd, *whole)
                await asyncio.sleep(0.15)

    async def _refused(self, delay: float) -> None:
        """A misconfigured page or two."""
        await asyncio.sleep(delay)
        cookies = ["session=1", "session=1", cookie("c", "y" * 40), "async-token=x"]
        for number in range(120):
            headers = {"Cookie": random.choice(cookies)}
            if number % 4 == 0:
                headers = {"Cookie": cookie("c"), "Origin": "https://elsewhere.example.org"}
            with contextlib.suppress(InvalidStatus):
                async with connect(self._server.url(), additional_headers=headers):
                    pass
            await asyncio.sleep(0.2)

    async def _replace(self, delay: float) -> None:
        """One of the workers is stopped and replaced; its tabs come back and catch up."""
        await asyncio.sleep(delay)
        os.kill(self._server.pids()[0], signal.SIGTERM)

    async def _outage(self, delay: float) -> None:
        """Redis hangs for a quarter of a minute."""
        await asyncio.sleep(delay)
        self._redis.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(16)
        finally:
            self._redis.process.send_signal(signal.SIGCONT)


async def record(play: Play, url: str) -> list[Samples]:
    """Scrape while it is played."""
    scrapes: list[Samples] = []
    playing = asyncio.create_task(play.run())
    while not playing.done():
        scrapes.append(await asyncio.to_thread(scrape, url))
        await asyncio.wait([playing], timeout=EVERY)
    await playing
    return scrapes


def scrape(url: str) -> Samples:
    """Name and labels → value."""
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- the expressions -----------------------------------------------------------------------------

_SELECTED = r'(\w+)\{job=~"\$job"\}'
_RATE = rf"rate\({_SELECTED}\[\$__rate_interval\]\)"
_GAUGE = re.compile(rf"(sum|max)(?: by \(([\w, ]+)\))? ?\({_SELECTED}\)")
_DIFFERENCE = re.compile(rf"sum\({_SELECTED}\) - sum\({_SELECTED}\)")
_TOTAL = re.compile(rf"sum(?: by \(([\w, ]+)\))? \(?\(?{_RATE}\)|sum\({_RATE}\)")
_QUANTILE = re.compile(rf"histogram_quantile\(([\d.]+), sum by \(le\) \({_RATE}\)\)")


def evaluate(expression: str, scrapes: Sequence[Samples]) -> Series:
    """The series of a panel's expression."""
    if found := _QUANTILE.fullmatch(expression):
        share, name = float(found[1]), found[2]
        return {(): quantiles(share, rates(name, ("le",), scrapes))}
    if found := _TOTAL.fullmatch(expression):
        labels = tuple(found[1].split(", ")) if found[1] else ()
        return rates(found[2] or found[3], labels, scrapes)
    if found := _DIFFERENCE.fullmatch(expression):
        more, less = (gauge(found[n], (), sum, scrapes)[()] for n in (1, 2))
        return {(): [a - b for a, b in zip(more, less, strict=True)]}
    if found := _GAUGE.fullmatch(expression):
        labels = tuple(found[2].split(", ")) if found[2] else ()
        return gauge(found[3], labels, max if found[1] == "max" else sum, scrapes)
    raise ValueError(f"an expression of another form: {expression}")


def gauge(
    name: str,
    labels: Sequence[str],
    together: Callable[[list[float]], float],
    scrapes: Sequence[Samples],
) -> Series:
    """Values at each scrape, put together by labels."""
    groups = [grouped(name, labels, samples) for samples in scrapes]
    keys = sorted(set().union(*groups))
    return {
        key: [together(group[key]) if key in group else math.nan for group in groups]
        for key in keys
    }


def grouped(name: str, labels: Sequence[str], samples: Samples) -> dict[Labels, list[float]]:
    """The values of a name, by those of its labels that are of interest."""
    groups: dict[Labels, list[float]] = {}
    for (sample, all_labels), value in samples.items():
        if sample == name:
            key = tuple((k, v) for k, v in all_labels if k in labels)
            groups.setdefault(key, []).append(value)
    return groups


def rates(name: str, labels: Sequence[str], scrapes: Sequence[Samples]) -> Series:
    """Growth per second within the window, added up by labels."""
    totals = [
        {key: sum(values) for key, values in grouped(name, labels, samples).items()}
        for samples in scrapes
    ]
    back = round(WINDOW / EVERY)
    keys = sorted(set().union(*totals))
    return {
        key: [
            (sums.get(key, 0.0) - totals[max(0, i - back)].get(key, 0.0)) / WINDOW
            for i, sums in enumerate(totals)
        ]
        for key in keys
    }


def quantiles(share: float, buckets: Series) -> list[float]:
    """As Prometheus's histogram_quantile: linear within a bucket."""
    ordered = sorted((float(dict(key)["le"]), values) for key, values in buckets.items())
    columns = zip(*(values for _, values in ordered), strict=True)
    bounds = [le for le, _ in ordered]
    return [_quantile(share, list(zip(bounds, column, strict=True))) for column in columns]


def _quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float:
    rank = share * buckets[-1][1]
    if rank <= 0:
        return math.nan
    lower = below = 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


# --- the picture ---------------------------------------------------------------------------------

COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#56a64b", "#8ab8ff"]
THRESHOLDS = {"green": "#37872d", "orange": "#c4700b", "red": "#c4162a"}
CELL, ROW, GAP = 46, 26, 8  # Grafana's grid, in pixels
STYLE = """
body { margin: 0; background: #111217; font: 12px 'DejaVu Sans', sans-serif; color: #ccccdc }
main { position: relative }
section { position: absolute; background: #181b1f; border: 1px solid #2c3235; border-radius: 2px }
h2 { font-size: 12px; font-weight: 600; margin: 6px 10px 0 }
footer { position: absolute; bottom: 5px; left: 10px; font-size: 10px }
footer span { margin-right: 10px; white-space: nowrap }
.value { font-size: 34px; font-weight: 600; text-align: center; color: #fff; margin-top: 12px }
text { fill: #8e8e99; font-size: 10px }
"""


def shown(value: float, unit: str) -> str:
    """A value with its unit, as Grafana writes it."""
    if math.isnan(value):
        return "no data"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "bytes" and value >= 1024:
        step = min(int(math.log(value, 1024)), 2)
        return f"{value / 1024**step:.3g} {('B', 'KiB', 'MiB')[step]}"
    suffix = {"s": " s", "bytes": " B", "cps": "/s", "none": ""}[unit]
    return f"{value:.3g}{suffix}"


def draw_stat(panel: Mapping[str, Any], series: Sequence[float], width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    last = next((value for value in reversed(series) if not math.isnan(value)), math.nan)
    steps = defaults["thresholds"]["steps"]
    color = [s["color"] for s in steps if s["value"] is None or last >= s["value"]][-1]
    points = polyline(series, max([v for v in series if v == v] or [1]), width, height, 0, 0, 40)
    return (
        f'<svg width="{width}" height="{height}" style="position:absolute;top:0;left:0">'
        f'<rect width="{width}" height="{height}" fill="{THRESHOLDS[color]}"/>'
        f'<polyline points="{points}" fill="none" stroke="#ffffff66"/></svg>'
        f'<h2 style="position:relative;color:#fff">{html.escape(panel["title"])}</h2>'
        f'<div class="value" style="position:relative">{shown(last, defaults["unit"])}</div>'
    )


def polyline(
    values: Sequence[float], top: float, width: int, height: int, left: int, right: int, head: int
) -> str:
    step = (width - left - right) / max(1, len(values) - 1)
    scale = (height - head) / (top or 1)
    return " ".join(
        f"{left + i * step:.1f},{height - value * scale:.1f}"
        for i, value in enumerate(values)
        if not math.isnan(value)
    )


def draw_lines(
    panel: Mapping[str, Any], lines: Sequence[tuple[str, list[float]]], width: int, height: int
) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    heights: list[list[float]] = []
    for _, values in lines:
        below = heights[-1] if stacked and heights else [0.0] * len(values)
        heights.append([a + b for a, b in zip(values, below, strict=True)])
    top = nice(max([v for values in heights for v in values if v == v] or [0.0]))
    plot, left, right, head = height - 62, 58, 12, 10
    parts = [f'<svg width="{width}" height="{plot + 20}">']
    for n in range(5):
        y = head + (plot - head) * n / 4
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y}" y2="{y}" stroke="#2c3235"/>')
        label = shown(top * (4 - n) / 4, unit) if n < 4 else "0"
        parts.append(f'<text x="{left - 6}" y="{y + 3}" text-anchor="end">{label}</text>')
    for n in range(5):
        x = left + (width - left - right) * n / 4
        parts.append(
            f'<text x="{x}" y="{plot + 15}" text-anchor="middle">{SECONDS * n // 4} s</text>'
        )
    for number, values in reversed(list(enumerate(heights))):
        color = COLORS[number % len(COLORS)]
        points = polyline(values, top, width, plot, left, right, head)
        if stacked:
            edge = f"{width - right},{plot} {left},{plot}"
            parts.append(f'<polygon points="{points} {edge}" fill="{color}" opacity=".55"/>')
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.3"/>'
        )
    parts.append("</svg><footer>")
    for number, (name, _) in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        parts.append(f'<span><b style="color:{color}">▬</b> {html.escape(name)}</span>')
    return f"<h2>{html.escape(panel['title'])}</h2>" + "".join(parts) + "</footer>"


def nice(top: float) -> float:
    if top <= 0:
        return 1.0
    unit = 10 ** math.floor(math.log10(top))
    return float(next(unit * n for n in (1, 2, 2.5, 4, 5, 8, 10) if unit * n >= top))


def legend(target: Mapping[str, Any], labels: Labels) -> str:
    replace: Callable[[re.Match[str]], str] = lambda match: dict(labels)[match[1]]  # noqa: E731
    return re.sub(r"\{\{(\w+)\}\}", replace, target["legendFormat"])


def page(dashboard: Mapping[str, Any], scrapes: Sequence[Samples]) -> tuple[str, int, int]:
    """The page and its size."""
    sections = []
    bottom = 0
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        width, height = grid["w"] * CELL - GAP, grid["h"] * ROW - GAP
        lines = [
            (legend(target, labels), values)
            for target in panel["targets"]
            for labels, values in evaluate(target["expr"], scrapes).items()
        ]
        if "{{" in panel["targets"][0]["legendFormat"]:
            lines = [(name, values) for name, values in lines if any(values)]
        if panel["type"] == "stat":
            inner = draw_stat(panel, lines[0][1], width, height)
        else:
            inner = draw_lines(panel, lines, width, height)
        place = f"left:{grid['x'] * CELL + GAP}px;top:{grid['y'] * ROW + GAP}px"
        size = f"width:{width}px;height:{height}px"
        sections.append(f'<section style="{place};{size};overflow:hidden">{inner}</section>')
        bottom = max(bottom, (grid["y"] + grid["h"]) * ROW)
    text = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{''.join(sections)}"
    return text + "</main>", 24 * CELL + GAP, bottom + GAP


def photograph(text: str, width: int, height: int, directory: Path) -> None:
    source = directory / "dashboard.html"
    source.write_text(text, encoding="utf-8")
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={directory}/profile", f"--window-size={width},{height}"),
            *(f"--screenshot={PICTURE}", source.as_uri()),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        redis_server = RedisServer(directory)
        port = free_port()
        environ = {"METRICS_PORT": str(port), "PING_SOCKETS_INTERVAL_MS": "20000"}
        server = Server(directory, redis_server.port, workers=2, environ=environ)
        try:
            play = Play(server, redis_server)
            scrapes = asyncio.run(record(play, f"http://127.0.0.1:{port}/metrics"))
        finally:
            server.stop()
            redis_server.close()
        photograph(*page(dashboard, scrapes), directory)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1024} KB, {len(scrapes)} scrapes")


if __name__ == "__main__":
    main()
