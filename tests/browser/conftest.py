# SPDX-License-Identifier: Apache-2.0
"""A real browser. Without one its tests are skipped, but never where all tests must run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from testbed import browser
from testbed.absent import absent
from testbed.browser import NoBrowser
from testbed.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# In a hook: what a fixture skips is reported with a line for each test.
def pytest_runtest_setup() -> None:
    """Look for a browser before anything is started."""
    try:
        browser.executable()
    except NoBrowser as error:
        absent(str(error))


# Of a module and no longer: while Playwright runs, the thread has an event loop that others would
# stumble over.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with contextlib.ExitStack() as cleanup:
        try:
            found = cleanup.enter_context(browser.chromium())
        except NoBrowser as error:
            absent(str(error))
        yield found


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo that a module's tests share."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield demo.url()
    finally:
        code = demo.stop()
    assert code == 0, demo.output
