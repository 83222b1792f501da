# SPDX-License-Identifier: Apache-2.0
"""The echo server that conformance suites are run against: it must be there when one wants it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from testbed.servers import DEADLINE, ROOT


@pytest.fixture
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "compliance.echo_server", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_it_sends_back_what_it_gets(url: str) -> None:
    with connect(url) as client:
        client.send("text")
        client.send(b"bytes")
        assert [client.recv(timeout=DEADLINE), client.recv(timeout=DEADLINE)] == ["text", b"bytes"]
