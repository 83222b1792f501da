# SPDX-License-Identifier: Apache-2.0
"""Why no WebSocket was opened, in one sentence with the remedy. No I/O.

Commands and checks say it in the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from wsgi_ws.cli.socket_client import Refused, Unreachable
from wsgi_ws.config.load import Loaded

NGINX = (
    "in nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade"'
)


def bad_url(url: str) -> str | None:
    """Why a browser does not take this for a WebSocket's address; None when it does."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"is {url!r}, which is no URL: write it like wss://superset.example.com/ws"
    if parts.scheme in ("http", "https"):
        better = url.replace("http", "ws", 1)
        return f"begins with {parts.scheme}://, which older browsers refuse: write {better}"
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        return f"is {url!r}: it must begin with ws:// or wss:// and a host name"
    return None


def is_page(url: str) -> bool:
    """Whether this is the whole address of a page."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def explain_unreachable(error: Unreachable, url: str) -> str:
    """Why there was no HTTP answer."""
    parts = urlsplit(url)
    meanings: dict[str, Callable[[], str]] = {
        "unknown_host": lambda: f"the host name {parts.hostname} is not known here",
        "refused": lambda: f"nothing listens at {parts.netloc}: start the server, or its proxy",
        "timeout": lambda: f"{parts.netloc} does not answer: a firewall may drop the packets",
        "network": lambda: f"{parts.netloc} can't be reached: {error}",
        "silent": lambda: f"{url} takes the connection, but sends no answer",
        "certificate": lambda: (
            f"the certificate of {parts.netloc} is not trusted ({error}): if it is your own, name "
            "its CA with --cacert; browsers must trust it too"
        ),
        "tls": lambda: _about_tls(parts, str(error)),
        "no_http": lambda: f"{parts.netloc} does not speak HTTP, or wants TLS: try wss://",
        "cut": lambda: (
            f"{url} ends the connection without an answer: the Node server does so with a cookie "
            "that it refuses, and so does a port that wants TLS (wss://)"
        ),
    }
    return meanings[error.kind]()


def explain_refused(refusal: Refused, url: str, loaded: Loaded, *, page: str = "") -> str:
    """Why the answer was another than 101: from this server, or from a proxy.

    :param page: the `Origin` that was sent, if one was.
    """
    status, ours = refusal.status, _is_ours(refusal)
    if status == 401 and ours:
        return (
            f"the server behind {url} refuses this configuration's token (401): it has another "
            f"jwtSecret or jwtCookieName than here (jwtSecret from "
            f"{loaded.set_by('jwtSecret')}), or the proxy removes the Cookie header; its log "
            "says which"
        )
    if status == 403 and ours:
        return _about_foreign_page(url, page)
    if ours and (status in (404, 426) or _lacks_upgrade(refusal)):
        return (
            f"the request reaches the server behind {url} without its upgrade ({status}): the "
            f"proxy does not pass on the headers Upgrade and Connection; {NGINX}"
        )
    if ours and status == 400:
        return (
            f"the server behind {url} finds the handshake malformed (400: "
            f"{refusal.body.strip()[:200]}): look at the proxy; {NGINX}"
        )
    if ours and status == 503:
        return f"the server behind {url} takes nobody at present: {refusal.body.strip()[:200]}"
    return _not_ours(refusal, url)


def explain_long_cookies(refusal: Refused, url: str, length: int) -> str:
    """Why a handshake with so many bytes of cookies was answered with another status than 101."""
    refuses = f"refuses {length // 1024} KiB of cookies ({refusal.status}), and those of all "
    if _is_ours(refusal):
        return f"{url} {refuses}applications on a host name add up: raise maxHeaderBytes there"
    return (
        f"{_who(refusal)} in front of {url} {refuses}applications on a host name add up: raise its "
        "limit, or their users are refused and no log of this server says so (in nginx, in server: "
        "large_client_header_buffers 4 32k)"
    )


def _about_foreign_page(url: str, page: str) -> str:
    if page and urlsplit(page).hostname != urlsplit(url).hostname:
        return (
            f"the server behind {url} takes {page} for a foreign page (403), as it is of another "
            f"host: use one host name for both, or add {page} to allowedOrigins and let Superset "
            "set its cookie for a domain of both (…_JWT_COOKIE_DOMAIN)"
        )
    return (
        f"the server behind {url} takes the page for a foreign one (403): let the proxy pass on "
        "the host name (in nginx: proxy_set_header Host $host), or add the page to allowedOrigins"
    )


def _not_ours(refusal: Refused, url: str) -> str:
    status = refusal.status
    if 300 <= status < 400:
        where = refusal.headers.get("location", "nowhere")
        better = where.replace("http", "ws", 1) if where.startswith("http") else where
        return (
            f"{url} redirects to {where} ({status}), and browsers do not follow that with a "
            f"WebSocket: write {better}, or send this path to the WebSocket server in the proxy"
        )
    if status in (502, 503, 504):
        return (
            f"the proxy at {url} can't reach the WebSocket server ({status}): correct the address "
            "in its proxy_pass, or start the server"
        )
    who = _who(refusal)
    if status in (401, 403, 407):
        return (
            f"{who} in front of {url} wants its own log-in ({status}): let this path through to "
            "the WebSocket server, which looks at the cookie itself"
        )
    if status == 400 and "HTTPS" in refusal.body:
        return f"{url} is a port for TLS: write wss://"
    return (
        f"{who} answers {url} itself ({status}), and not the WebSocket server: the path is not "
        "routed to it in the proxy, or the host or port in the URL is another's"
    )


def _is_ours(refusal: Refused) -> bool:
    """Whether this server has answered: its refusals are plain texts that begin with the status."""
    body = refusal.body.strip()
    plain = refusal.headers.get("content-type", "").startswith("text/plain")
    return plain and (body == "Not Found" or body.startswith(f"{refusal.status} "))


def _who(refusal: Refused) -> str:
    return refusal.headers.get("server", "some server")


def _lacks_upgrade(refusal: Refused) -> bool:
    return "Connection" in refusal.body or "HTTP/1.0" in refusal.body


def _about_tls(parts: SplitResult, detail: str) -> str:
    # A server without TLS answers in plain text, or waits for the end of a request.
    if any(
        word in detail for word in ("WRONG_VERSION", "RECORD_LAYER", "HTTP_REQUEST", "timed out")
    ):
        return (
            f"{parts.netloc} speaks no TLS: wss:// needs a proxy that does (this server itself "
            "speaks none), or write ws:// if the page is http"
        )
    return f"TLS with {parts.netloc} fails: {detail}"
