# SPDX-License-Identifier: Apache-2.0
"""The service is reached at its port over IPv4 and over IPv6."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.namespace import needs_namespace, run_in_namespace

SCRIPT = Path(__file__).with_name("addresses_in_namespace.py")


@needs_namespace
@pytest.mark.parametrize("only", [0, 1])
def test_it_listens_on_all_addresses_whatever_the_kernel_does_by_default(only: int) -> None:
    """With net.ipv6.bindv6only=1 a socket for [::] takes no IPv4."""
    run = run_in_namespace(
        SCRIPT, f"ip link set lo up && echo {only} > /proc/sys/net/ipv6/bindv6only"
    )
    both = ["127.0.0.1", "::1"]
    assert run.stdout.split() == ["started", *both, "moved", *both], run.stderr
