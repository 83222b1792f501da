# SPDX-License-Identifier: Apache-2.0
"""Two kinds of tokens, in cookies of two names or of one: which admits, and what is told else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from wsgi_ws.http.auth.authenticator import MAX_TOKENS, Authenticator
from wsgi_ws.http.refusals import Refusal
from wsgi_ws.superset.token import RealtimeSigner, Signer
from wsgi_ws.transport import Transport

NOW = 1_700_000_000  # seconds since the epoch
SECRET = "an-example-secret-that-is-long-enough-for-HS256"
OLD_SECRET = "the-secret-before-this-one-which-is-long-enough-too"
OTHER_SECRET = SECRET[::-1]
STREAMS, REALTIME = Transport.STREAMS, Transport.REALTIME
USUAL = Authenticator(SECRET, ("HS256",), "async-token", "channel")
OWN_NAME = replace(USUAL, cookie_name="bi-token")


def streams(name: str = "async-token", secret: str = SECRET, **claims: object) -> str:
    return Signer(secret, name).cookie("c1", **claims)


def realtime(name: str = "superset-ws-token", secret: str = SECRET, **claims: object) -> str:
    """Of one time, since it stands in the names of tests, which all processes must find alike."""
    times: dict[str, object] = {"iat": NOW, "exp": NOW + 900}
    return RealtimeSigner(secret, name).cookie("user:42", **times | claims)


def channel(authenticator: Authenticator, *cookies: str, asked: Transport | None = None) -> str:
    return authenticator.identify("; ".join(cookies), NOW, asked).channel


def refusal(authenticator: Authenticator, *cookies: str, asked: Transport | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        authenticator.identify("; ".join(cookies), NOW, asked)
    return caught.value


# --- which cookie --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_streams_come_first_when_nothing_is_asked_for(order: int) -> None:
    assert channel(USUAL, *[streams(), realtime()][::order]) == "c1"


@pytest.mark.parametrize("configured", ["async-token", "superset-ws-token", ""])
@pytest.mark.parametrize("cookie", [streams(), realtime()])
def test_with_a_default_both_defaults_are_looked_for(configured: str, cookie: str) -> None:
    assert channel(replace(USUAL, cookie_name=configured), cookie)


@pytest.mark.parametrize("make", [streams, realtime])
def test_another_name_counts_for_both_kinds(make: Callable[[str], str]) -> None:
    assert channel(OWN_NAME, make("bi-token"))


@pytest.mark.parametrize("cookie", [streams(), realtime()])
def test_with_another_name_neither_default_is_looked_for(cookie: str) -> None:
    assert refusal(OWN_NAME, cookie).reason == "no_cookie"


@pytest.mark.parametrize(("asked", "who"), [(STREAMS, "c1"), (REALTIME, "user:42")])
@pytest.mark.parametrize("order", [1, -1])
def test_of_two_kinds_in_cookies_of_one_name_the_one_asked_for_admits(
    asked: Transport, who: str, order: int
) -> None:
    cookies = [streams("bi-token"), realtime("bi-token")][::order]
    assert channel(OWN_NAME, *cookies, asked=asked) == who


@pytest.mark.parametrize("bad", [streams(exp=1), streams(secret=OTHER_SECRET), "async-token=x"])
def test_a_bad_token_of_streams_does_not_hide_a_good_one_of_realtime(bad: str) -> None:
    assert channel(USUAL, bad, realtime()) == "user:42"


def test_each_realtime_cookie_of_a_name_is_tried() -> None:
    assert channel(USUAL, realtime(secret=OTHER_SECRET), realtime()) == "user:42"


def test_many_cookies_of_one_transport_leave_those_of_the_other_their_turn() -> None:
    assert channel(USUAL, *["async-token=x"] * MAX_TOKENS * 2, realtime()) == "user:42"


def test_a_realtime_token_of_the_secret_before_is_admitted() -> None:
    both = replace(USUAL, previous_secret=OLD_SECRET)
    assert channel(both, realtime(secret=OLD_SECRET)) == "user:42"


def test_an_expired_realtime_token_of_the_secret_before_is_told_as_expired() -> None:
    both = replace(USUAL, previous_secret=OLD_SECRET)
    assert refusal(both, realtime(secret=OLD_SECRET, exp=NOW)).reason == "expired"


def test_leeway_and_grace_count_for_realtime_too() -> None:
    late = replace(USUAL, leeway=5.0, grace=90.0)
    assert late.identify(realtime(exp=NOW - 4), NOW).expires_at == NOW + 86


def test_the_claim_of_the_channel_is_configured_for_streams_only() -> None:
    assert channel(replace(USUAL, channel_key="room"), realtime()) == "user:42"


# --- the wrong kind ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "says"),
    [(streams("superset-ws-token"), "no aud"), (realtime("async-token"), "an aud")],
)
def test_a_token_in_the_cookie_of_the_other_kind_is_refused(cookie: str, says: str) -> None:
    found = refusal(USUAL, cookie)
    assert (found.reason, says in str(found)) == ("wrong_transport", True)


@pytest.mark.parametrize(
    ("cookie", "asked"), [(streams("bi-token"), REALTIME), (realtime("bi-token"), STREAMS)]
)
def test_a_token_of_another_kind_than_is_asked_for_is_refused(
    cookie: str, asked: Transport
) -> None:
    assert refusal(OWN_NAME, cookie, asked=asked).reason == "wrong_transport"


# --- switched off --------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [None, REALTIME])
@pytest.mark.parametrize("authenticator", [USUAL, OWN_NAME], ids=["two names", "one name"])
def test_a_token_for_what_is_switched_off_is_refused(
    authenticator: Authenticator, asked: Transport | None
) -> None:
    name = "bi-token" if authenticator is OWN_NAME else "superset-ws-token"
    found = refusal(replace(authenticator, offered=(STREAMS,)), realtime(name), asked=asked)
    assert found.reason == "wrong_transport"
    assert "realtime (Superset 7) was asked for and is switched off here" in str(found)


def test_what_is_switched_off_is_no_obstacle_to_the_other() -> None:
    only = replace(USUAL, offered=(REALTIME,))
    assert channel(only, streams(), realtime()) == "user:42"


@pytest.mark.parametrize("name", ["bi-token", "superset-ws-token"])
def test_to_ask_for_what_is_switched_off_is_refused_without_a_cookie_too(name: str) -> None:
    only = replace(USUAL, offered=(STREAMS,), cookie_name=name)
    assert refusal(only, "session=1", asked=REALTIME).reason == "wrong_transport"


def test_no_cookie_at_all_is_told_as_such() -> None:
    assert refusal(replace(USUAL, offered=(STREAMS,)), "session=1").reason == "no_cookie"


# --- no cookie -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authenticator", "asked", "names"),
    [
        (USUAL, None, "async-token or superset-ws-token"),
        (USUAL, STREAMS, "async-token"),
        (USUAL, REALTIME, "superset-ws-token"),
        (OWN_NAME, None, "bi-token"),
        (replace(USUAL, offered=(REALTIME,)), None, "superset-ws-token"),
    ],
)
def test_the_names_that_are_looked_for_are_told(
    authenticator: Authenticator, asked: Transport | None, names: str
) -> None:
    message = str(refusal(authenticator, "session=1", asked=asked))
    assert message == f"no cookie named {names} (cookies: session)"


def test_a_page_from_before_the_upgrade_is_to_be_reloaded() -> None:
    found = refusal(USUAL, realtime(), asked=STREAMS)
    assert found.reason == "no_cookie"
    assert str(found).startswith(
        "no cookie named async-token, but superset-ws-token: the page is older than the upgrade to "
        "Superset 7, reload it (cookies"
    )


def test_a_cookie_that_is_left_from_before_the_upgrade_is_told_as_such() -> None:
    assert "but async-token, which only pages of Superset up to 6.1 use" in str(
        refusal(USUAL, streams(), asked=REALTIME)
    )


@pytest.mark.parametrize(
    ("cookie", "told"),
    [
        (streams(), "async-token, the default of Superset up to 6.1"),
        (realtime(), "superset-ws-token, the default of Superset 7"),
    ],
)
def test_supersets_default_beside_a_name_of_our_own_is_told(cookie: str, told: str) -> None:
    assert f"but {told}: leave jwtCookieName unset, or set bi-token there too" in str(
        refusal(OWN_NAME, cookie)
    )


# --- the words of the right Superset -------------------------------------------------------------


@pytest.mark.parametrize(
    ("authenticator", "cookie", "asked", "transport"),
    [
        (USUAL, streams(secret=OTHER_SECRET), None, STREAMS),
        (USUAL, realtime(secret=OTHER_SECRET), None, REALTIME),
        (USUAL, "a=1", STREAMS, STREAMS),
        (USUAL, "a=1", REALTIME, REALTIME),
        (USUAL, "a=1", None, None),
        (replace(USUAL, offered=(REALTIME,)), "a=1", None, REALTIME),
        (OWN_NAME, "bi-token=x", None, None),
        (OWN_NAME, "bi-token=x", REALTIME, REALTIME),
    ],
)
def test_a_refusal_knows_which_superset_its_remedy_is_for(
    authenticator: Authenticator,
    cookie: str,
    asked: Transport | None,
    transport: Transport | None,
) -> None:
    assert refusal(authenticator, cookie, asked=asked).transport is transport


@pytest.mark.parametrize(
    ("cookie", "setting"),
    [
        (streams(secret=OTHER_SECRET), "from GLOBAL_ASYNC_QUERIES_JWT_SECRET in"),
        (realtime(secret=OTHER_SECRET), "from WEBSOCKET_JWT_SECRET in"),
    ],
)
def test_a_wrong_signature_names_the_setting_of_the_right_superset(
    cookie: str, setting: str
) -> None:
    assert setting in str(refusal(USUAL, cookie))


@pytest.mark.parametrize(
    "bad",
    [
        realtime(secret=OTHER_SECRET),
        realtime(exp=NOW),
        realtime(sub="43"),
        realtime(iss=None),
        realtime("async-token"),
        streams("superset-ws-token"),
    ],
)
@pytest.mark.parametrize("asked", [None, *Transport])
def test_no_message_contains_a_token(bad: str, asked: Transport | None) -> None:
    message = str(refusal(USUAL, bad, asked=asked))
    token = bad.partition("=")[2]
    assert not [part for part in token.split(".") if part in message]


# --- which Superset's settings are named ---------------------------------------------------------

SIX, SEVEN = "GLOBAL_ASYNC_QUERIES_JWT_SECRET", "WEBSOCKET_JWT_SECRET"


@pytest.mark.parametrize(
    ("cookie", "named", "other"),
    [
        (streams("bi-token", OTHER_SECRET), SIX, SEVEN),
        (realtime("bi-token", OTHER_SECRET), SEVEN, SIX),
    ],
)
def test_a_wrong_signature_in_a_cookie_of_both_kinds_is_of_the_kind_of_its_token(
    cookie: str, named: str, other: str
) -> None:
    found = refusal(OWN_NAME, cookie)
    line = f"{found}. {found.remedy}"
    assert (named in line, other in line) == (True, False)


@pytest.mark.parametrize(("offered", "named"), [(STREAMS, SIX), (REALTIME, SEVEN)])
def test_settings_of_a_superset_that_is_not_served_are_not_named(
    offered: Transport, named: str
) -> None:
    found = refusal(replace(OWN_NAME, offered=(offered,)), streams("bi-token", OTHER_SECRET))
    assert [name for name in (SIX, SEVEN) if name in f"{found}. {found.remedy}"] == [named]


def test_a_token_that_says_nothing_may_be_of_either_superset() -> None:
    found = refusal(OWN_NAME, "bi-token=x")
    assert found.transport is None
