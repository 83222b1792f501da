# SPDX-License-Identifier: Apache-2.0
"""`make compare` tells in a line when a server that it is to measure is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from testbed.servers import ROOT

VARIABLES = ("BUN", "NODE_SERVER", "NODE_SERVER_REALTIME")


def compare(rounds: int, **named: str) -> subprocess.CompletedProcess[str]:
    """
    :param named: the variables that name a server; the others are blank.
    """
    options = ["drain", "--rounds", str(rounds), "--no-save"]
    return subprocess.run(
        [sys.executable, "-m", "bench", "compare", *options],
        cwd=ROOT,
        env=os.environ | dict.fromkeys(VARIABLES, "") | named,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("BUN", "/no/such/bun", "name the executable of Bun"),
        ("NODE_SERVER", "/no/such/tree", "name the directory of the server"),
        ("NODE_SERVER_REALTIME", "/", "name the directory of the server"),
    ],
)
def test_a_server_that_is_not_there_is_told_before_anything_is_measured(
    variable: str, value: str, remedy: str
) -> None:
    result = compare(rounds=0, **{variable: value})
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith(f"Error: {variable}={value} ")
    assert remedy in result.stderr


def test_a_server_that_ends_at_once_is_not_waited_for() -> None:
    result = compare(rounds=1, BUN="false")
    assert result.returncode == 1
    assert "bun ended with exit code 1 while starting" in result.stderr
