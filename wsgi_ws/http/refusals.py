# SPDX-License-Identifier: Apache-2.0
"""Why a handshake is refused: for each reason the answer, and what an operator can do. Pure.

The reasons in the table are all that there are: metrics start with them at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wsgi_ws.superset.names import ENABLE, FLAG, SEVEN, SIX
from wsgi_ws.transport import Transport

_GENERATIONS = {Transport.STREAMS: SIX, Transport.REALTIME: SEVEN}
# What makes Superset set the cookie.
_SWITCHES = {
    Transport.STREAMS: f"{FLAG} inside FEATURE_FLAGS",
    Transport.REALTIME: f"{ENABLE} = True and for users who have can_read on Realtime",
}


def words_for(transport: Transport | None) -> Mapping[str, str]:
    """Superset's settings about the cookie: `switch`, `secret`, `cookie_name` and `samesite`.

    :param transport: None: it may be either, so the names of both are given.
    """
    if transport is None:
        six, seven = words_for(Transport.STREAMS), words_for(Transport.REALTIME)
        return {key: f"{six[key]} (in Superset 7 {seven[key]})" for key in six}
    names = _GENERATIONS[transport]
    return {
        "switch": _SWITCHES[transport],
        "secret": names.secret,
        "cookie_name": names.cookie_name,
        "samesite": names.cookie_samesite,
    }


def version(transport: Transport) -> str:
    """Which Superset uses a transport."""
    return _GENERATIONS[transport].version


class Kind(NamedTuple):
    """What all refusals for one reason have in common.

    :ivar status: the HTTP status line's end.
    :ivar remedy: for the operator, at the end of the line in the log; with keys of `words_for`.
    :ivar advice: for the client; None: it is told the problem itself.
    :ivar headers: of the answer, besides the usual ones.
    """

    status: str
    remedy: str
    advice: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def _unauthorized(remedy: str) -> Kind:
    """A client is not told what is wrong with its token: it may be an attacker's."""
    advice = "no valid token in the cookie; open Superset under this host name first"
    return Kind("401 Unauthorized", remedy, advice)


RETRY_LATER = (("Retry-After", "5"),)

REFUSALS: Mapping[str, Kind] = {
    "no_cookie": _unauthorized(
        "Browsers send it only to the host name that Superset's page has (localhost and 127.0.0.1 "
        "are two), over http only without Secure, and for a page embedded in another site only "
        'with {samesite} = "None" and …_SECURE = True; Superset sets it only with {switch}, under '
        "the name in {cookie_name}, which jwtCookieName must equal unless both have their defaults"
    ),
    "bad_signature": _unauthorized(
        "Set jwtSecret (JWT_SECRET, which wins over the file) to the very value of {secret} in "
        "Superset; if it was changed there, previousJwtSecret admits the tokens of the one before. "
        "If they are equal, another Superset on this host name, at whatever port, replaces the "
        "cookie: give one of the two another {cookie_name}, and its server the same jwtCookieName"
    ),
    "bad_algorithm": _unauthorized("Superset signs with HS256, the default of jwtAlgorithms"),
    "expired": _unauthorized(
        "Opening Superset again brings a new one; when fresh ones are refused, compare the clocks "
        "of the two machines"
    ),
    "not_yet_valid": _unauthorized("Compare the clocks of Superset's machine and of this one"),
    "malformed_token": _unauthorized(
        "Another application sets a cookie of this name, or a proxy changes it: compare "
        "jwtCookieName with {cookie_name} in Superset"
    ),
    "no_channel": _unauthorized(
        "jwtChannelIdKey must name the claim that Superset puts the channel into: channel, unless "
        "it was changed there"
    ),
    "unconfirmed_identity": _unauthorized(
        "It is signed with the right secret, but Superset signs no such token: some other program "
        "has jwtSecret too, and must not"
    ),
    "wrong_transport": Kind(
        "401 Unauthorized",
        "If Superset was upgraded, reload the page; transports says what is switched on (auto is "
        "both), and two versions of Superset on one host name need cookies of two names",
        advice="this server is not for this page's version of Superset; reload the page",
    ),
    "transport_off": Kind(
        "503 Service Unavailable",
        "It is on ten seconds later at most, without a restart; if this server is not for it, set "
        "transports (TRANSPORTS)",
        advice="this transport is switched off here",
        headers=RETRY_LATER,
    ),
    "foreign_origin": Kind(
        "403 Forbidden",
        "If a proxy changes the Host header, let it pass on the browser's (in nginx "
        "proxy_set_header Host $host), or send X-Forwarded-Host and add its address to "
        "trustedProxies; if the page is of another host name and yours, add it to allowedOrigins",
        advice="a page of this origin may not connect here",
    ),
    "no_upgrade": Kind(
        "404 Not Found",  # to HTTP it is a plain request for nothing that is here
        "A proxy in front eats the upgrade headers: in nginx, set proxy_http_version 1.1, "
        'proxy_set_header Upgrade $http_upgrade and proxy_set_header Connection "upgrade" for this '
        "path; other proxies have an option for WebSockets",
        advice="the header Upgrade: websocket is missing, a proxy may have removed it",
    ),
    "malformed_handshake": Kind(
        "400 Bad Request",
        "Browsers send it right: look at the proxy in front, or at the program that asked",
    ),
    "bad_version": Kind(
        "426 Upgrade Required",
        "Every browser since 2012 speaks version 13: this was some other program",
        headers=(("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")),
    ),
    "limit": Kind(
        "503 Service Unavailable",
        "Raise it (MAX_TOTAL_CONNECTIONS or MAX_CONNECTIONS_PER_CHANNEL in the environment wins "
        "over the file) if the machine has room for more; the page tries again by itself, in the "
        "end every 30 s",
        headers=RETRY_LATER,
    ),
    "closed": Kind(
        "503 Service Unavailable", "The client comes back by itself", headers=RETRY_LATER
    ),
}


class Refusal(Exception):
    """A request is answered with an HTTP error instead of the 101.

    :ivar transport: which one was asked for, for the remedy; None when it may be either.
    """

    def __init__(self, reason: str, problem: object, detail: str = "") -> None:
        """
        :param reason: a key of `REFUSALS`.
        :param problem: what is wrong with this request, for the operator's log, by its `str`;
            never a token. A text has nothing in it that the client sent: refusals are alike by it.
        :param detail: the rest of the sentence, with what the client sent.
        """
        super().__init__(problem)
        self.reason = reason
        self.transport: Transport | None = None
        self._problem = problem
        self._detail = detail

    def __str__(self) -> str:
        return f"{self._problem}{self._detail}"

    @property
    def alike(self) -> str:
        """The same text for all refusals that one line explains.

        What is no text is found out when somebody reads it, and counts as one problem.
        """
        transport = self.transport.value if self.transport else ""
        problem = self._problem if isinstance(self._problem, str) else ""
        return f"{self.reason} {transport} {problem}"

    @property
    def kind(self) -> Kind:
        """What it has in common with others for the same reason."""
        return REFUSALS[self.reason]

    @property
    def remedy(self) -> str:
        """For the operator, with the names of settings in his version of Superset."""
        return self.kind.remedy.format_map(words_for(self.transport))

    @property
    def advice(self) -> str:
        """The text of the answer."""
        return self.kind.advice or str(self)
