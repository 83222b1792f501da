# SPDX-License-Identifier: Apache-2.0
"""Whom a cookie admits, whom it doesn't, and what the operator hears about it (never a token)."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsgi_ws.http.auth.authenticator import MAX_HEADERS, MAX_TOKENS, Authenticator
from wsgi_ws.http.auth.claims import Identity
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.transport import Transport

SECRET = "an-example-secret-that-is-long-enough-for-every-HMAC-there-is-0123456789"
OTHER_SECRET = SECRET[::-1]
LONG_AGO, NOW, FAR_AHEAD = 1, 1_700_000_000, 2**33  # seconds since the epoch
HS256 = Authenticator(SECRET, ("HS256",), "async-token", "channel")
OLD_SECRET = "the-secret-before-this-one-which-is-long-enough-for-every-HMAC-9876543210"
BOTH = replace(HS256, previous_secret=OLD_SECRET)


def token(secret: str | None = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as Superset makes it, with changes."""
    payload = {"channel": "c1", "sub": None} | claims
    # Not jwt.encode: it would check the claims that are to be wrong here.
    return jwt.PyJWS().encode(json.dumps(payload).encode(), secret or "", algorithm)


def cookie(value: str, name: str = "async-token") -> str:
    return f"{name}={value}"


def refusal(header: str, authenticator: Authenticator = HS256) -> Refusal:
    with pytest.raises(Refusal) as caught:
        authenticator.identify(header, NOW)
    return caught.value


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# --- admitted ------------------------------------------------------------------------------------


def test_supersets_token_gives_its_channel() -> None:
    assert HS256.identify(cookie(token()), NOW) == Identity(Transport.STREAMS, "c1")


@pytest.mark.parametrize("sub", [None, "42", "", 42, ["a"]])
def test_the_subject_does_not_matter(sub: object) -> None:
    assert HS256.identify(cookie(token(sub=sub)), NOW).channel == "c1"


def test_a_token_without_a_subject_is_admitted() -> None:
    assert HS256.identify(cookie(jwt.encode({"channel": "c1"}, SECRET)), NOW).channel == "c1"


@pytest.mark.parametrize("claim", [{"iss": "x"}, {"iat": FAR_AHEAD}])
def test_claims_that_the_seed_does_not_check_are_not_checked(claim: dict[str, Any]) -> None:
    assert HS256.identify(cookie(token(**claim)), NOW).channel == "c1"


def test_the_expiry_is_told() -> None:
    assert HS256.identify(cookie(token(exp=FAR_AHEAD)), NOW).expires_at == FAR_AHEAD


def test_a_token_is_good_until_its_exp_and_from_its_nbf_on() -> None:
    assert HS256.identify(cookie(token(nbf=NOW, exp=NOW + 1)), NOW).channel == "c1"
    assert refusal(cookie(token(exp=NOW))).reason == "expired"
    assert refusal(cookie(token(nbf=NOW + 1))).reason == "not_yet_valid"


def test_a_leeway_admits_a_token_for_so_much_longer() -> None:
    lenient = replace(HS256, leeway=5.0)
    assert lenient.identify(cookie(token(exp=NOW - 4)), NOW).expires_at == NOW + 1
    assert refusal(cookie(token(exp=NOW - 5)), lenient).reason == "expired"


def test_a_grace_keeps_a_socket_and_admits_nobody() -> None:
    kind = replace(HS256, grace=90.0)
    assert kind.identify(cookie(token(exp=NOW + 1)), NOW).expires_at == NOW + 91
    assert refusal(cookie(token(exp=NOW)), kind).reason == "expired"


@pytest.mark.parametrize(("leeway", "grace"), [(5.0, 90.0), (90.0, 5.0)])
def test_the_longer_one_of_leeway_and_grace_keeps_a_socket(leeway: float, grace: float) -> None:
    both = replace(HS256, leeway=leeway, grace=grace)
    assert both.identify(cookie(token(exp=NOW + 1)), NOW).expires_at == NOW + 91


def test_a_token_without_exp_has_no_end_with_a_grace_either() -> None:
    assert replace(HS256, leeway=5.0, grace=90.0).identify(cookie(token()), NOW).expires_at is None


