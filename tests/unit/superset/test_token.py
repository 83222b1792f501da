# SPDX-License-Identifier: Apache-2.0
"""The cookie's token is what Superset makes and this server admits."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from wsgi_ws.http.auth.authenticator import Authenticator
from wsgi_ws.superset.token import RealtimeSigner, Signer

GUEST = "guest:" + "5e88" * 16
SECRET = "a-secret-of-tests-with-64-bytes, which is what HS512 wants at least"


def test_a_token_has_the_channel_and_a_null_user_as_supersets() -> None:
    token = Signer(SECRET).sign("c1")
    claims = jwt.decode(token, SECRET, ["HS256"], options={"verify_sub": False})
    assert claims == {"channel": "c1", "sub": None}


def test_claims_can_be_added_and_replaced() -> None:
    token = Signer(SECRET).sign("c1", sub="7", exp=4_000_000_000)
    assert jwt.decode(token, SECRET, ["HS256"]) == {
        "channel": "c1",
        "sub": "7",
        "exp": 4_000_000_000,
    }


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_the_server_admits_the_cookie(algorithm: str) -> None:
    signer = Signer(SECRET, "name", "claim", algorithm)
    authenticator = Authenticator(SECRET, [algorithm], "name", "claim")
    assert authenticator.identify(signer.cookie("c1"), 0.0).channel == "c1"


def test_the_cookies_name_is_supersets_default() -> None:
    assert Signer(SECRET).cookie("c1").startswith("async-token=")


def test_its_own_token_is_read_again() -> None:
    signer = Signer(SECRET)
    assert signer.channel(signer.sign("c1")) == "c1"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="none at all"),
        pytest.param("no.token", id="nonsense"),
        pytest.param(Signer(SECRET + "x").sign("c1"), id="another secret"),
        pytest.param(Signer(SECRET, channel_key="other").sign("c1"), id="another claim"),
    ],
)
def test_another_token_has_no_channel(token: str) -> None:
    assert Signer(SECRET).channel(token) is None


def test_a_signer_keeps_its_secret() -> None:
    assert SECRET not in repr(Signer(SECRET))


# --- Superset 7 ----------------------------------------------------------------------------------


def realtime_claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, SECRET, ["HS256"], audience="superset-websocket")


@pytest.mark.parametrize(
    ("principal", "kind", "subject"), [("user:42", "user", "42"), (GUEST, "guest", GUEST)]
)
def test_a_realtime_token_says_who_its_principal_is(
    principal: str, kind: str, subject: str
) -> None:
    claims = realtime_claims(RealtimeSigner(SECRET).sign(principal))
    assert (claims["channel"], claims["principal_type"], claims["sub"]) == (
        principal,
        kind,
        subject,
    )


def test_a_realtime_token_has_supersets_claims_in_supersets_order() -> None:
    claims = realtime_claims(RealtimeSigner(SECRET).sign("user:42"))
    assert [*claims] == ["channel", "principal_type", "sub", "aud", "iat", "iss", "exp"]
    assert (claims["aud"], claims["iss"]) == ("superset-websocket", "superset")


def test_a_realtime_token_counts_for_a_quarter_of_an_hour_from_now_on() -> None:
    before = int(time.time())
    claims = realtime_claims(RealtimeSigner(SECRET).sign("user:42"))
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == 900


def test_a_claim_of_a_realtime_token_can_be_replaced_or_left_out() -> None:
    claims = realtime_claims(RealtimeSigner(SECRET).sign("user:42", iat=None, sub="7"))
    assert claims["sub"] == "7"
    assert "iat" not in claims


def test_the_realtime_cookies_name_is_the_default_of_superset_7() -> None:
    assert RealtimeSigner(SECRET).cookie("user:42").startswith("superset-ws-token=")


def test_a_realtime_signer_keeps_its_secret() -> None:
    assert SECRET not in repr(RealtimeSigner(SECRET))
