# SPDX-License-Identifier: Apache-2.0
"""Documents are read as their readers read them: commands, headings, blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.markdown import Block, Command, Document, commands_of


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("wsgi-ws check --hold 65  # as long as it takes", "wsgi-ws check --hold 65"),
        ("JWT_SECRET=… /opt/bin/wsgi-ws serve -b :1 >log 2>&1 &", "JWT_SECRET wsgi-ws serve -b :1"),
        ("cd /etc/x && python -m wsgi_ws tail | head", "wsgi-ws tail"),
        ("docker compose exec -T websocket wsgi-ws check \\\n  --json", "wsgi-ws check --json"),
        ("kubectl exec deploy/wsgi-ws -- wsgi-ws version", "wsgi-ws version"),
        ("sudo -u wsgi-ws wsgi-ws check", "wsgi-ws check"),
        ('curl -H "Cookie: $(wsgi-ws token --raw)" http://x', "wsgi-ws token --raw"),
        ("gunicorn -c gunicorn.conf.py 'wsgi:app'", "gunicorn -c gunicorn.conf.py wsgi:app"),
    ],
)
def test_a_command_is_found_in_a_line(script: str, expected: str) -> None:
    (command,) = commands_of(script)
    assert " ".join((*command.assigned, command.program, *command.arguments)) == expected


@pytest.mark.parametrize(
    "script",
    ["docker build -t wsgi-ws .", "systemctl restart wsgi-ws nginx", "pip install wsgi-ws", "it's"],
)
def test_a_name_is_no_command(script: str) -> None:
    assert list(commands_of(script)) == []


def test_headings_blocks_links_and_spans_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# What's `new`: a *b*\n\nSee [it](a.md#x) and `[not](b.md)`.\n\n    wsgi-ws tail\n\n"
        "1. So\n\n   ```sh run\n   # no heading\n   wsgi-ws check\n   ```\n\n## So\n\n## So\n"
    )
    document = Document(path)
    assert document.anchors == {"whats-new-a-b", "so", "so-1"}
    assert document.links == ["a.md#x"]
    assert document.spans == ["new", "[not](b.md)"]
    assert document.blocks == [
        Block("sh", True, "# no heading\nwsgi-ws check\n"),
        Block("", False, "wsgi-ws tail\n"),
    ]
    assert document.commands == [Command((), "wsgi-ws", (name,)) for name in ("check", "tail")]
