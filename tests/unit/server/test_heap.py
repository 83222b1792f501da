# SPDX-License-Identifier: Apache-2.0
"""What a burst leaves behind in the heap goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsgi_ws.server.heap import trimmer

BURST = """
from wsgi_ws.server.heap import trimmer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

trim = trimmer()
blocks = [bytes(20_000) for _ in range(4000)]
blocks = blocks[::50]  # what lives on keeps the heap from shrinking by itself
before = resident()
trim()
print(before - resident())
"""


@pytest.mark.skipif(trimmer() is None, reason="the C library has no malloc_trim")
def test_the_memory_of_a_burst_is_given_back() -> None:
    result = subprocess.run([sys.executable, "-c", BURST], capture_output=True, check=True)
    assert float(result.stdout) > 40  # MiB of 76
