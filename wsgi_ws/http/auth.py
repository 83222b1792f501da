# SPDX-License-Identifier: Apache-2.0
"""Who asks? The cookie's JSON Web Token → an identity, or a refusal that an operator understands.

Pure: no sockets, no clock. PyJWT checks the signature; the claims that count
are checked here, and its look at a secret (is it a PEM, SSH or DER key, or a JWK, which must not
serve as an HMAC's?) is taken once instead of for each token, where it is most of the work.
While one secret takes another's place, both admit. No refusal contains a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import jwt
import orjson
from jwt.algorithms import HMACAlgorithm

from wsgi_ws.http.cookies import cookies_of, values_of
from wsgi_ws.http.refusals import Refusal

MAX_TOKENS = 4  # cookies of our name that are looked at: two paths on two domains
MAX_SHOWN = 100  # cookies whose names are in a refusal's line, as far as the line goes

_HMACS = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}


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
    """Verifies cookies as configured; the same values as in Superset's settings.

    :ivar previous_secret: the secret whose place `secret` has taken, or empty.
    """

    secret: str = field(repr=False)
    algorithms: Sequence[str]
    cookie_name: str
    channel_key: str
    previous_secret: str = field(default="", repr=False)
    _keys: tuple[_Key, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = [_Key("jwtSecret", self.secret, self.algorithms)]
        if self.previous_secret:
            keys.append(_Key("previousJwtSecret", self.previous_secret, self.algorithms))
        object.__setattr__(self, "_keys", tuple(keys))

    def identify(self, cookie_header: str, now: float) -> Identity:
        """The identity of a `Cookie` header's token.

        When the cookie is there more than once (two paths or domains), any valid one admits: of the
        first `MAX_TOKENS`, since a check of a signature costs 50 µs.

        :param now: seconds since the epoch.
        :raises Refusal: when none does; told is the problem of the first that Superset has signed,
            since others may be anybody's, else of the first.
        """
        tokens = list(islice(values_of(cookie_header, self.cookie_name), MAX_TOKENS))
        if not tokens:
            # What comes without a value is not shown: it may be a token that has lost its name.
            cookies = islice(cookies_of(cookie_header), MAX_SHOWN)
            names = sorted({name for name, value in cookies if value})
            seen = ", ".join(names) or "none at all"
            raise Refusal("no_cookie", f"no cookie named {self.cookie_name} (cookies: {seen})")
        signed: list[Refusal] = []
        others: list[Refusal] = []
        for token in tokens:
            refusals = others
            try:
                payload = self._payload(token)
                refusals = signed
                return self._identity(payload, now)
            except Refusal as error:
                refusals.append(error)
        raise (signed or others)[0]

    def _payload(self, token: str) -> bytes:
        """What is in a token that one of the secrets has signed; the current one is tried first.

        :raises Refusal: when none has. A secret that could check the signature knows more than one
            that is no key for the token's algorithm.
        """
        refusal: Refusal | None = None
        for key in self._keys:
            try:
                return key.payload(token)
            except jwt.InvalidSignatureError:
                refusal = Refusal("bad_signature", _WrongSignature(self._keys, token))
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
                refusal = refusal or _explained(error)
        assert refusal is not None
        raise refusal

    def _identity(self, payload: bytes, now: float) -> Identity:
        """Whom a signed payload admits."""
        try:
            claims = orjson.loads(payload)
        except ValueError:
            claims = None
        if not isinstance(claims, dict):
            raise Refusal("malformed_token", "the token's payload is not a JSON object")
        expires_at = _check_times(claims, now)
        channel = claims.get(self.channel_key)
        if not isinstance(channel, str) or not channel:
            raise Refusal("no_channel", f"the token has no channel (claim {self.channel_key})")
        return Identity(channel, expires_at)


@dataclass(frozen=True, slots=True)
class _Key:
    """A secret that admits. Each has a verifier of its own: one may be a PEM, the other an HMAC's.

    :ivar name: its key of the configuration.
    """

    name: str
    secret: str = field(repr=False)
    algorithms: Sequence[str]
    _verifier: jwt.PyJWS = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_verifier", _verifier(self.secret, self.algorithms))

    def payload(self, token: str) -> bytes:
        """What is in a token that this secret has signed; else PyJWT's or Python's errors."""
        return self._decode(token, self.secret)

    def looks_right(self, token: str) -> bool:
        """Whether a secret that looks like this one has signed a token. That admits nobody."""
        return any(self._would_verify(token, secret) for secret in _look_alikes(self.secret))

    def _would_verify(self, token: str, secret: str) -> bool:
        try:
            self._decode(token, secret)
        except (jwt.PyJWTError, ValueError, TypeError):
            return False
        return True

    def _decode(self, token: str, secret: str) -> bytes:
        payload: bytes = self._verifier.decode(token, secret, algorithms=list(self.algorithms))
        return payload


@dataclass(frozen=True, slots=True)
class _WrongSignature:
    """What is wrong with a signature, found out when somebody wants to read it: a line a minute."""

    keys: Sequence[_Key]
    token: str = field(repr=False)

    def __str__(self) -> str:
        sentence = "the token's signature is wrong:"
        theirs = "from GLOBAL_ASYNC_QUERIES_JWT_SECRET in Superset"
        for key in self.keys:
            if key.looks_right(self.token):
                return (
                    f"{sentence} {key.name} differs {theirs} only in the quotation marks or the "
                    "white space around it"
                )
        differ = " and ".join(key.name for key in self.keys)
        differ += " differs" if len(self.keys) == 1 else " differ"
        return f"{sentence} {differ} {theirs}, or the token is forged"


def _look_alikes(secret: str) -> set[str]:
    """Secrets that look the same in an env file: it may be a shell's there and none here."""
    bare = secret.strip()
    if bare[:1] in ("'", '"') and bare[:1] == bare[-1:]:
        bare = bare[1:-1]
    return {bare, f'"{bare}"', f"'{bare}'", f"{bare}\n", f"{bare} "} - {secret, ""}