def test_the_cookies_name_is_the_configured_one() -> None:
    renamed = replace(HS256, cookie_name="other-token")
    assert renamed.identify(cookie(token(), "other-token"), NOW).channel == "c1"


def test_the_channels_claim_is_the_configured_one() -> None:
    renamed = replace(HS256, channel_key="room")
    assert renamed.identify(cookie(token(room="c2")), NOW).channel == "c2"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_configured_algorithm_is_accepted(algorithm: str) -> None:
    several = replace(HS256, algorithms=("HS256", "HS384", "HS512"))
    assert several.identify(cookie(token(algorithm=algorithm)), NOW).channel == "c1"


@pytest.mark.parametrize("header", ["a=1; {}; b=2", "{};a=1", 'a="x;y"; {}', "async-token2=x; {}"])
def test_the_cookie_is_found_among_others(header: str) -> None:
    assert HS256.identify(header.format(cookie(token())), NOW).channel == "c1"


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_cookies_of_the_name_any_valid_one_admits(order: int) -> None:
    both = [cookie(token()), cookie(token(OTHER_SECRET))][::order]
    assert HS256.identify("; ".join(both), NOW).channel == "c1"


def test_a_quote_that_another_cookie_opens_does_not_swallow_ours() -> None:
    assert HS256.identify('x="abc; ' + cookie(token()), NOW).channel == "c1"


def test_only_the_first_few_cookies_of_the_name_are_looked_at() -> None:
    many = [cookie(token(OTHER_SECRET))] * MAX_TOKENS + [cookie(token())]
    assert refusal("; ".join(many)).reason == "bad_signature"


def test_other_cookies_need_not_be_utf8() -> None:
    assert HS256.identify("name=Jos\xe9; " + cookie(token()), NOW).channel == "c1"


# --- while one secret takes another's place ------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET], ids=["present", "before"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_of_either_secret_is_admitted(secret: str, algorithm: str) -> None:
    several = replace(BOTH, algorithms=("HS256", "HS384", "HS512"))
    signed = token(secret, algorithm, exp=FAR_AHEAD)
    assert several.identify(cookie(signed), NOW) == Identity(Transport.STREAMS, "c1", FAR_AHEAD)


def test_without_the_secret_before_its_tokens_are_refused() -> None:
    assert refusal(cookie(token(OLD_SECRET))).reason == "bad_signature"


def test_a_token_of_a_third_secret_is_refused() -> None:
    assert refusal(cookie(token(OTHER_SECRET)), BOTH).reason == "bad_signature"


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET], ids=["present", "before"])
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": LONG_AGO}, "expired"),
        ({"nbf": FAR_AHEAD}, "not_yet_valid"),
        ({"channel": None}, "no_channel"),
        ({"exp": "soon"}, "unconfirmed_identity"),
    ],
)
def test_what_is_wrong_with_a_signed_token_is_told_whichever_secret_has_signed_it(
    secret: str, claims: dict[str, Any], reason: str
) -> None:
    assert refusal(cookie(token(secret, **claims)), BOTH).reason == reason


@pytest.mark.parametrize("order", [1, -1])
def test_an_expired_token_of_the_secret_before_is_told_before_a_forged_one(order: int) -> None:
    both = [cookie(token(OLD_SECRET, exp=LONG_AGO)), cookie(token(OTHER_SECRET))][::order]
    assert refusal("; ".join(both), BOTH).reason == "expired"


@pytest.mark.parametrize("order", [1, -1])
def test_a_good_token_of_the_secret_before_admits_beside_a_bad_one_of_the_present(
    order: int,
) -> None:
    both = [cookie(token(OLD_SECRET)), cookie(token(exp=LONG_AGO))][::order]
    assert BOTH.identify("; ".join(both), NOW).channel == "c1"


@pytest.mark.parametrize("algorithm", ["HS512", "none"])
def test_no_secret_admits_by_an_algorithm_that_is_not_configured(algorithm: str) -> None:
    signed = token(None if algorithm == "none" else OLD_SECRET, algorithm)
    assert refusal(cookie(signed), BOTH).reason == "bad_algorithm"


