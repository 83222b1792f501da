# SPDX-License-Identifier: Apache-2.0
"""Wheel and sdist, built as `make dist` builds them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

from testbed.absent import absent
from testbed.servers import ROOT
from wsgi_ws import __version__

PACKED = f"wsgi_ws-{__version__}"


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """Wheel and sdist of a source tree; ends the test where hatchling is too old for it."""
    (needed,) = re.findall('"hatchling>=(.*?)"', (ROOT / "pyproject.toml").read_text())
    if Version(version("hatchling")) < Version(needed):  # the lowest packaging fits an older one
        absent(f"wheel and sdist are built with hatchling {needed} or newer")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(target)],
        cwd=source,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target / f"{PACKED}-py3-none-any.whl", target / f"{PACKED}.tar.gz"