class _KnownHmac(HMACAlgorithm):
    """An HMAC for a secret that has been looked at."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key


def _verifier(secret: str, algorithms: Sequence[str]) -> jwt.PyJWS:
    """Verifies signatures by these algorithms."""
    verifier = jwt.PyJWS(algorithms)
    for name in set(algorithms) & set(_HMACS):
        try:
            HMACAlgorithm(_HMACS[name]).prepare_key(secret)
        except jwt.InvalidKeyError:
            continue  # so that each token is refused, with the reason
        verifier.unregister_algorithm(name)
        verifier.register_algorithm(name, _KnownHmac(_HMACS[name]))
    return verifier


def _check_times(claims: Mapping[str, Any], now: float) -> float | None:
    """Check `exp` and `nbf` (RFC 7519 §4.1.4, §4.1.5) when they are there, as Node's verifier does.

    It checks neither `sub`, `aud` nor `iat`: Superset's tokens have no audience, and `sub` null or
    none at all.

    :param now: seconds since the epoch.
    :returns: `exp`, or None.
    """
    for claim in ("exp", "nbf"):
        value = claims.get(claim, 0)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Refusal("malformed_token", f"the token's {claim} is not a time")
    if claims.get("nbf", now) > now:
        raise Refusal("not_yet_valid", "the token is not valid yet (nbf): check the clocks")
    if "exp" not in claims:
        return None
    if claims["exp"] <= now:
        raise Refusal("expired", "the token has expired (exp)")
    return float(claims["exp"])


def _explained(error: Exception) -> Refusal:
    if isinstance(error, jwt.InvalidAlgorithmError):
        return Refusal("bad_algorithm", "the token's algorithm is not one of jwtAlgorithms")
    if isinstance(error, jwt.InvalidKeyError):
        return Refusal("bad_algorithm", "jwtSecret is no key for the token's algorithm")
    return Refusal("malformed_token", "the cookie is not a JSON Web Token")
