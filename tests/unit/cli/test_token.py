# SPDX-License-Identifier: Apache-2.0
"""The token is what the server admits."""

from __future__ import annotations

import time

import pytest

from wsgi_ws.cli.token import NoToken, cookie, sign
from wsgi_ws.config.keys import Settings
from wsgi_ws.http.auth import Authenticator

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