def test_a_token_of_the_present_secret_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    decode = jwt.PyJWS.decode_complete

    def noting(verifier: jwt.PyJWS, *arguments: Any, **options: Any) -> Any:
        checked.append(arguments[1])
        return decode(verifier, *arguments, **options)

    monkeypatch.setattr(jwt.PyJWS, "decode_complete", noting)
    replace(BOTH).identify(cookie(token()), NOW)
    assert checked == [SECRET]


# --- keys of two kinds ---------------------------------------------------------------------------

PUBLIC_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""
KINDS = {
    "an HMAC's after a PEM": (SECRET, PUBLIC_PEM),
    "a PEM after an HMAC's": (PUBLIC_PEM, SECRET),
}


def of_two_kinds(secret: str, before: str) -> Authenticator:
    algorithms = ("HS256", "ES256")
    return Authenticator(secret, algorithms, "async-token", "channel", before)


def signed_by_hand(secret: str) -> str:
    """Signed as an attacker would: PyJWT refuses to sign with a public key."""
    head = ".".join(map(base64url, (b'{"alg":"HS256"}', b'{"channel":"c1"}')))
    return f"{head}.{base64url(hmac.digest(secret.encode(), head.encode(), 'sha256'))}"


@pytest.mark.parametrize(("secret", "before"), KINDS.values(), ids=KINDS)
def test_an_hmacs_secret_admits_beside_a_public_key(secret: str, before: str) -> None:
    authenticator = of_two_kinds(secret, before)
    assert authenticator.identify(cookie(signed_by_hand(SECRET)), NOW).channel == "c1"


@pytest.mark.parametrize(("secret", "before"), KINDS.values(), ids=KINDS)
def test_a_public_key_is_no_hmacs_secret_beside_one(secret: str, before: str) -> None:
    authenticator = of_two_kinds(secret, before)
    forged = cookie(signed_by_hand(PUBLIC_PEM))
    assert refusal(forged, authenticator).reason == "bad_signature"


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param("", "no_cookie", id="no header"),
        pytest.param("other=1", "no_cookie", id="another cookie"),
        pytest.param("ASYNC-TOKEN=abc", "no_cookie", id="names are case-sensitive"),
        pytest.param(cookie(""), "malformed_token", id="empty"),
        pytest.param(cookie("abc"), "malformed_token", id="no token"),
        pytest.param(cookie("a.b.c"), "malformed_token", id="no base64"),
        pytest.param(cookie(token()[:-4]), "bad_signature", id="cut"),
        pytest.param(cookie(token(OTHER_SECRET)), "bad_signature", id="another secret"),
        pytest.param(cookie(token(exp=LONG_AGO)), "expired", id="expired"),
        pytest.param(cookie(token(nbf=FAR_AHEAD)), "not_yet_valid", id="not yet valid"),
        pytest.param(cookie(token(channel=None)), "no_channel", id="channel null"),
        pytest.param(cookie(token(channel="")), "no_channel", id="channel empty"),
        pytest.param(cookie(token(channel=5)), "no_channel", id="channel a number"),
        pytest.param(cookie(token(channel=["c1"])), "no_channel", id="channel a list"),
        pytest.param(cookie(jwt.encode({}, SECRET)), "no_channel", id="no channel"),
        pytest.param(cookie(token(algorithm="HS512")), "bad_algorithm", id="not configured"),
        pytest.param(cookie(token(None, "none")), "bad_algorithm", id="none"),
    ],
)
def test_a_bad_cookie_is_refused_with_its_own_reason(header: str, reason: str) -> None:
    assert refusal(header).reason == reason


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 5, ["HS256"]])
def test_a_token_without_signature_is_refused_however_it_is_spelt(alg: object) -> None:
    header = base64url(json.dumps({"alg": alg}).encode())
    payload = base64url(b'{"channel":"c1"}')
    assert refusal(cookie(f"{header}.{payload}.")).reason in ("bad_algorithm", "malformed_token")


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize("value", [None, "soon", [], {}, float("inf"), float("nan")])
def test_a_time_that_is_no_time_is_refused(claim: str, value: Any) -> None:
    assert refusal(cookie(token(**{claim: value}))).reason == "unconfirmed_identity"


@pytest.mark.parametrize("payload", [b"[]", b"null", b"{", b"\xff", b"[" * 3000])
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    signed = jwt.PyJWS().encode(payload, SECRET, "HS256")
    assert refusal(cookie(signed)).reason == "unconfirmed_identity"


