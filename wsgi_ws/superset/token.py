# SPDX-License-Identifier: Apache-2.0
"""The cookie's JSON Web Token as Superset makes it: the session's channel, and who the user is.

Signer(secret).cookie(channel)           the `Cookie` header of a browser
Signer(secret).sign(channel, exp=…)      the token alone, with further claims
Signer(secret).channel(token)            what Superset itself reads from it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jwt

from wsgi_ws.superset.settings import ALGORITHM, CHANNEL_KEY, COOKIE_NAME, DEFAULTS


@dataclass(frozen=True, slots=True)
class Signer:
    """Superset's settings about the token.

    :ivar cookie_name: GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME.
    :ivar channel_key: the claim that has the channel.
    :ivar algorithm: symmetric, or `secret` is a private key.
    """

    secret: str = field(repr=False)
    cookie_name: str = DEFAULTS[COOKIE_NAME]
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
