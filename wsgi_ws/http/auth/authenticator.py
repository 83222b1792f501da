# SPDX-License-Identifier: Apache-2.0
"""Whose token is it? The `Cookie` header → an identity, or a refusal that an operator understands.

Pure: no sockets, no clock. PyJWT checks the signature; what counts of the claims is in `claims`.
PyJWT's look at a secret (is it a PEM, SSH or DER key, or a JWK, which must not serve as an
HMAC's?) is taken once instead of for each token, where it is most of the work. Nor is a header
looked at again whose text PyJWT has taken before: Superset writes the same each time. While one
secret takes another's place, both admit. No refusal contains a token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import jwt
import orjson
from jwt.algorithms import HMACAlgorithm

from wsgi_ws.http.auth.claims import Identity, end_of, principal_of, session_of, transport_of
from wsgi_ws.http.auth.cookies import cookies_of, named, values_of
from wsgi_ws.http.refusals import Refusal, version, words_for
from wsgi_ws.transport import Transport, cookie_name

MAX_TOKENS = 4  # cookies of one name that are looked at: two paths on two domains
MAX_SHOWN = 100  # cookies whose names are in a refusal's line, as far as the line goes
NAME_SHOWN = 40  # characters of a name: a token that is taken for one doesn't get its signature in
MAX_HEADERS = 8  # texts of a header that are remembered: more than one is a rarity

_HMACS = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Verifies cookies as configured; the same values as in Superset's settings.

    :ivar cookie_name: `jwtCookieName`; `transport.cookie_name` says what it means.
    :ivar channel_key: the claim of streams' tokens that has the channel.
    :ivar previous_secret: the secret whose place `secret` has taken, or empty.
    :ivar leeway: seconds after its `exp` for which a token still admits.
    :ivar grace: seconds after its `exp` for which it keeps a socket that is open.
    :ivar offered: the transports that are switched on.
    """

    secret: str = field(repr=False)
    algorithms: Sequence[str]
    cookie_name: str
    channel_key: str
    previous_secret: str = field(default="", repr=False)
    leeway: float = 0.0
    grace: float = 0.0
    offered: Sequence[Transport] = tuple(Transport)
    _keys: tuple[_Key, ...] = field(init=False, repr=False, compare=False)
    # What is asked for → where to look.
    _cookies: Mapping[Transport | None, Sequence[_Cookie]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        keys = [_Key("jwtSecret", self.secret, self.algorithms)]
        if self.previous_secret:
            keys.append(_Key("previousJwtSecret", self.previous_secret, self.algorithms))
        object.__setattr__(self, "_keys", tuple(keys))
        cookies = {asked: self._cookies_for(asked) for asked in (None, *Transport)}
        object.__setattr__(self, "_cookies", cookies)

    def identify(self, cookie_header: str, now: float, asked: Transport | None = None) -> Identity:
        """The identity of a `Cookie` header's token.

        When the cookie is there more than once (two paths or domains), any valid one admits: of the
        first `MAX_TOKENS`, since a check of a signature costs 50 µs.

        :param now: seconds since the epoch.
        :param asked: the transport that is asked for; None: streams if possible, else realtime.
        :raises Refusal: when none does; told is the problem of the first that Superset has signed,
            since others may be anybody's, else of the first.
        """
        signed: Refusal | None = None  # the first of each kind
        other: Refusal | None = None
        for _, pattern, meant in self._cookies[asked]:
            for token in islice(values_of(cookie_header, pattern), MAX_TOKENS):
                payload = None
                try:
                    payload = self._payload(token, meant)
                    return self._identity(payload, now, meant)
                except Refusal as refusal:
                    refusal.transport = self._whose(token, meant)
                    if payload is None:
                        other = other or refusal
                    else:
                        signed = signed or refusal
        raise signed or other or self._missing(cookie_header, asked)

    def _cookies_for(self, asked: Transport | None) -> list[_Cookie]:
        cookies: dict[str, _Cookie] = {}
        for transport in _meant_by(asked):
            name = self._name_for(transport)
            cookies.setdefault(name, _Cookie(name, named(name), [])).meant.append(transport)
        return [cookie for cookie in cookies.values() if {*cookie.meant} & {*self.offered}]

    def _payload(self, token: str, meant: Sequence[Transport]) -> bytes:
        """What is in a token that one of the secrets has signed; the current one is tried first.

        :raises Refusal: when none has. A secret that could check the signature knows more than one
            that is no key for the token's algorithm.
        """
        refusal: Refusal | None = None
        for key in self._keys:
            try:
                return key.payload(token)
            except jwt.InvalidSignatureError:
                problem = _WrongSignature(self._keys, token, self._whose(token, meant))
                refusal = Refusal("bad_signature", problem)
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
                refusal = refusal or _explained(error)
        assert refusal is not None
        raise refusal

    def _identity(self, payload: bytes, now: float, meant: Sequence[Transport]) -> Identity:
        """Whom a signed payload admits."""
        try:
            claims = orjson.loads(payload)
        except ValueError:
            claims = None
        if not isinstance(claims, dict):
            raise Refusal("unconfirmed_identity", "the token's payload is not a JSON object")
        transport = transport_of(claims)
        if transport not in meant:
            has = "has an aud" if transport is Transport.REALTIME else "has no aud"
            problem = f"the token {has}, so it is not for {meant[0].value}, which was asked for"
            raise Refusal("wrong_transport", problem)
        if transport not in self.offered:
            raise _switched_off(transport)
        if transport is Transport.STREAMS:
            channel = session_of(claims, self.channel_key)
        else:
            channel = principal_of(claims)
        end = end_of(claims, now, self.leeway)
        until = None if end is None else end + max(self.leeway, self.grace)
        return Identity(transport, channel, until)

    def _whose(self, token: str, meant: Sequence[Transport]) -> Transport | None:
        """Whose token it is, as far as is known; for the names of settings in a refusal.

        In a cookie of both transports the token itself must say, whoever has signed it.
        """
        offered = [transport for transport in meant if transport in self.offered]
        if len(offered) < 2:
            return _only(offered)
        try:
            return transport_of(jwt.decode(token, options={"verify_signature": False}))
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None

    def _missing(self, cookie_header: str, asked: Transport | None) -> Refusal:
        """What to say when no cookie has the name of one that is looked for."""
        # What comes without a value is not shown: it may be a token that has lost its name, with
        # the padding of base64 behind it.
        cookies = islice(cookies_of(cookie_header), MAX_SHOWN)
        names = sorted({name for name, value in cookies if value.strip("=")})
        looked_for = [cookie.name for cookie in self._cookies[asked]]
        for transport in _meant_by(asked):
            if not looked_for or self._name_for(transport) in {*names} - {*looked_for}:
                return _switched_off(transport)
        instead = "".join(
            self._instead(transport)
            for transport in Transport
            if cookie_name(transport, "") in {*names} - {*looked_for}
        )
        problem = f"no cookie named {' or '.join(looked_for)}{instead}"
        shown = ", ".join(map(_shortened, names)) or "none at all"
        refusal = Refusal("no_cookie", problem, f" (cookies: {shown})")
        refusal.transport = _only([t for t in _meant_by(asked) if t in self.offered])
        return refusal

    def _instead(self, transport: Transport) -> str:
        """What it means that a transport's usual cookie came, which is not looked for."""
        usual, name = cookie_name(transport, ""), self._name_for(transport)
        if usual != name:
            default = f"the default of {version(transport)}"
            return f", but {usual}, {default}: leave jwtCookieName unset, or set {name} there too"
        if transport is Transport.REALTIME:
            return f", but {usual}: the page is older than the upgrade to Superset 7, reload it"
        return f", but {usual}, which only pages of {version(transport)} use"

    def _name_for(self, transport: Transport) -> str:
        return cookie_name(transport, self.cookie_name)


class _Cookie(NamedTuple):
    """A cookie to look at.

    :ivar meant: the transports that are asked for and have their tokens in it.
    """

    name: str
    pattern: re.Pattern[str]
    meant: list[Transport]


@dataclass(frozen=True, slots=True)
class _Key:
    """A secret that admits. Each has a verifier of its own: one may be a PEM, the other an HMAC's.

    :ivar name: its key of the configuration.
    """

    name: str
    secret: str = field(repr=False)
    algorithms: Sequence[str]
    _verifier: jwt.PyJWS = field(init=False, repr=False, compare=False)
    # A header as it stands in a token that PyJWT has verified with this secret → the HMAC that has
    # taken in the secret: to copy it is cheaper than to begin with the secret.
    _known_headers: dict[bytes, hmac.HMAC] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_verifier", _verifier(self.secret, self.algorithms))

    def payload(self, token: str) -> bytes:
        """What is in a token that this secret has signed; else PyJWT's or Python's errors."""
        payload = self._of_known_form(token)
        if payload is not None:
            return payload
        decoded = self._decode(token, self.secret)
        if decoded["header"]["alg"] in _HMACS and len(self._known_headers) < MAX_HEADERS:
            header, _, _ = token.encode().partition(b".")
            hash_of = _HMACS[decoded["header"]["alg"]]
            self._known_headers[header] = hmac.new(self.secret.encode(), digestmod=hash_of)
        whole: bytes = decoded["payload"]
        return whole

    def _of_known_form(self, token: str) -> bytes | None:
        """What is in a token that PyJWT would take for certain, in a fifth of its time; else None.

        Certain is: the header's text has passed before, the signature's text is that of the right
        signature, and the payload is in base64url as RFC 7515 §2 writes it.
        """
        signed, _, signature = token.encode().rpartition(b".")
        header, _, text = signed.partition(b".")
        begun = self._known_headers.get(header)
        if begun is None:
            return None
        mac = begun.copy()
        mac.update(signed)
        if not hmac.compare_digest(_base64url(mac.digest()), signature):
            return None
        try:
            payload = base64.urlsafe_b64decode(text + b"==")
        except binascii.Error:
            return None
        return payload if _base64url(payload) == text else None

    def looks_right(self, token: str) -> bool:
        """Whether a secret that looks like this one has signed a token. That admits nobody."""
        return any(self._would_verify(token, secret) for secret in _look_alikes(self.secret))

    def _would_verify(self, token: str, secret: str) -> bool:
        try:
            self._decode(token, secret)
        except (jwt.PyJWTError, ValueError, TypeError):
            return False
        return True

    def _decode(self, token: str, secret: str) -> dict[str, Any]:
        return self._verifier.decode_complete(token, secret, algorithms=list(self.algorithms))


@dataclass(frozen=True, slots=True)
class _WrongSignature:
    """What is wrong with a signature, found out when somebody wants to read it: a line a minute."""

    keys: Sequence[_Key]
    token: str = field(repr=False)
    transport: Transport | None

    def __str__(self) -> str:
        sentence = "the token's signature is wrong:"
        theirs = f"from {words_for(self.transport)['secret']} in Superset"
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


def _base64url(data: bytes) -> bytes:
    """RFC 7515 §2: base64url without its padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


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


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"


def _meant_by(asked: Transport | None) -> Sequence[Transport]:
    return list(Transport) if asked is None else [asked]


def _only(transports: Sequence[Transport]) -> Transport | None:
    return transports[0] if len(transports) == 1 else None


def _switched_off(transport: Transport) -> Refusal:
    problem = f"{transport.value} ({version(transport)}) was asked for and is switched off here"
    return Refusal("wrong_transport", problem)


def _explained(error: Exception) -> Refusal:
    if isinstance(error, jwt.InvalidAlgorithmError):
        return Refusal("bad_algorithm", "the token's algorithm is not one of jwtAlgorithms")
    if isinstance(error, jwt.InvalidKeyError):
        return Refusal("bad_algorithm", "jwtSecret is no key for the token's algorithm")
    return Refusal("malformed_token", "the cookie is not a JSON Web Token")
