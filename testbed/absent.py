# SPDX-License-Identifier: Apache-2.0
"""What a test needs and this machine lacks: a developer may, CI may not."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """End the test: skipped with the reason, but failed where `CI=true` (.ci/run installs all)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
