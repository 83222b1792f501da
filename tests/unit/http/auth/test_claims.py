# SPDX-License-Identifier: Apache-2.0
"""Which claims of a signed token admit whom: what Superset 7 signs, and nothing that differs."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_ws.http.auth.authenticator import Authenticator
from wsgi_ws.http.auth.claims import Identity, end_of, principal_of
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.superset.token import RealtimeSigner
from wsgi_ws.transport import Transport

NOW = 1_700_000_000  # seconds since the epoch
SECRET = "an-example-secret-that-is-long-enough-for-HS256"
GUEST = "guest:" + "5e88" * 16
USER_CLAIMS = {
    "channel": "user:42",
    "principal_type": "user",
    "sub": "42",
    "aud": "superset-websocket",
    "iat": NOW,
    "iss": "superset",
    "exp": NOW + 900,
}
GUEST_CLAIMS = USER_CLAIMS | {"channel": GUEST, "principal_type": "guest", "sub": GUEST}


def refusal(claims: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        principal_of(claims)
    return caught.value


# --- Superset 7 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [USER_CLAIMS, GUEST_CLAIMS], ids=["user", "guest"])
def test_a_principal_has_the_channel_of_its_token(claims: dict[str, Any]) -> None:
    assert principal_of(claims) == claims["channel"]


def test_an_audience_may_be_one_of_a_list() -> None:
    audience = ["somebody", "superset-websocket"]
    assert principal_of(USER_CLAIMS | {"aud": audience}) == "user:42"


@pytest.mark.parametrize("claim", ["channel", "principal_type", "sub", "iss", "exp"])
def test_a_missing_claim_is_named(claim: str) -> None:
    found = refusal({name: value for name, value in USER_CLAIMS.items() if name != claim})
    assert found.reason == "unconfirmed_identity"
    assert f"the token's {claim} " in str(found) or f"no {claim}" in str(found)


def test_a_token_of_superset_7_without_an_end_is_no_other_applications() -> None:
    found = refusal({name: value for name, value in USER_CLAIMS.items() if name != "exp"})
    assert "has no exp" in str(found)
    assert "Another application" not in found.remedy


@pytest.mark.parametrize("claim", ["channel", "principal_type", "sub", "iss"])
@pytest.mark.parametrize("value", [None, 42, True, ["user:42"], {}])
def test_a_claim_that_is_no_text_is_named(claim: str, value: object) -> None:
    found = refusal(USER_CLAIMS | {claim: value})
    assert (found.reason, f"the token's {claim} " in str(found)) == ("unconfirmed_identity", True)


@pytest.mark.parametrize("value", [None, 5, {}, True])
def test_an_audience_is_a_text_or_a_list(value: object) -> None:
    found = refusal(USER_CLAIMS | {"aud": value})
    assert (found.reason, "aud" in str(found)) == ("unconfirmed_identity", True)


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        pytest.param({"iss": "other"}, "iss", id="another issuer"),
        pytest.param({"aud": "other"}, "aud", id="another audience"),
        pytest.param({"aud": "superset-websocket2"}, "aud", id="an audience that begins so"),
        pytest.param({"aud": []}, "aud", id="no audience"),
        pytest.param({"aud": ["other", None]}, "aud", id="other audiences"),
        pytest.param({"principal_type": "admin"}, "principal_type", id="another type"),
        pytest.param({"principal_type": "guest"}, "channel", id="a user as a guest"),
        pytest.param({"sub": "43"}, "channel", id="another user"),
        pytest.param({"sub": "user:42"}, "channel", id="a channel as the user"),
        pytest.param({"sub": "", "channel": "user:"}, "channel", id="nobody"),
        pytest.param({"sub": "42:3", "channel": "user:42:3"}, "channel", id="the route of a tab"),
        pytest.param({"channel": "42"}, "channel", id="no type in the channel"),
        pytest.param({"channel": GUEST}, "channel", id="a guest's channel for a user"),
    ],
)
def test_claims_that_disagree_are_named(changes: dict[str, Any], claim: str) -> None:
    found = refusal(USER_CLAIMS | changes)
    assert (found.reason, claim in str(found)) == ("unconfirmed_identity", True)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"principal_type": "user"}, id="as a user"),
        pytest.param({"principal_type": "admin"}, id="as something else"),
        pytest.param({"sub": GUEST + "0"}, id="another guest"),
        pytest.param({"sub": "guest:", "channel": "guest:"}, id="nobody"),
        pytest.param({"sub": GUEST + ":3", "channel": GUEST + ":3"}, id="the route of a tab"),
        pytest.param({"sub": "42", "channel": "42"}, id="no type in the channel"),
        pytest.param({"sub": "user:42", "channel": "user:42"}, id="a user's channel"),
        pytest.param({"sub": GUEST.removeprefix("guest:")}, id="no type in sub"),
    ],
)
def test_a_guest_whose_claims_disagree_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(GUEST_CLAIMS | changes).reason == "unconfirmed_identity"


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1700000900", True, None, [], {}])
def test_an_exp_is_a_number(value: object) -> None:
    with pytest.raises(Refusal, match="exp is not a time") as caught:
        end_of(USER_CLAIMS | {"exp": value}, NOW, 0.0)
    assert caught.value.reason == "unconfirmed_identity"


def test_an_exp_may_have_a_fraction() -> None:
    assert end_of({"exp": NOW + 0.5}, NOW, 0.0) == NOW + 0.5


# --- the two kinds -------------------------------------------------------------------------------

AUDIENCE = "superset-websocket"
EITHER_KIND = Authenticator(SECRET, ("HS256",), "bi-token", "channel")
# Claims as somebody might sign them, right ones among them often enough.
VALUES: dict[str, list[Any]] = {
    "channel": ["user:42", "user:43", GUEST, "42", "user:", "guest:", "", None, 42],
    "principal_type": ["user", "guest", "admin", "", None],
    "sub": ["42", "43", GUEST, "guest:", "", None, 42],
    "aud": [AUDIENCE, [AUDIENCE], ["other", AUDIENCE], "other", [], None],
    "iss": ["superset", "other", None],
    "exp": [NOW + 900, NOW + 0.5, NOW, str(NOW + 900), True, None],
    "iat": [NOW, NOW + 900, "soon"],
}
GOOD_ENDS = (NOW + 900, NOW + 0.5)
PRINCIPALS = [("user:42", "user", "42"), ("user:43", "user", "43"), (GUEST, "guest", GUEST)]
CLAIMS = st.fixed_dictionaries(
    {}, optional={claim: st.sampled_from(values) for claim, values in VALUES.items()}
)
PRINCIPAL_CLAIMS = st.builds(
    lambda principal, others: (
        dict(zip(("channel", "principal_type", "sub"), principal, strict=True)) | others
    ),
    st.sampled_from(PRINCIPALS),
    st.fixed_dictionaries(
        {claim: st.sampled_from(VALUES[claim]) for claim in ("aud", "iss", "exp")}
    ),
)


def admitted(claims: dict[str, Any]) -> Identity | None:
    """Whom a cookie that may be of either kind admits."""
    # Not jwt.encode: it would check the claims that are to be wrong here.
    token = jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256")
    try:
        return EITHER_KIND.identify(f"bi-token={token}", NOW)
    except Refusal:
        return None


def wanted(claims: dict[str, Any]) -> Identity | None:
    channel: Any = claims.get("channel")
    end = claims.get("exp")
    if "aud" in claims:
        who = (channel, claims.get("principal_type"), claims.get("sub"))
        meant = claims["aud"] == AUDIENCE or AUDIENCE in (claims["aud"] or ())
        good = meant and claims.get("iss") == "superset" and end in GOOD_ENDS and who in PRINCIPALS
        return Identity(Transport.REALTIME, channel, end) if good else None
    good = isinstance(channel, str) and channel != "" and ("exp" not in claims or end in GOOD_ENDS)
    return Identity(Transport.STREAMS, channel, end) if good else None


@given(CLAIMS | PRINCIPAL_CLAIMS)
def test_a_token_opens_its_own_transport_only_and_only_if_its_claims_agree(
    claims: dict[str, Any],
) -> None:
    assert admitted(claims) == wanted(claims)


@pytest.mark.parametrize("claims", [USER_CLAIMS, GUEST_CLAIMS], ids=["user", "guest"])
def test_what_superset_7_signs_is_admitted(claims: dict[str, Any]) -> None:
    cookie = RealtimeSigner(SECRET, "bi-token").cookie(claims["channel"], exp=NOW + 900)
    identity = Identity(Transport.REALTIME, claims["channel"], NOW + 900)
    assert EITHER_KIND.identify(cookie, NOW) == identity


def test_a_clock_behind_supersets_refuses_nobody() -> None:
    assert admitted(USER_CLAIMS | {"iat": NOW + 5}) is not None
