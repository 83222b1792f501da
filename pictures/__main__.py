# SPDX-License-Identifier: Apache-2.0
"""Starts the demo, drives its page in Chromium, and leaves docs/demo.png and docs/demo.webp.

What is seen is what happens: queries run, a worker is killed, Redis is stopped and started again.
Fails when the page's own verdict is not that every tab has got everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright  # type: ignore[import-not-found,unused-ignore]

from pictures.film import Film
from testbed.servers import DEADLINE, ROOT, eventually, free_port

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIEW = {"width": 1240, "height": 800}
FILM_WIDTH = 992
WARM_UP_S = 20.0  # so that the charts have something to show


def main() -> int:
    """Take the pictures; returns the exit code."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium found (on Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "demo.log"
        demo = start_demo(directory, log)
        try:
            eventually(lambda: "Ctrl-C" in log.read_text(), "the demo's URL")
            found = re.search(r"http://localhost:\d+/", log.read_text())
            assert found
            take(browser, found[0])
        finally:
            demo.terminate()
            demo.wait(DEADLINE)
    return 0


def start_demo(directory: str, log: Path) -> subprocess.Popen[bytes]:
    """As `make run`, with a Redis of its own and on free ports."""
    ports = {"PORT": str(free_port()), "DEMO_PORT": str(free_port()), "REDIS_PORT": "1"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "wsgi_ws.demo"],
            cwd=directory,  # a config.json of the developer's has no say
            env={**os.environ, **ports, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def take(executable: str, url: str) -> None:
    """Both pictures, of one visit."""
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, who runs this in a container.
        arguments = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        page = browser.new_page(viewport=VIEW, color_scheme="light")
        page.goto(url)
        page.check("#steady")
        time.sleep(WARM_UP_S)
        film = Film(page.screenshot, FILM_WIDTH)
        perform(page, film)
        film.save(ROOT / "docs" / "demo.webp")
        page.screenshot(path=ROOT / "docs" / "demo.png", full_page=True)
        browser.close()


def perform(page: Any, film: Film) -> None:
    """The story of the film."""
    film.run(2)
    for button, seconds in (("run-many", 1.2), ("kill", 6), ("redis", 3), ("redis", 5)):
        page.click(f"#{button}")
        film.run(seconds)
    page.uncheck("#steady")
    page.wait_for_selector("#truth[data-tone=good]", timeout=DEADLINE * 1000)
    film.run(3)
    verdict = page.evaluate("window.__demo.verdict()")
    assert verdict["got"] == verdict["due"] > 0, verdict


if __name__ == "__main__":
    sys.exit(main())
