# SPDX-License-Identifier: Apache-2.0
"""Who asks? The cookie's JSON Web Token → an identity, or a refusal that an operator understands.

Pure: knows nothing of sockets, HTTP servers or the time of day beyond what PyJWT looks up for
`exp` and `nbf`. No message contains a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from werkzeug.http import parse_cookie

# Superset's tokens have `sub` null or no `sub` at all, and no audience; Node's verifier checks
# neither, nor `iat`. `exp` and `nbf` are honoured when present.
_DECODE_OPTIONS: Any = {"verify_sub": False, "verify_aud": False, "verify_iat": False}


class AuthError(Exception):
    """The request is not admitted. `reason` is a short slug for metrics, the text for operators."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """An admitted client.

    :ivar channel: the user's session, whose events the client gets.
    :ivar expires_at: seconds since the epoch (the token's `exp`), or None.
    """

    channel: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Verifies cookies as configured; the same values as in Superset's settings."""

    secret: str = field(repr=False)
    algorithms: Sequence[str]
    cookie_name: str
    channel_key: str

    def identify(self, cookie_header: str) -> Identity:
        """The identity of a `Cookie` header's token.

        When the cookie is there more than once (two paths or domains), any valid one admits.

        :raises AuthError: when none does; the first one's problem is told.
        """
        cookies = parse_cookie(_utf8(cookie_header))
        tokens = cookies.getlist(self.cookie_name)
        if not tokens:
            # What comes without a value is not shown: it may be a token that has lost its name.
            names = sorted(name for name, value in cookies.items() if value)
            seen = ", ".join(names) or "none at all"
            raise AuthError("no_cookie", f"no cookie named {self.cookie_name} (cookies: {seen})")
        first_error: AuthError | None = None
        for token in tokens:
            try:
                return self._verify(token)
            except AuthError as error:
                first_error = first_error or error
        assert first_error is not None
        raise first_error

    def _verify(self, token: str) -> Identity:
        try:
            claims = jwt.decode(
                token, self.secret, algorithms=list(self.algorithms), options=_DECODE_OPTIONS
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _explained(error) from None
        channel = claims.get(self.channel_key)
        if not isinstance(channel, str) or not channel:
            raise AuthError("no_channel", f"the token has no channel (claim {self.channel_key})")
        expires = claims.get("exp")
        return Identity(channel, float(expires) if expires is not None else None)


def _utf8(header: str) -> str:
    """The header with what is not UTF-8 replaced: other applications' cookies may be anything.

    WSGI has header bytes as Latin-1 characters, and parse_cookie expects them so.
    """
    text = header.encode("latin-1", "replace").decode("utf-8", "replace")
    return text.encode().decode("latin-1")


def _explained(error: Exception) -> AuthError:
    if isinstance(error, jwt.InvalidSignatureError):
        return AuthError(
            "bad_signature",
            "the token's signature is wrong: jwtSecret differs from "
            "GLOBAL_ASYNC_QUERIES_JWT_SECRET in Superset, or the token is forged",
        )
    if isinstance(error, jwt.InvalidAlgorithmError):
        return AuthError("bad_algorithm", "the token's algorithm is not one of jwtAlgorithms")
    if isinstance(error, jwt.InvalidKeyError):
        return AuthError("bad_algorithm", "jwtSecret is no key for the token's algorithm")
    if isinstance(error, jwt.ExpiredSignatureError):
        return AuthError("expired", "the token has expired (exp)")
    if isinstance(error, jwt.ImmatureSignatureError):
        return AuthError("not_yet_valid", "the token is not valid yet (nbf): check the clocks")
    return AuthError("malformed_token", "the cookie is not a JSON Web Token")
