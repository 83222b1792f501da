# SPDX-License-Identifier: Apache-2.0
"""A script in a network namespace of its own, where the kernel's settings can be others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.servers import ROOT

UNSHARE = ("unshare", "--net", "--map-root-user", "--user")
TIMEOUT = 100.0  # seconds


def has_namespaces() -> bool:
    """Whether one can be made and changed here."""
    try:
        run = subprocess.run([*UNSHARE, "ip", "link"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return run.returncode == 0


needs_namespace = pytest.mark.skipif(
    not has_namespaces(), reason="no network namespace can be made: no ip, or no permission"
)


def run_in_namespace(script: Path, preparation: str) -> subprocess.CompletedProcess[str]:
    """
    :param preparation: a shell's command, as root of the namespace.
    """
    return subprocess.run(
        [*UNSHARE, "sh", "-c", f"{preparation} && exec {sys.executable} {script}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
