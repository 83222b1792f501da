# SPDX-License-Identifier: Apache-2.0
"""No refusal without advice: the reasons in the code and those with a remedy are the same."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgi_ws.http.refusals import REMEDIES, remedy_for

PACKAGE = Path(__file__).resolve().parents[3] / "wsgi_ws"


def reasons_in(module: str, exception: str, argument: int) -> Iterator[str]:
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == exception:
            reason = node.args[argument]
            if isinstance(reason, ast.Constant):
                yield str(reason.value)


def test_every_reason_has_a_remedy_and_every_remedy_a_reason() -> None:
    reasons = {
        *reasons_in("http/auth.py", "AuthError", 0),
        *reasons_in("http/handshake.py", "Refusal", 1),
    }
    assert reasons == set(REMEDIES)


@pytest.mark.parametrize("remedy", REMEDIES.values(), ids=REMEDIES)
def test_a_remedy_is_one_sentence_for_the_end_of_a_line(remedy: str) -> None:
    assert "\n" not in remedy
    assert not remedy.endswith(".")


def test_what_is_unknown_has_no_remedy() -> None:
    assert remedy_for("whatever") == ""
