# SPDX-License-Identifier: Apache-2.0
"""What a browser makes of Superset's settings: does it connect here, and bring the cookie? No I/O.

The rules are those of RFC 6265 (bis) for cookies and of mixed content; the page's address is known
only if somebody says it (--page) or the settings let it be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from wsgi_ws.addresses import is_loopback, port_of
from wsgi_ws.cli.checks.words import Finding, Level, green, red, yellow
from wsgi_ws.cli.socket_errors import bad_url
from wsgi_ws.config.load import Loaded
from wsgi_ws.http.origin import is_allowed
from wsgi_ws.superset.names import SEVEN, Generation
from wsgi_ws.superset.settings import SupersetSettings, Unknown

WHAT = "browser"


@dataclass(frozen=True, slots=True)
class Situation:
    """The address of the socket and what is known of the page's.

    :ivar names: of the settings, in the Superset that they are for.
    :ivar page: where users open Superset, or None.
    :ivar https: why the page must be https, or empty.
    """

    names: Generation
    url: SplitResult
    page: SplitResult | None
    https: str
    where: str  # the place of the URL's setting

    @property
    def host(self) -> str:
        return (self.url.hostname or "").rstrip(".")


def check_browser(
    superset: SupersetSettings, loaded: Loaded, page: str | None, names: Generation
) -> list[Finding]:
    """
    :param page: where users open Superset.
    :param names: the Superset that the settings are for.
    """
    said = superset.said(names.url)
    if isinstance(said.value, Unknown) or not isinstance(said.value, str):
        return [yellow(WHAT, f"{said} can't be known here: compare it by hand")]
    opened = urlsplit(page) if page else _guessed_page(superset)
    https = _why_https(superset, page)
    url = said.value
    if names is SEVEN:
        url = _resolved(url, opened or _imagined_page(superset, https))
    problem = bad_url(url)
    if problem:
        return [red(WHAT, f"{names.url} ({said.where}) {problem}")]
    situation = Situation(
        names,
        urlsplit(url),
        opened,
        https,
        str(said.where),
    )
    findings = [*check_scheme(situation), *check_host(situation, superset)]
    another_address = any(f.level is Level.RED for f in findings)
    if not loaded.wrong_among("port"):
        findings += check_url_port(situation, loaded.settings.port)
    findings += check_cookie(situation, superset)
    if not another_address:  # else they would judge an address that must be changed
        findings += check_policy(situation, superset)
        findings += check_origin(situation, loaded)
    if not any(f.level for f in findings):
        findings.append(green(WHAT, f"{said.value} and the cookie's attributes fit each other"))
    return findings


def _imagined_page(superset: SupersetSettings, https: str) -> SplitResult:
    """Some page that the settings allow, for a path as the socket's address."""
    secure = https or superset.get(SEVEN.cookie_secure) is True
    domain = superset.get(SEVEN.cookie_domain)
    host = domain.lstrip(".") if isinstance(domain, str) and domain else "superset.invalid"
    return urlsplit(f"{'https' if secure else 'http'}://{host}/")


def _resolved(url: str, page: SplitResult) -> str:
    """The socket's URL as pages of Superset 7 make it: it may be a path, and may say http."""
    absolute = urljoin(page.geturl(), url) if url.startswith("/") else url
    scheme, colon, rest = absolute.partition("://")
    return {"http": "ws", "https": "wss"}.get(scheme, scheme) + colon + rest


def check_scheme(situation: Situation) -> Iterator[Finding]:
    """Mixed content: a page of https may open wss only."""
    url = situation.url
    if url.scheme == "ws" and situation.https:
        yield red(
            WHAT,
            f"{situation.names.url} is {url.geturl()} ({situation.where}), and browsers refuse "
            f"ws:// on a page of https ({situation.https}): write wss://, with TLS at the proxy",
        )


