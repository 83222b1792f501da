# SPDX-License-Identifier: Apache-2.0
"""A report: its level, its text, its JSON."""

from __future__ import annotations

import json

import pytest

from wsgi_ws.cli.checks.report import Report, Value, as_json, as_text
from wsgi_ws.cli.checks.words import Level, green, red, worst, yellow
from wsgi_ws.config.set_by import NOBODY, Kind, SetBy

VALUE = Value("redis.db", "1", SetBy(Kind.FILE, "config.json"))
MIXED = Report([VALUE], [red("redis", "it is down"), green("port", "it is free")])


@pytest.mark.parametrize(
    ("findings", "level"),
    [
        ([], Level.GREEN),
        ([green("a", "x"), yellow("b", "y")], Level.YELLOW),
        ([red("a", "x"), yellow("b", "y")], Level.RED),
    ],
)
def test_the_worst_finding_gives_the_level(findings: list[object], level: Level) -> None:
    assert worst(findings) is level  # type: ignore[arg-type]


def test_what_is_wrong_comes_last_where_eyes_are() -> None:
    lines = as_text(MIXED, colours=False, width=80).splitlines()
    assert lines[0] == "Configuration"
    assert lines[1].split() == ["redis.db", "1", "config.json"]
    assert lines[-4].split(maxsplit=2) == ["ok", "port", "it is free"]
    assert lines[-3].split(maxsplit=2) == ["BAD", "redis", "it is down"]
    assert lines[-1] == "1 wrong, 0 to look at, 1 fine"


def test_what_nobody_has_set_takes_little_room() -> None:
    defaults = [Value(f"key{n}", str(n), NOBODY) for n in range(50)]
    lines = as_text(Report([VALUE, *defaults], []), colours=False, width=80).splitlines()
    assert lines[2].startswith("  by default: key0=0 key1=1 ")
    assert len(lines) < 16
    assert max(map(len, lines)) <= 80


def test_of_several_faults_the_first_is_to_be_mended_first() -> None:
    both = [red("redis", "it is down"), red("url", "no event arrives")]
    text = as_text(Report((), both), colours=False, width=80)
    assert text.index("it is down") < text.index("no event arrives")
    assert "begin with the first" in text.splitlines()[-1]
    assert "begin" not in as_text(MIXED, colours=False, width=80)


def test_colours_are_asked_for() -> None:
    assert "\x1b[" not in as_text(MIXED, colours=False, width=80)
    assert "\x1b[31m" in as_text(MIXED, colours=True, width=80)


def test_a_long_sentence_is_wrapped_under_itself() -> None:
    report = Report((), [yellow("url", "word " * 40)])
    lines = as_text(report, colours=False, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].index("word") == lines[1].index("word")


def test_a_command_to_copy_is_not_broken_at_its_hyphens() -> None:
    report = Report((), [yellow("url", "x " * 15 + "/a-path-with-many-hyphens-in-its-name")])
    text = as_text(report, colours=False, width=60)
    assert "/a-path-with-many-hyphens-in-its-name" in text


def test_json_has_everything() -> None:
    document = json.loads(as_json(MIXED))
    assert document["level"] == "red"
    assert document["configuration"] == [{"key": "redis.db", "value": "1", "source": "config.json"}]
    assert document["findings"][0] == {"level": "red", "what": "redis", "sentence": "it is down"}
