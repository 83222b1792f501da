# SPDX-License-Identifier: Apache-2.0
"""Who may press the buttons: this demo's own page, in a browser on this machine. Pure.

The buttons kill processes, and any page that a browser shows can send requests to the loopback.
"""

from __future__ import annotations

import hmac

TOKEN_HEADER = "X-Demo-Token"
HOSTS = ("localhost", "127.0.0.1")


def refusal_of_caller(host: str, origin: str | None) -> str | None:
    """Why a request is answered with 403, or None.

    :param host: the Host header. A foreign page can give its own name this machine's address (DNS
        rebinding) and then read the answers, the token too; the name still stands here.
    :param origin: the Origin header. Browsers send it with all that a foreign page may do unasked.
    """
    name, _, port = host.partition(":")
    if name not in HOSTS or not (port.isdecimal() or not port):
        return "this page is for localhost only"
    if origin is not None and origin != f"http://{host}":
        return "this is another page's request"
    return None


def refusal_of_token(given: str, token: str) -> str | None:
    """Why a request to the API is answered with 403, or None.

    :param given: the header's value, or an empty text.
    :param token: this start's own. A page from before a restart doesn't have it.
    """
    if hmac.compare_digest(given.encode(), token.encode()):
        return None
    return "the token is missing or of an earlier start: reload the page"
