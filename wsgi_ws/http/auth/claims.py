# SPDX-License-Identifier: Apache-2.0
"""What a signed token claims, and whom that admits. Pure; the caller has checked the signature.

Superset up to 6.1 (streams) signs a channel, and nothing that ends. Superset 7 (realtime) says in
four claims who it is, which must agree, and until when. Only it names an audience: by that the two
kinds are told apart, so neither opens what the other is for.

Nobody looks at `iat`: by a clock that is a second behind Superset's, no fresh token would be good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from wsgi_ws.http.refusals import Refusal
from wsgi_ws.superset.names import AUDIENCE, GUEST, ISSUER, USER
from wsgi_ws.transport import Transport


class Identity(NamedTuple):
    """An admitted client.

    :ivar channel: whose messages it gets: a session's (streams), or a user's or guest's (realtime).
    :ivar expires_at: seconds since the epoch until its socket must be closed, or None.
    """

    transport: Transport
    channel: str
    expires_at: float | None = None


def transport_of(claims: Mapping[str, Any]) -> Transport:
    """The transport that a token is for."""
    return Transport.REALTIME if "aud" in claims else Transport.STREAMS


def session_of(claims: Mapping[str, Any], channel_key: str) -> str:
    """The channel in a token of Superset up to 6.1.

    Its `sub` is not looked at: it is null for who is not logged in, or missing.

    :param channel_key: the claim that has it.
    :raises Refusal: when there is none.
    """
    channel = claims.get(channel_key)
    if not isinstance(channel, str) or not channel:
        raise Refusal("no_channel", f"the token has no channel (claim {channel_key})")
    return channel


def principal_of(claims: Mapping[str, Any]) -> str:
    """The channel in a token of Superset 7: `user:42`, or `guest:` and the key of its rights.

    :raises Refusal: when a claim is missing, or they disagree about who it is.
    """
    for claim in ("channel", "principal_type", "sub", "iss"):
        if not isinstance(claims.get(claim), str):
            raise Refusal("unconfirmed_identity", f"the token's {claim} is missing, or no text")
    if not isinstance(claims["aud"], (str, list)):
        raise Refusal("unconfirmed_identity", "the token's aud is neither a text nor a list")
    if "exp" not in claims:
        problem = "the token has no exp, and every token of Superset 7 has one"
        raise Refusal("unconfirmed_identity", problem)
    if AUDIENCE not in _listed(claims["aud"]):
        raise Refusal("unconfirmed_identity", f"the token's aud is not {AUDIENCE}")
    if claims["iss"] != ISSUER:
        raise Refusal("unconfirmed_identity", f"the token's iss is not {ISSUER}")
    if claims["principal_type"] not in (USER, GUEST):
        raise Refusal(
            "unconfirmed_identity", "the token's principal_type is neither user nor guest"
        )
    channel: str = claims["channel"]
    if not _is_named(channel, claims["principal_type"], claims["sub"]):
        problem = "the token's channel is not what its principal_type and sub say"
        raise Refusal("unconfirmed_identity", problem)
    return channel


def end_of(claims: Mapping[str, Any], now: float, leeway: float) -> float | None:
    """Check `exp` and `nbf` (RFC 7519 §4.1.4, §4.1.5) when they are there, as Node's verifier does.

    Numbers that come from JSON are finite.

    :param now: seconds since the epoch.
    :param leeway: seconds for which a token is still good after its `exp`.
    :returns: `exp`, or None.
    :raises Refusal: when the token is not good now.
    """
    for claim in ("exp", "nbf"):
        value = claims.get(claim, 0)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Refusal("unconfirmed_identity", f"the token's {claim} is not a time")
    if claims.get("nbf", now) > now:
        raise Refusal("not_yet_valid", "the token is not valid yet (nbf): check the clocks")
    if "exp" not in claims:
        return None
    if claims["exp"] + leeway <= now:
        raise Refusal("expired", "the token has expired (exp)")
    return float(claims["exp"])


def _listed(audience: str | list[Any]) -> list[Any]:
    return audience if isinstance(audience, list) else [audience]


def _is_named(channel: str, kind: str, subject: str) -> bool:
    """Whether a channel is that of a principal, who has a name. There is no colon in that:
    `user:42:3` is the route of a tab of user 42."""
    prefix, _, name = channel.partition(":")
    if prefix != kind or not name or ":" in name:
        return False
    return subject == (name if kind == USER else channel)
