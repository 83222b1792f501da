# SPDX-License-Identifier: Apache-2.0
"""The cookie's token, signed with the configuration's secret as Superset signs it."""

from __future__ import annotations

import time

from wsgi_ws.config.keys import SYMMETRIC_ALGORITHMS, Settings
from wsgi_ws.superset.names import ALGORITHM
from wsgi_ws.superset.token import RealtimeSigner, Signer
from wsgi_ws.transport import Transport, cookie_name


class NoToken(Exception):
    """It can't be signed; the text says why."""


def sign(settings: Settings, channel: str, *, expires_in: float | None = None) -> str:
    """
    :param expires_in: seconds from now, or None for a token without end.
    :raises NoToken: when the algorithm is not symmetric.
    """
    return _signer(settings).sign(channel, **_expiry(expires_in))


def cookie(settings: Settings, channel: str, *, expires_in: float | None = None) -> str:
    """The value of a `Cookie` header.

    :raises NoToken: when it can't be signed.
    """
    return _signer(settings).cookie(channel, **_expiry(expires_in))


def sign_realtime(settings: Settings, principal: str, *, expires_in: float | None = None) -> str:
    """
    :param principal: `user:42`, or `guest:…`.
    :param expires_in: seconds from now, or None for Superset's default lifetime.
    :raises NoToken: when the server would not admit what Superset 7 signs.
    """
    return _realtime_signer(settings).sign(principal, **_expiry(expires_in))


def realtime_cookie(settings: Settings, principal: str, *, expires_in: float | None = None) -> str:
    """The value of a `Cookie` header.

    :raises NoToken: when it can't be signed.
    """
    return _realtime_signer(settings).cookie(principal, **_expiry(expires_in))


def _realtime_signer(settings: Settings) -> RealtimeSigner:
    if ALGORITHM not in settings.jwt_algorithms:
        raise NoToken(
            f"jwtAlgorithms are {', '.join(settings.jwt_algorithms)}, and Superset 7 signs with "
            f"{ALGORITHM} only: add that"
        )
    name = cookie_name(Transport.REALTIME, settings.jwt_cookie_name)
    return RealtimeSigner(settings.jwt_secret, name)


def _signer(settings: Settings) -> Signer:
    symmetric = [name for name in settings.jwt_algorithms if name in SYMMETRIC_ALGORITHMS]
    if not symmetric:
        raise NoToken(
            f"jwtAlgorithms are {', '.join(settings.jwt_algorithms)}: only who has the private key "
            "can sign for them, and jwtSecret is the public one"
        )
    name = cookie_name(Transport.STREAMS, settings.jwt_cookie_name)
    return Signer(settings.jwt_secret, name, settings.jwt_channel_id_key, symmetric[0])


def _expiry(expires_in: float | None) -> dict[str, int]:
    return {} if expires_in is None else {"exp": int(time.time() + expires_in)}
