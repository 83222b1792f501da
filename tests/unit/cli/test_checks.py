# SPDX-License-Identifier: Apache-2.0
"""The judgements of the check that need no process: configuration, machine, streams, browser."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from wsgi_ws.cli.checks import browser as check_browser
from wsgi_ws.cli.checks import machine as check_machine
from wsgi_ws.cli.checks.configuration import change, in_container, is_loopback
from wsgi_ws.cli.checks.findings import Level
from wsgi_ws.cli.checks.redis import check_version
from wsgi_ws.cli.checks.streams import Stream, age, describe_stream
from wsgi_ws.config.keys import Settings
from wsgi_ws.config.load import Loaded
from wsgi_ws.config.set_by import NOBODY, Kind, SetBy
from wsgi_ws.server import open_files
from wsgi_ws.superset.settings import SupersetSettings

ROOT = Path(__file__).resolve().parents[3]


# --- how to change a value -----------------------------------------------------------------------

FILE = SetBy(Kind.FILE, "config.json")
UNPLACED = "set redis.db or REDIS_DB to 0"


@pytest.mark.parametrize(
    ("source", "path", "value", "words"),
    [
        (SetBy(Kind.ENVIRONMENT, "REDIS_DB"), "redis.db", 0, "set REDIS_DB=0"),
        (FILE, "redis.db", 0, 'write "db": 0 in "redis" in config.json'),
        (NOBODY, "redis.db", 0, UNPLACED),
        (SetBy(Kind.URL, "redis.url", "config.json"), *("redis.db", 0), UNPLACED),
        (SetBy(Kind.SUPERSET, "CACHE", "line 1"), *("redis.db", 0), UNPLACED),
        (FILE, "jwtCookieName", "x", 'write "jwtCookieName": "x" in config.json'),
        (
            SetBy(Kind.ENVIRONMENT, "JWT_SECRET"),
            "jwtSecret",
            "s",
            "set JWT_SECRET to the same value",
        ),
        (FILE, "jwtSecret", "s", "set jwtSecret to the same value"),
        (NOBODY, "jwtSecret", "s", "set JWT_SECRET to the same value"),
        (SetBy(Kind.FILE, "environment.json"), "port", 1, 'write "port": 1 in environment.json'),
    ],
)
def test_a_value_is_changed_where_it_comes_from(
    source: SetBy, path: str, value: object, words: str
) -> None:
    loaded = Loaded(Settings(), {path: source}, ())
    assert change(path, loaded, value) == words


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "::1"])
def test_names_of_the_very_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["redis", "10.0.0.1", "localhost.example.org"])
def test_names_of_other_machines(host: str) -> None:
    assert not is_loopback(host)


def test_a_container_is_recognized_by_its_marks(tmp_path: Path) -> None:
    assert not in_container({}, tmp_path)
    assert in_container({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert in_container({}, tmp_path)


# --- the machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sockets", "limit", "level"),
    [
        (0, resource.RLIM_INFINITY, Level.GREEN),
        (0, 100_000, Level.GREEN),
        (0, 1024, Level.YELLOW),
        (1000, 1063, Level.RED),
        (1000, 1064, Level.GREEN),
    ],
)
def test_open_files_must_do_for_the_sockets(sockets: int, limit: int, level: Level) -> None:
    assert check_machine.check_descriptors(sockets, limit).level is level


@pytest.mark.parametrize(("limit", "level"), [(1063, Level.RED), (1064, Level.GREEN)])
def test_the_server_warns_of_the_same_number_of_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, level: Level
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    open_files.raise_limit(1000)
    assert check_machine.check_descriptors(1000, limit).level is level
    assert bool(caplog.records) is (level is Level.RED)


def test_the_libraries_are_those_of_the_requirements() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pairs = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in lines]
    assert {m[1]: m[2] for m in pairs if m} == dict(check_machine.LIBRARIES)


def test_what_is_missing_or_too_old_is_named() -> None:
    found = dict.fromkeys(check_machine.LIBRARIES, "99.0") | {"flask": None, "redis": "4.5.9"}
    finding = check_machine.check_libraries(found)
    assert finding.level is Level.RED
    assert "missing: flask" in finding.sentence
    assert "redis 4.5.9 (needs 4.6)" in finding.sentence


@pytest.mark.parametrize(
    ("version", "numbers"), [("22", (22,)), ("8.0.0b2", (8, 0)), ("1.2.3.dev4", (1, 2, 3))]
)
def test_versions_are_compared_by_their_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert check_machine.as_numbers(version) == numbers


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "level"),
    [("4.0.14", Level.RED), ("5.0.0", Level.GREEN), ("255.255.255", Level.GREEN), (None, 0)],
)
def test_streams_need_redis_5(version: str | None, level: Level) -> None:
    assert check_version(version, "redis://r").level == level


def stream(*, length: int = 10, span_ms: int = 600_000, trimmed: bool | None = False) -> Stream:
    return Stream(length, 0, span_ms, length, span_ms, trimmed)


def test_one_is_not_many() -> None:
    (finding,) = describe_stream("k", stream(length=1, span_ms=0), 0)
    assert finding.sentence.startswith("k has 1 entry, too few to tell a rate")


def test_the_rate_is_that_of_the_newest_entries() -> None:
    assert stream(length=11, span_ms=600_000).per_minute == 1.0
    assert stream(length=1, span_ms=0).per_minute is None


def test_a_stream_is_described_in_one_line() -> None:
    (finding,) = describe_stream("k", stream(length=1001), 605_000)
    assert finding.sentence == (
        "k has 1,001 entries, 100.0 per minute lately, the newest 5 s old, the oldest 10 min, "
        "not trimmed so far"
    )


@pytest.mark.parametrize(
    ("trimmed", "span_ms", "count"), [(True, 30_000, 2), (True, 90_000, 1), (None, 30_000, 1)]
)
def test_a_memory_of_seconds_is_too_short(trimmed: bool | None, span_ms: int, count: int) -> None:
    found = list(describe_stream("k", stream(span_ms=span_ms, trimmed=trimmed), span_ms))
    assert len(found) == count


@pytest.mark.parametrize(
    ("ms", "text"), [(-5, "0 s"), (119_000, "119 s"), (600_000, "10 min"), (3e8, "3 days")]
)
def test_ages_in_the_unit_that_people_use(ms: int, text: str) -> None:
    assert age(ms) == text


# --- the browser ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ws://bi.example.org/ws", None),
        ("wss://bi.example.org:8443", None),
        ("http://bi.example.org:8080/", "write ws://bi.example.org:8080/"),
        ("bi.example.org:8080", "must begin with ws://"),
        ("ws:///ws", "must begin with ws://"),
        ("ws://bi:99999/", "no URL"),
    ],
)
def test_addresses_that_browsers_take(url: str, words: str | None) -> None:
    problem = check_browser.bad_url(url)
    assert (problem is None) if words is None else (problem is not None and words in problem)


def browser(page: str | None = None, **values: object) -> str:
    """The sentences about these settings of Superset's, without green ones."""
    named = {
        name if name.isupper() else f"GLOBAL_ASYNC_QUERIES_{name.upper()}": value
        for name, value in values.items()
    }
    superset = SupersetSettings("superset_config.py", named, {})
    findings = check_browser.check(superset, Loaded(Settings(), {}, ()), page)
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
