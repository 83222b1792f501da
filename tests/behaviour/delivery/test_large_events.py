# SPDX-License-Identifier: Apache-2.0
"""An event larger than maxSocketBufferBytes, over a path whose packets are as small as usual.

The loopback interface of a test machine has packets of 64 KiB, and so takes megabytes at once. An
interface of the usual size needs a network namespace of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("large_events_in_namespace.py")
UNSHARE = ("unshare", "--net", "--map-root-user", "--user")


def has_namespaces() -> bool:
    """Whether one can be made and changed here."""
    try:
        run = subprocess.run([*UNSHARE, "ip", "link"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return run.returncode == 0


@pytest.mark.skipif(
    not has_namespaces(), reason="no network namespace can be made: no ip, or no permission"
)
def test_an_event_larger_than_the_limit_arrives_once_and_so_does_what_follows() -> None:
    command = f"ip link set lo mtu 1500 up && exec {sys.executable} {SCRIPT}"
    run = subprocess.run(
        [*UNSHARE, "sh", "-c", command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.stdout.split() == ["large", "small", "missed", "live"], run.stderr
