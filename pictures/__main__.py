# SPDX-License-Identifier: Apache-2.0
"""Starts the demo, drives its page in Chromium, and leaves docs/demo.png and docs/demo.webp.

What is seen is what happens: queries run, a worker is killed, Redis is stopped and started again.
Fails when the page's own verdict is not that every tab has got everything.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize

from pictures.film import Film
from testbed.browser import NoBrowser, chromium
from testbed.demo import Demo
from testbed.servers import DEADLINE, ROOT

VIEW = ViewportSize(width=1240, height=800)
FILM_WIDTH = 992
WARM_UP_S = 20.0  # so that the charts have something to show


def main() -> int:
    """Take the pictures; returns the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        demo = Demo(Path(directory))
        try:
            with chromium() as browser:
                take(browser, demo.url())
        except NoBrowser as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            demo.stop()
    return 0


def take(browser: Browser, url: str) -> None:
    """Both pictures, of one visit."""
    page = browser.new_page(viewport=VIEW, color_scheme="light")
    page.goto(url)
    page.check("#steady")
    time.sleep(WARM_UP_S)
    film = Film(page.screenshot, FILM_WIDTH)
    perform(page, film)
    film.save(ROOT / "docs" / "demo.webp")
    page.screenshot(path=ROOT / "docs" / "demo.png", full_page=True)


def perform(page: Page, film: Film) -> None:
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
