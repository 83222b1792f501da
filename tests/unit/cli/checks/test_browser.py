# SPDX-License-Identifier: Apache-2.0
"""What browsers make of Superset's settings."""

from __future__ import annotations

import pytest

from wsgi_ws.cli.checks.browser import check_browser
from wsgi_ws.cli.checks.words import Level
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import Loaded
from wsgi_ws.superset.names import SIX
from wsgi_ws.superset.settings import SupersetSettings


def browser(page: str | None = None, **values: object) -> str:
    """The sentences about these settings of Superset's, without green ones."""
    named = {
        name if name.isupper() else f"GLOBAL_ASYNC_QUERIES_{name.upper()}": value
        for name, value in values.items()
    }
    superset = SupersetSettings("superset_config.py", named, {})
    findings = check_browser(superset, Loaded(Settings(), {}, ()), page, SIX)
    return "\n".join(f.sentence for f in findings if f.level is not Level.GREEN)


def policy(*sources: str) -> dict[str, object]:
    return {"content_security_policy": {"connect-src": list(sources)}}


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("ws://bi.example.org:8080/", {"TALISMAN_ENABLED": False}),
        ("ws://bi.example.org:8080/", {"TALISMAN_CONFIG": policy("ws://bi.example.org:8080")}),
        ("ws://bi.example.org:8080/", {"TALISMAN_CONFIG": policy("ws:")}),
        ("ws://bi.example.org:8080/", {"TALISMAN_CONFIG": {"content_security_policy": {}}}),
        ("ws://bi.example.org/ws", {}),
    ],
)
def test_what_the_pages_policy_permits(url: str, values: dict[str, object]) -> None:
    assert browser("http://bi.example.org/", websocket_url=url, **values) == ""


def test_what_the_pages_policy_forbids() -> None:
    text = browser("http://bi.example.org/", websocket_url="ws://bi.example.org:8080/")
    assert "add that to connect-src" in text


@pytest.mark.parametrize(
    ("domain", "host", "covered"),
    [
        (".example.org", "bi.example.org", True),
        ("example.org", "example.org", True),
        ("example.org", "badexample.org", False),
        ("bi.example.org", "example.org", False),
        ("0.0.1", "127.0.0.1", False),
    ],
)
def test_a_cookies_domain_covers_names_below_it(domain: str, host: str, covered: bool) -> None:
    text = browser(websocket_url=f"ws://{host}/", jwt_cookie_domain=domain)
    assert ("do not send such a cookie" not in text) is covered


def test_the_address_in_supersets_mails_tells_where_users_are() -> None:
    text = browser(
        websocket_url="ws://bi.example.org/ws",
        WEBDRIVER_BASEURL_USER_FRIENDLY="https://bi.example.org/",
    )
    assert "browsers refuse ws://" in text
