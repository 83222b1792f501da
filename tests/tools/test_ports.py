# SPDX-License-Identifier: Apache-2.0
"""Ports of the servers under test: nobody else gets them between the question and the start."""

from __future__ import annotations

import socket
import subprocess
import sys

from testbed.ports import BLOCK, free_port
from testbed.servers import ROOT


def test_two_processes_get_no_port_in_common() -> None:
    ours = {free_port() for _ in range(BLOCK)}
    program = f"from testbed.ports import free_port\nfor _ in range({BLOCK}): print(free_port())"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    theirs = {int(line) for line in printed.split()}
    assert theirs
    assert ours & theirs == set()


def test_a_port_that_somebody_listens_on_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        assert taken not in {free_port() for _ in range(BLOCK)}
