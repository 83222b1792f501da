# SPDX-License-Identifier: Apache-2.0
"""Lines of `tail`."""

from __future__ import annotations

from typing import Any

import pytest

from wsgi_ws.cli.publish import event
from wsgi_ws.cli.tail import as_line, entry_id


def line(**members: Any) -> str:
    return as_line({"id": "1700000000123-0", **event("c0ffee00-1111"), **members})


def test_a_line_has_time_channel_and_status() -> None:
    assert line(job_id="j", result_url="/x").split() == [
        *("22:13:20.123", "c0ffee00…", "j", "done", "/x")
    ]


def test_a_line_has_the_error() -> None:
    assert "no such table" in line(status="error", errors=[{"message": "no such table"}])


def test_what_comes_from_outside_can_not_command_the_terminal() -> None:
    text = line(status="\x1b[2J", result_url="/x\n\x07")
    assert text.isprintable()


def test_a_malformed_entry_has_a_line_too() -> None:
    text = as_line({"id": "1700000000123-0", "malformed": "data is not JSON"})
    assert text.endswith("1700000000123-0  malformed: data is not JSON")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("0", "0-0"),
        ("1700000000000", "1700000000000-0"),
        ("1700000000000-7", "1700000000000-7"),
        ("$", "None"),
        ("yesterday", "None"),
        ("-", "None"),
        ("1-2-3", "None"),
        ("1&x=2", "None"),
    ],
)
def test_an_id_is_written_whole_or_as_milliseconds(text: str, whole: str) -> None:
    assert str(entry_id(text)) == whole
