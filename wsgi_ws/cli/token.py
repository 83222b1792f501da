# SPDX-License-Identifier: Apache-2.0
"""The cookie's token, signed with the configuration's secret as Superset signs it."""

from __future__ import annotations

import time
from typing import Any

import jwt

from wsgi_ws.config.keys import Settings


class NoToken(Exception):
    """It can't be signed; the text says why."""


def sign(settings: Settings, channel: str, *, expires_in: float | None = None) -> str:
    """
    :param expires_in: seconds from now, or None for a token without end.
    :raises NoToken: when the algorithm is not symmetric.
    """
    symmetric = [name for name in settings.jwt_algorithms if name.startswith("HS")]
    if not symmetric:
        raise NoToken(
            f"jwtAlgorithms are {', '.join(settings.jwt_algorithms)}: only who has the private key "
            "can sign for them, and jwtSecret is the public one"
        )
    claims: dict[str, Any] = {settings.jwt_channel_id_key: channel, "sub": None}
    if expires_in is not None:
        claims["exp"] = int(time.time() + expires_in)
    return jwt.encode(claims, settings.jwt_secret, symmetric[0])


def cookie(settings: Settings, channel: str, *, expires_in: float | None = None) -> str:
    """The value of a `Cookie` header.

    :raises NoToken: when it can't be signed.
    """
    return f"{settings.jwt_cookie_name}={sign(settings, channel, expires_in=expires_in)}"
