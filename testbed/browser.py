# SPDX-License-Identifier: Apache-2.0
"""The machine's own Chromium, driven through Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowser(Exception):
    """There is none, or it doesn't start. The text says what to do."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium.

    :raises NoBrowser: when there is none.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoBrowser("Playwright is not installed (requirements-dev.lock has it)") from None
    executable = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if executable is None:
        raise NoBrowser("no Chromium found (on Debian: apt-get install chromium)")
    # Chromium's sandbox does not work for root, whom containers run as.
    arguments = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        except Error as error:
            raise NoBrowser(
                f"{executable} does not start: {error.message.splitlines()[0]}"
            ) from None
        with browser:
            yield browser
