# SPDX-License-Identifier: Apache-2.0
"""The cookie's token is what Superset makes and this server admits."""

from __future__ import annotations

import jwt
import pytest

from wsgi_ws.http.auth import Authenticator
from wsgi_ws.superset.token import Signer

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
