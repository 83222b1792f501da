# SPDX-License-Identifier: Apache-2.0
"""An event larger than maxSocketBufferBytes, over a path whose packets are as small as usual.

The loopback interface of a test machine has packets of 64 KiB, and so takes megabytes at once. An
interface of the usual size needs a network namespace of its own.
"""

from __future__ import annotations

from pathlib import Path

from testbed.namespace import needs_namespace, run_in_namespace

SCRIPT = Path(__file__).with_name("large_events_in_namespace.py")


@needs_namespace
def test_an_event_larger_than_the_limit_arrives_once_and_so_does_what_follows() -> None:
    run = run_in_namespace(SCRIPT, "ip link set lo mtu 1500 up")
    assert run.stdout.split() == ["large", "small", "missed", "live"], run.stderr
