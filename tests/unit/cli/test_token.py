# SPDX-License-Identifier: Apache-2.0
"""The token is what the server admits."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from wsgi_ws.cli.token import NoToken, cookie, realtime_cookie, sign, sign_realtime
from wsgi_ws.config.keys import Settings
from wsgi_ws.http.auth.authenticator import Authenticator

SECRET = "a-secret-of-tests-with-more-than-32-bytes"


def test_a_token_is_what_the_server_admits() -> None:
    settings = Settings(jwt_secret=SECRET, jwt_cookie_name="c", jwt_channel_id_key="k")
    authenticator = Authenticator(SECRET, ["HS256"], "c", "k")
    identity = authenticator.identify(cookie(settings, "channel", expires_in=60), time.time())
    assert identity.channel == "channel"
    assert identity.expires_at is not None
    assert identity.expires_at - time.time() == pytest.approx(60, abs=5)


def test_what_can_not_be_signed_says_why() -> None:
    with pytest.raises(NoToken, match="private key"):
        sign(Settings(jwt_secret=SECRET, jwt_algorithms=("RS256",)), "channel")


# --- Superset 7 ----------------------------------------------------------------------------------


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, SECRET, ["HS256"], audience="superset-websocket")


def test_a_realtime_token_names_the_principal() -> None:
    assert claims(sign_realtime(Settings(jwt_secret=SECRET), "user:42"))["channel"] == "user:42"


def test_the_end_of_a_realtime_token_may_be_another_one() -> None:
    found = claims(sign_realtime(Settings(jwt_secret=SECRET), "user:42", expires_in=60))
    assert found["exp"] - time.time() == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("configured", "name"), [("async-token", "superset-ws-token"), ("bi-token", "bi-token")]
)
def test_the_realtime_cookie_has_its_own_name_unless_one_is_set(configured: str, name: str) -> None:
    settings = Settings(jwt_secret=SECRET, jwt_cookie_name=configured)
    assert realtime_cookie(settings, "user:42").startswith(f"{name}=")


def test_the_streams_cookie_is_not_called_as_the_realtime_one() -> None:
    settings = Settings(jwt_secret=SECRET, jwt_cookie_name="superset-ws-token")
    assert cookie(settings, "channel").startswith("async-token=")


def test_what_superset_7_signs_must_be_admitted() -> None:
    with pytest.raises(NoToken, match="Superset 7 signs with HS256 only"):
        sign_realtime(Settings(jwt_secret=SECRET, jwt_algorithms=("HS512",)), "user:42")
