# SPDX-License-Identifier: Apache-2.0
"""The cookie's JSON Web Token as Superset makes it: which channel a browser may have.

Up to 6.1 the channel is the session's:

Signer(secret).cookie(channel)           the `Cookie` header of a browser
Signer(secret).sign(channel, exp=…)      the token alone, with further claims
Signer(secret).channel(token)            what Superset itself reads from it

From 7 on it is the principal, `user:42` or `guest:<64 hexadecimal digits>`:

RealtimeSigner(secret).cookie(principal)
RealtimeSigner(secret).sign(principal, exp=…)
RealtimeSigner(secret).principal(token)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from wsgi_ws.superset.names import (
    ALGORITHM,
    AUDIENCE,
    CHANNEL_KEY,
    DEFAULTS,
    ISSUER,
    LIFETIME,
    SEVEN,
    SIX,
    USER,
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Superset's settings about the token.

    :ivar cookie_name: GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME.
    :ivar channel_key: the claim that has the channel.
    :ivar algorithm: symmetric, or `secret` is a private key.
    """

    secret: str = field(repr=False)
    cookie_name: str = DEFAULTS[SIX.cookie_name]
    channel_key: str = CHANNEL_KEY
    algorithm: str = ALGORITHM

    def sign(self, channel: str, **claims: Any) -> str:
        """A token, of an anonymous user if `claims` have no `sub`, and without end if no `exp`."""
        all_claims = {self.channel_key: channel, "sub": None} | claims
        return jwt.encode(all_claims, self.secret, self.algorithm)

    def cookie(self, channel: str, **claims: Any) -> str:
        """The value of a `Cookie` header."""
        return f"{self.cookie_name}={self.sign(channel, **claims)}"

    def channel(self, token: str) -> str | None:
        """The channel of a token that was signed with this secret, else None."""
        options: Any = {"verify_sub": False}  # null in the tokens of anonymous users
        try:
            claims = jwt.decode(token, self.secret, [self.algorithm], options=options)
        except jwt.InvalidTokenError:
            return None
        channel = claims.get(self.channel_key)
        return channel if isinstance(channel, str) else None


@dataclass(frozen=True, slots=True)
class RealtimeSigner:
    """The settings of Superset 7 about the token.

    :ivar cookie_name: WEBSOCKET_JWT_COOKIE_NAME.
    """

    secret: str = field(repr=False)
    cookie_name: str = DEFAULTS[SEVEN.cookie_name]

    def sign(self, principal: str, **claims: Any) -> str:
        """A token for Superset's default lifetime from now on.

        :param principal: `user:42`, or `guest:` and the key of the guest's rights.
        :param claims: win over Superset's own; None leaves a claim out.
        """
        kind, _, name = principal.partition(":")
        now = int(time.time())
        usual = {
            "channel": principal,
            "principal_type": kind,
            "sub": name if kind == USER else principal,
            "aud": AUDIENCE,
            "iat": now,
            "iss": ISSUER,
            "exp": now + DEFAULTS[LIFETIME],
        }
        wanted = {key: value for key, value in (usual | claims).items() if value is not None}
        return jwt.encode(wanted, self.secret, ALGORITHM)

    def cookie(self, principal: str, **claims: Any) -> str:
        """The value of a `Cookie` header."""
        return f"{self.cookie_name}={self.sign(principal, **claims)}"

    def principal(self, token: str) -> str | None:
        """The principal of a token that was signed with this secret and has not expired."""
        try:
            claims = jwt.decode(token, self.secret, [ALGORITHM], audience=AUDIENCE)
        except jwt.InvalidTokenError:
            return None
        return str(claims["channel"])
