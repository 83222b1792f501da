# SPDX-License-Identifier: Apache-2.0
"""What a page of Superset does in Chromium: its sockets, frames, jobs and polls."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    BrowserContext,
    Page,
    Response,
    WebSocket,
)

from interop.environment import BUILD
from testbed.browser import executable

DEADLINE = 60.0  # seconds for a page to draw its charts
STEP_MS = 100
SIZE = {"width": 1400, "height": 860}
# A chart that is drawn has one of these; one that waits has a spinner only.
_DRAWN = """containers => containers.filter(container =>
    container.querySelector('canvas, table, .header-line')).length"""


def version() -> str:
    """What Chromium says of itself."""
    done = subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:2])


def sign_in(context: BrowserContext, url: str, user: str, password: str) -> None:
    """Through Superset's form, as people do."""
    page = context.new_page()
    page.goto(f"{url}/login/")
    page.fill("#username", user)
    page.fill("#password", password)
    page.press("#password", "Enter")
    page.wait_for_url("**/superset/welcome/", timeout=DEADLINE * 1000)
    page.close()


class Tab:
    """A page, and all that goes between it and the servers from now on."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.sockets: list[str] = []  # their URLs, in order
        self.frames: list[dict[str, Any]] = []
        self.polls = 0
        self.policy = ""  # the Content Security Policy of the page
        self._answers: list[Response] = []
        self.page.on("websocket", self._on_socket)
        self.page.on("response", self._on_response)

    def open(self, url: str) -> None:
        """Go to a page; it goes on loading."""
        answer = self.page.goto(url, wait_until="commit")
        self.policy = answer.headers.get("content-security-policy", "") if answer else ""

    def wait(self, condition: Any, what: str) -> None:
        """Let the page go on until `condition()` is true."""
        for _ in range(int(DEADLINE * 1000 / STEP_MS)):
            if condition():
                return
            self.page.wait_for_timeout(STEP_MS)
        seen = BUILD / "failed.png"
        self.picture(seen)
        seen.with_suffix(".html").write_text(self.page.content(), encoding="utf-8")
        raise AssertionError(f"not within {DEADLINE:.0f} s: {what}; {self.figures()}; {seen}")

    def jobs(self) -> set[str]:
        """The IDs of the queries that Superset has promised an event for."""
        return {answer.json()["job_id"] for answer in self._asked()}

    def asked(self) -> int:
        """How many charts wait, or have waited, for an event."""
        return len(self._asked())

    def refused(self) -> int:
        """How many results could not be fetched."""
        return sum(answer.status >= 400 for answer in self._answers)

    def drawn(self) -> int:
        """How many charts are drawn."""
        return sum(
            int(frame.eval_on_selector_all(".slice_container", _DRAWN))
            for frame in self.page.frames
        )

    def figures(self) -> dict[str, int]:
        """What has happened, counted."""
        jobs = self.jobs()
        done = Counter(f["job_id"] for f in self.frames if f["status"] == "done")
        return {
            "charts drawn": self.drawn(),
            "queries": len(jobs),
            "their events": len(jobs & done.keys()),
            "repeated": sum(number - 1 for number in done.values()),
            "sockets": len(self.sockets),
            "polls": self.polls,
            "results refused": self.refused(),
        }

    def picture(self, path: Path) -> None:
        """Save what is seen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    def _asked(self) -> list[Response]:
        return [answer for answer in self._answers if answer.status == 202]

    def _on_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        socket.on("framereceived", lambda text: self.frames.append(json.loads(text)))

    def _on_response(self, response: Response) -> None:
        if "/api/v1/chart/data" in response.url:
            self._answers.append(response)
        elif "/api/v1/async_event/" in response.url:
            self.polls += 1
