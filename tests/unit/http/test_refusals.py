# SPDX-License-Identifier: Apache-2.0
"""One table of refusals: the reasons in the code are its keys, and each has an answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from wsgi_ws.http.refusals import REFUSALS, Refusal

PACKAGE = Path(__file__).resolve().parents[3] / "wsgi_ws"


def reasons_in(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
            reason = node.args[0]
            assert isinstance(reason, ast.Constant)
            yield str(reason.value)


def test_the_reasons_in_the_code_and_those_in_the_table_are_the_same() -> None:
    assert {*reasons_in("http/auth.py"), *reasons_in("http/handshake.py")} == set(REFUSALS)


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_remedy_is_one_sentence_for_the_end_of_a_line(reason: str) -> None:
    remedy = REFUSALS[reason].remedy
    assert remedy
    assert "\n" not in remedy
    assert not remedy.endswith(".")


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_status_is_a_code_and_its_phrase(reason: str) -> None:
    code, phrase = REFUSALS[reason].status.split(" ", 1)
    assert HTTPStatus(int(code)).phrase == phrase


def test_a_client_is_told_the_problem_where_there_is_no_other_advice() -> None:
    assert Refusal("closed", "the problem").advice == "the problem"
    assert Refusal("expired", "the problem").advice != "the problem"