def check_host(situation: Situation, superset: SupersetSettings) -> Iterator[Finding]:
    """Browsers send a cookie only to the host name that has set it, or to its Domain."""
    names, host, page = situation.names, situation.host, situation.page
    if page and page.hostname:
        page_host = page.hostname.rstrip(".")
        domain = _domain(situation, superset)
        covered = bool(domain) and _covers(domain, host) and _covers(domain, page_host)
        if host != page_host and not covered:
            yield red(WHAT, _about_hosts(situation, page_host))
        return
    if is_loopback(host):
        other = "127.0.0.1" if host == "localhost" else "localhost"
        yield yellow(
            WHAT,
            f"{names.url} has the host {host} ({situation.where}): it works only for "
            f"users on this very machine who open Superset under {host}, not under {other}, which "
            "is another name for their cookies; write the name that users open, and give it with "
            "--page",
        )
    elif "." not in host and ":" not in host:
        yield yellow(
            WHAT,
            f"{names.url} has the host {host} ({situation.where}), which looks like the "
            "name of a container that no browser can look up: write the name that users open",
        )


def _about_hosts(situation: Situation, page_host: str) -> str:
    names, host = situation.names, situation.host
    if is_loopback(host) and is_loopback(page_host):
        return (
            f"users open {page_host}, but {names.url} has {host} ({situation.where}): to "
            f"a browser these are two hosts, and the cookie stays away; write {page_host} there"
        )
    return (
        f"users open {page_host}, but {names.url} has {host} ({situation.where}), where "
        f"the browser does not send {page_host}'s cookie: use one host name for both, or set "
        f"{names.cookie_domain} to a domain of both and add the page to allowedOrigins"
    )


def check_url_port(situation: Situation, own: int) -> Iterator[Finding]:
    """This server speaks plain HTTP on one port; another port must be a proxy's."""
    url = situation.url
    port = port_of(url)
    if url.scheme == "wss" and port == own:
        yield yellow(
            WHAT,
            f"{url.geturl()} ({situation.where}) wants TLS on port {port}, which is this server's "
            "own and speaks none: leave the port out and let the proxy do TLS",
        )
    elif url.scheme == "ws" and url.port and port != own:
        yield yellow(
            WHAT,
            f"{url.geturl()} ({situation.where}) has port {port}, this server {own}: correct one "
            "of them, unless a proxy listens there",
        )


def check_cookie(situation: Situation, superset: SupersetSettings) -> Iterator[Finding]:
    """The cookie's attributes Secure, SameSite and Domain, and its name."""
    names = situation.names
    secure = superset.get(names.cookie_secure)
    same_site = superset.get(names.cookie_samesite)
    name = superset.get(names.cookie_name)
    plain_url = situation.url.scheme == "ws"
    if secure is True and plain_url and not is_loopback(situation.host):
        yield red(
            WHAT,
            f"{names.cookie_secure} is True ({superset.where(names.cookie_secure)}), so browsers "
            f"send the cookie over TLS only, not to {situation.url.geturl()}: use https and "
            "wss://, or set it to False",
        )
    if same_site not in (None, "None", "Lax", "Strict") and not isinstance(same_site, Unknown):
        yield red(
            WHAT,
            f"{names.cookie_samesite} is {same_site!r} ({superset.where(names.cookie_samesite)}): "
            'it must be None, "None", "Lax" or "Strict"',
        )
    if same_site == "None" and secure is False:
        yield red(
            WHAT,
            f'{names.cookie_samesite} is "None" ({superset.where(names.cookie_samesite)}), and '
            f"browsers drop such a cookie unless it is Secure: {names.cookie_secure} = True (and "
            "https)",
        )
    if superset.get("SESSION_COOKIE_SAMESITE") == "None" and same_site in (None, "Lax", "Strict"):
        yield yellow(
            WHAT,
            f'SESSION_COOKIE_SAMESITE is "None" ({superset.where("SESSION_COOKIE_SAMESITE")}), but '
            f"{names.cookie_samesite} is {same_site!r} ({superset.where(names.cookie_samesite)}): "
            "inside pages of other sites browsers send the session's cookie, but not this one; if "
            'Superset is embedded there, set it to "None", too',
        )
    domain = _domain(situation, superset)
    if domain and not _covers(domain, situation.host):
        yield red(
            WHAT,
            f"{names.cookie_domain} is {domain} ({superset.where(names.cookie_domain)}), and "
            f"browsers do not send such a cookie to {situation.host}: leave it out, or write a "
            "domain that the host belongs to",
        )
    if name == superset.get("SESSION_COOKIE_NAME"):
        yield red(
            WHAT,
            f"{names.cookie_name} is {name!r} ({superset.where(names.cookie_name)}), as is the "
            "session's cookie, and each overwrites the other: give it a name of its own",
        )


