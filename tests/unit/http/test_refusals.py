# SPDX-License-Identifier: Apache-2.0
"""One table of refusals: the reasons in the code are its keys, and each has an answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from wsgi_ws.http.refusals import REFUSALS, Refusal
from wsgi_ws.transport import Transport

PACKAGE = Path(__file__).resolve().parents[3] / "wsgi_ws"


def reasons_in(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
            reason = node.args[0]
            assert isinstance(reason, ast.Constant)
            yield str(reason.value)


MODULES = (
    *("http/auth/authenticator.py", "http/auth/claims.py", "http/handshake.py"),
    *("clients.py", "service.py"),
)


def test_the_reasons_in_the_code_and_those_in_the_table_are_the_same() -> None:
    assert {reason for module in MODULES for reason in reasons_in(module)} == set(REFUSALS)


def remedy(reason: str, transport: Transport | None) -> str:
    refusal = Refusal(reason, "the problem")
    refusal.transport = transport
    return refusal.remedy


@pytest.mark.parametrize("transport", [None, *Transport])
@pytest.mark.parametrize("reason", REFUSALS)
def test_a_remedy_is_one_sentence_for_the_end_of_a_line(
    reason: str, transport: Transport | None
) -> None:
    text = remedy(reason, transport)
    assert text
    assert "\n" not in text
    assert not text.endswith(".")


SETTINGS = {
    Transport.STREAMS: "GLOBAL_ASYNC_QUERIES_JWT_",
    Transport.REALTIME: "WEBSOCKET_JWT_",
}
WITH_SETTINGS = ["no_cookie", "bad_signature", "malformed_token"]


@pytest.mark.parametrize("reason", WITH_SETTINGS)
@pytest.mark.parametrize("transport", Transport)
def test_a_remedy_names_the_settings_of_the_right_superset(
    reason: str, transport: Transport
) -> None:
    named = {t for t, prefix in SETTINGS.items() if prefix in remedy(reason, transport)}
    assert named == {transport}


@pytest.mark.parametrize("reason", WITH_SETTINGS)
def test_a_remedy_for_either_superset_names_the_settings_of_both(reason: str) -> None:
    assert all(prefix in remedy(reason, None) for prefix in SETTINGS.values())


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_status_is_a_code_and_its_phrase(reason: str) -> None:
    code, phrase = REFUSALS[reason].status.split(" ", 1)
    assert HTTPStatus(int(code)).phrase == phrase


def test_a_client_is_told_the_problem_where_there_is_no_other_advice() -> None:
    assert Refusal("closed", "the problem").advice == "the problem"
    assert Refusal("expired", "the problem").advice != "the problem"


def test_a_page_of_another_superset_is_told_to_be_reloaded() -> None:
    assert "reload the page" in Refusal("wrong_transport", "the problem").advice


# --- which are alike -----------------------------------------------------------------------------


def test_refusals_are_alike_whatever_the_client_has_sent() -> None:
    one = Refusal("bad_version", "only 13 is spoken here", ", not 8")
    other = Refusal("bad_version", "only 13 is spoken here", ", not 7")
    assert (one.alike, str(one)) == (other.alike, "only 13 is spoken here, not 8")


def test_refusals_of_two_transports_are_not_alike() -> None:
    streams, realtime = Refusal("expired", "too old"), Refusal("expired", "too old")
    streams.transport, realtime.transport = Transport
    assert streams.alike != realtime.alike


def test_refusals_with_two_problems_are_not_alike() -> None:
    assert Refusal("malformed_token", "no exp").alike != Refusal("malformed_token", "no iss").alike
