# SPDX-License-Identifier: Apache-2.0
"""The machine's own Chromium, driven through Playwright."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowser(Exception):
    """There is none, or it doesn't start. The text says what to do."""


def executable() -> str:
    """The machine's Chromium.

    :raises NoBrowser: when there is none, or nothing to drive it with.
    """
    if importlib.util.find_spec("playwright") is None:
        raise NoBrowser("Playwright is not installed (requirements-dev.lock has it)")
    found = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if found is None:
        raise NoBrowser("no Chromium found (on Debian: apt-get install chromium)")
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium.

    :raises NoBrowser: when there is none, or it doesn't start.
    """
    path = executable()
    from playwright.sync_api import Error, sync_playwright

    # Chromium's sandbox does not work for root, whom containers run as.
    arguments = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
        except Error as error:
            raise NoBrowser(f"{path} does not start: {error.message.splitlines()[0]}") from None
        with browser:
            yield browser