def check_policy(situation: Situation, superset: SupersetSettings) -> Iterator[Finding]:
    """The page's Content Security Policy, which Superset sends unless told otherwise."""
    if superset.get("TALISMAN_ENABLED") is not True:
        return
    policy = superset.item("TALISMAN_CONFIG", "content_security_policy")
    if isinstance(policy, Unknown) or (policy is not None and not isinstance(policy, dict)):
        return
    default = ["'self'"]  # the part of Superset's own policy that matters here
    sources = default if policy is None else _sources(policy)
    if sources is None or _is_permitted(situation, sources):
        return
    url = situation.url
    make = red if situation.page else yellow
    yield make(
        WHAT,
        f"the Content Security Policy of Superset's page ({superset.where('TALISMAN_CONFIG')}) "
        f"permits connections to its own host and port only, not to {url.scheme}://{url.netloc}: "
        "add that to connect-src in TALISMAN_CONFIG, or give both one port through a proxy",
    )


def check_origin(situation: Situation, loaded: Loaded) -> Iterator[Finding]:
    """This server's own rule about pages of other host names."""
    page = situation.page
    if page is None or loaded.wrong_among("allowedOrigins"):
        return
    origin = f"{page.scheme}://{page.netloc}"
    if not is_allowed(origin, situation.url.netloc, loaded.settings.allowed_origins):
        yield red(
            WHAT,
            f"this server refuses pages of {origin}, whose host name is not {situation.host}: add "
            f"{origin} to allowedOrigins or ALLOWED_ORIGINS",
        )


def _domain(situation: Situation, superset: SupersetSettings) -> str:
    domain = superset.get(situation.names.cookie_domain)
    return domain.lstrip(".").lower() if isinstance(domain, str) else ""


def _covers(domain: str, host: str) -> bool:
    """RFC 6265 §5.1.3: the host is the domain, or a name below it (and no address)."""
    host = host.lower()
    if host == domain:
        return True
    try:
        ip_address(host)
    except ValueError:
        return host.endswith("." + domain)
    return False


def _guessed_page(superset: SupersetSettings) -> SplitResult | None:
    """Superset's address in its mails: users open it there."""
    url = superset.get("WEBDRIVER_BASEURL_USER_FRIENDLY")
    if not superset.is_set("WEBDRIVER_BASEURL_USER_FRIENDLY") or not isinstance(url, str):
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts if "." in host and not is_loopback(host) else None


def _why_https(superset: SupersetSettings, page: str | None) -> str:
    if page:
        return f"users open {page}" if page.startswith("https:") else ""
    guessed = _guessed_page(superset)
    if guessed and guessed.scheme == "https":
        return (
            f"WEBDRIVER_BASEURL_USER_FRIENDLY, {superset.where('WEBDRIVER_BASEURL_USER_FRIENDLY')}"
        )
    for name, value in (
        ("SESSION_COOKIE_SECURE", True),
        ("PREFERRED_URL_SCHEME", "https"),
    ):
        if superset.get(name) == value:
            return f"{name} is {value}, {superset.where(name)}"
    if superset.item("TALISMAN_CONFIG", "force_https") is True:
        return f"force_https, {superset.where('TALISMAN_CONFIG', 'force_https')}"
    return ""


def _sources(policy: dict[str, Any]) -> list[str] | None:
    """The sources of connect-src, else of default-src; None when neither restricts."""
    value = policy.get("connect-src", policy.get("default-src"))
    if isinstance(value, str):
        return value.split()
    return [str(item) for item in value] if isinstance(value, list) else None


def _is_permitted(situation: Situation, sources: list[str]) -> bool:
    url = situation.url
    port = port_of(url)
    if "'self'" in sources:
        page = situation.page
        if page is None and url.port is None:
            return True  # probably the proxy that serves the page too
        if page and situation.host == page.hostname:
            page_port = port_of(page)
            if port == page_port:
                return True
    wanted = {"*", f"{url.scheme}:", url.netloc, f"{url.scheme}://{url.netloc}", situation.host}
    if any(source.rstrip("/") in wanted for source in sources):
        return True
    return any(source.startswith(f"{url.scheme}://{url.netloc}/") for source in sources)