def test_a_deeply_nested_header_is_refused() -> None:
    assert refusal(cookie(base64url(b"[" * 3000) + ".e30.AAAA")).reason == "malformed_token"


def test_a_token_whose_algorithm_does_not_fit_the_secret_is_refused() -> None:
    both = replace(HS256, algorithms=("HS256", "RS256"))
    header = base64url(b'{"alg":"RS256"}')
    assert isinstance(refusal(cookie(f"{header}.e30.AAAA"), both), Refusal)


@given(st.text(st.characters(max_codepoint=255)))  # what WSGI can hand over
def test_any_cookie_header_is_refused_and_never_an_error(header: str) -> None:
    refusal(header)


@given(st.text(st.characters(max_codepoint=255, exclude_characters=";")))
def test_any_value_of_the_cookie_is_refused_and_never_an_error(value: str) -> None:
    refusal(cookie(value))


# --- what the operator hears ---------------------------------------------------------------------


def test_a_missing_cookie_is_named_with_those_that_came() -> None:
    assert str(refusal("session=1; theme=2")) == (
        "no cookie named async-token or superset-ws-token (cookies: session, theme)"
    )


def test_a_cookie_with_a_long_name_is_named_by_its_beginning() -> None:
    assert f"(cookies: {'n' * 40}…)" in str(refusal(f"{'n' * 41}=1"))


def test_no_cookie_at_all_is_said() -> None:
    assert "none at all" in str(refusal(""))


def test_a_wrong_signature_names_both_sides_settings() -> None:
    message = str(refusal(cookie(token(OTHER_SECRET))))
    assert "jwtSecret" in message
    assert "GLOBAL_ASYNC_QUERIES_JWT_SECRET" in message


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("abc", token(OTHER_SECRET), "malformed_token"),
        (token(OTHER_SECRET), "abc", "bad_signature"),
        (token(nbf=FAR_AHEAD), token(exp=LONG_AGO), "not_yet_valid"),
    ],
)
def test_of_several_bad_cookies_the_first_ones_problem_is_told(
    first: str, second: str, reason: str
) -> None:
    assert refusal(f"{cookie(first)}; {cookie(second)}").reason == reason


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("foreign", ["abc", token(OTHER_SECRET), token(algorithm="HS512")])
@pytest.mark.parametrize("authenticator", [HS256, BOTH], ids=["one secret", "two secrets"])
def test_the_problem_of_a_signed_token_is_told_before_that_of_another(
    authenticator: Authenticator, foreign: str, order: int
) -> None:
    both = [cookie(token(exp=LONG_AGO)), cookie(foreign)][::order]
    assert refusal("; ".join(both), authenticator).reason == "expired"


@pytest.mark.parametrize(
    "bad",
    [
        token(OTHER_SECRET),
        token(exp=LONG_AGO),
        token(nbf=FAR_AHEAD),
        token(channel=None),
        token(algorithm="HS512"),
        token()[:-4],
    ],
)
@pytest.mark.parametrize("form", ["async-token={}", "{}", "other=1; {}", "={}", "{}=", "{}=="])
def test_no_message_contains_a_token(form: str, bad: str) -> None:
    error = refusal(form.format(bad))
    assert not [part for part in bad.split(".") if part and part in str(error)]


def test_no_secret_is_in_the_authenticators_representation() -> None:
    assert SECRET not in repr(BOTH)
    assert OLD_SECRET not in repr(BOTH)


LOOK_ALIKES = [f'"{SECRET}"', f"'{SECRET}'", f"{SECRET}\n", f" {SECRET}", f'"{SECRET}"\n']


@pytest.mark.parametrize("ours", LOOK_ALIKES)
def test_quotation_marks_around_our_secret_are_found_out(ours: str) -> None:
    found = refusal(cookie(token()), Authenticator(ours, ("HS256",), "async-token", "channel"))
    assert found.reason == "bad_signature"
    assert "only in the quotation marks or the white space around it" in str(found)


@pytest.mark.parametrize("theirs", [f'"{SECRET}"', f"'{SECRET}'", f"{SECRET}\n"])
def test_quotation_marks_around_superset_s_secret_are_found_out(theirs: str) -> None:
    found = refusal(cookie(token(theirs)))
    assert "only in the quotation marks or the white space around it" in str(found)


