# SPDX-License-Identifier: Apache-2.0
"""What an operator can do about each kind of refused handshake. Pure.

The keys are all reasons that there are: metrics start with them at 0.
"""

from __future__ import annotations

from collections.abc import Mapping

REMEDIES: Mapping[str, str] = {
    "no_cookie": (
        "Browsers send it only to the host name that Superset's page has (localhost and 127.0.0.1 "
        "are two), and over http only without Secure; Superset sets it only with "
        "GLOBAL_ASYNC_QUERIES inside FEATURE_FLAGS, under the name in "
        "GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME, which jwtCookieName must equal"
    ),
    "bad_signature": (
        "Set jwtSecret (JWT_SECRET, which wins over the file) to the very value of "
        "GLOBAL_ASYNC_QUERIES_JWT_SECRET in Superset"
    ),
    "bad_algorithm": "Superset signs with HS256, the default of jwtAlgorithms",
    "expired": (
        "Opening Superset again brings a new one; when fresh ones are refused, compare the clocks "
        "of the two machines"
    ),
    "not_yet_valid": "Compare the clocks of Superset's machine and of this one",
    "malformed_token": (
        "Another application sets a cookie of this name, or a proxy changes it: compare "
        "jwtCookieName with GLOBAL_ASYNC_QUERIES_JWT_COOKIE_NAME in Superset"
    ),
    "no_channel": (
        "jwtChannelIdKey must name the claim that Superset puts the channel into: channel, unless "
        "it was changed there"
    ),
    "foreign_origin": (
        "If that page is yours, add it to allowedOrigins; if a proxy changes the Host header, let "
        "it send X-Forwarded-Host and add its address to trustedProxies"
    ),
    "no_upgrade": (
        "A proxy in front eats the upgrade headers: in nginx, set proxy_http_version 1.1, "
        'proxy_set_header Upgrade $http_upgrade and proxy_set_header Connection "upgrade" for this '
        "path; other proxies have an option for WebSockets"
    ),
    "malformed_handshake": (
        "Browsers send it right: look at the proxy in front, or at the program that asked"
    ),
    "bad_version": "Every browser since 2012 speaks version 13: this was some other program",
    "closed": "The client comes back by itself",
}


def remedy_for(reason: str) -> str:
    """What to do about a refusal; empty for a reason without advice."""
    return REMEDIES.get(reason, "")
