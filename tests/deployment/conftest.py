# SPDX-License-Identifier: Apache-2.0
"""What some of these tests need, looked for before anything is started."""

from __future__ import annotations

import pytest

from testbed.absent import absent
from testbed.container_image import NoBuilder, look_for_builder


# In a hook: what a fixture skips is reported with a line for each test.
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "image" in getattr(item, "fixturenames", ()):
        try:
            look_for_builder()
        except NoBuilder as error:
            absent(str(error))