@pytest.mark.parametrize(
    ("secret", "before", "name"),
    [
        (f'"{SECRET}"', OLD_SECRET, "jwtSecret"),
        (OLD_SECRET, f"{SECRET}\n", "previousJwtSecret"),
    ],
)
def test_the_one_of_two_secrets_that_has_quotation_marks_around_it_is_named(
    secret: str, before: str, name: str
) -> None:
    authenticator = replace(HS256, secret=secret, previous_secret=before)
    message = str(refusal(cookie(token()), authenticator))
    assert f"wrong: {name} differs from" in message
    assert "only in the quotation marks or the white space around it" in message


def test_another_secret_is_another_secret() -> None:
    assert "or the token is forged" in str(refusal(cookie(token(OTHER_SECRET))))


def test_another_secret_than_both_is_said_to_be() -> None:
    message = str(refusal(cookie(token(OTHER_SECRET)), BOTH))
    assert "jwtSecret and previousJwtSecret differ from" in message
    assert "or the token is forged" in message


def test_a_wrong_signature_shows_neither_token_nor_secret() -> None:
    signed = token(f'"{SECRET}"')
    found = refusal(cookie(signed), BOTH)
    for text in (str(found), repr(found), repr(found.args)):
        assert signed not in text
        assert SECRET not in text
        assert OLD_SECRET not in text


# --- what is remembered of headers ---------------------------------------------------------------


@st.composite
def nearly_good(draw: st.DrawFn) -> str:
    """A token, its parts from several, with some characters changed, put in or taken out."""
    tokens = [
        token(),
        token(channel="c2"),
        token(algorithm="HS384"),
        token(OTHER_SECRET),
        token(secret=None, algorithm="none"),
        jwt.encode({"channel": "c1"}, SECRET, headers={"kid": "1"}),
    ]
    parts = [draw(st.sampled_from(tokens)).split(".")[place] for place in range(3)]
    text = draw(st.sampled_from([*tokens, ".".join(parts)]))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        other = draw(st.text("AQgw019_-=+/. é", max_size=2))
        text = text[:at] + other + text[at + draw(st.integers(0, 2)) :]
    return resigned(text) if draw(st.booleans()) else text


def resigned(text: str) -> str:
    """The same with a signature that is right, whatever it signs."""
    signed, _, _ = text.rpartition(".")
    return f"{signed}.{base64url(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


def outcome(authenticator: Authenticator, text: str) -> Identity | str:
    try:
        return authenticator.identify(cookie(text), NOW)
    except Refusal as error:
        return f"{error.reason}: {error}"


def with_payload(change: Callable[[str], str]) -> str:
    header, payload, _ = token().split(".")
    return resigned(f"{header}.{change(payload)}.")


@given(nearly_good())
@example(with_payload(lambda payload: payload[:8] + " " + payload[8:]))
@example(with_payload(lambda payload: payload[:8] + "\u00e9" + payload[8:]))
@example(with_payload(lambda payload: payload + "="))
@example(with_payload(lambda payload: payload + "." + payload))
@example(with_payload(lambda payload: base64url(b'{"channel":"c1"}')[:-1] + "1"))  # its last bits
def test_a_token_fares_the_same_whether_its_header_has_been_seen_or_not(text: str) -> None:
    fresh, experienced = (replace(BOTH, algorithms=("HS256", "HS384")) for _ in range(2))
    for seen in (token(), token(algorithm="HS384"), token(OLD_SECRET)):
        experienced.identify(cookie(seen), NOW)
    assert outcome(experienced, text) == outcome(fresh, text)


def test_headers_are_remembered_of_good_tokens_only_and_not_without_end() -> None:
    authenticator = replace(HS256)
    for number in range(2 * MAX_HEADERS):
        for secret in (OTHER_SECRET, SECRET):
            text = jwt.encode({"channel": "c1"}, secret, headers={"kid": f"{secret}{number}"})
            outcome(authenticator, text)
    (key,) = authenticator._keys
    assert len(key._known_headers) == MAX_HEADERS
    assert not any(OTHER_SECRET in base64.b64decode(h + b"==").decode() for h in key._known_headers)
