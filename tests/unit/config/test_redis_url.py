# SPDX-License-Identifier: Apache-2.0
"""URLs of Redis are read as redis-py reads them, or refused without a word of what they contain."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url as read_by_redis_py

from wsgi_ws.config.meanings import BadValue
from wsgi_ws.config.redis_url import parse_url

TCP = {"unix_socket_path": "", "host": "127.0.0.1", "port": 6379, "ssl": False, "db": 0}
UNIX = {"ssl": False, "db": 0}


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("redis://", TCP),
        ("redis://h", TCP | {"host": "h"}),
        ("redis://h:1", TCP | {"host": "h", "port": 1}),
        ("redis://h/", TCP | {"host": "h"}),
        ("redis://h/2", TCP | {"host": "h", "db": 2}),
        ("redis://h?db=2", TCP | {"host": "h", "db": 2}),
        ("redis://h/1?db=2", TCP | {"host": "h", "db": 2}),
        ("REDIS://h", TCP | {"host": "h"}),
        ("rediss://h", TCP | {"host": "h", "ssl": True}),
        ("redis://[::1]:1", TCP | {"host": "::1", "port": 1}),
        ("redis://:p@h", TCP | {"host": "h", "username": "default", "password": "p"}),
        ("redis://u@h", TCP | {"host": "h", "username": "u"}),
        ("redis://u:p%2F%40@h", TCP | {"host": "h", "username": "u", "password": "p/@"}),
        ("redis://h?password=p", TCP | {"host": "h", "username": "default", "password": "p"}),
        ("unix:///a/b.sock", UNIX | {"unix_socket_path": "/a/b.sock"}),
        ("unix:///a%20b", UNIX | {"unix_socket_path": "/a b"}),
        ("unix:///a?db=2", UNIX | {"unix_socket_path": "/a", "db": 2}),
        (
            "unix://u:p@/a",
            UNIX | {"unix_socket_path": "/a", "username": "u", "password": "p"},
        ),
    ],
)
def test_a_url_says(url: str, fields: dict[str, Any]) -> None:
    assert parse_url(url) == (fields, [])


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("ssl_ca_certs=/ca.pem", "ssl_ca_certs", "/ca.pem"),
        ("ssl_certfile=/c.pem", "ssl_certfile", "/c.pem"),
        ("ssl_keyfile=/k.pem", "ssl_keyfile", "/k.pem"),
        ("ssl_cert_reqs=none", "ssl_cert_reqs", "none"),
        ("ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs", "none"),
        ("ssl_cert_reqs=required", "ssl_cert_reqs", "required"),
        ("ssl_cert_reqs=CERT_REQUIRED", "ssl_cert_reqs", "required"),
        ("ssl_cert_reqs=optional", "ssl_cert_reqs", "required"),
        ("ssl_check_hostname=False", "validate_hostname", False),
        ("ssl_check_hostname=true", "validate_hostname", True),
    ],
)
def test_the_options_of_tls_can_be_in_the_url(option: str, field: str, value: object) -> None:
    fields, ignored = parse_url(f"rediss://h?{option}")
    assert (fields[field], ignored) == (value, [])


def test_options_that_would_change_how_streams_are_read_are_only_named() -> None:
    fields, ignored = parse_url("redis://h?socket_timeout=1&decode_responses=true&db=2")
    assert fields == TCP | {"host": "h", "db": 2}
    assert ignored == ["socket_timeout", "decode_responses"]


WORD = st.text(min_size=1, max_size=12)


@given(
    scheme=st.sampled_from(["redis", "rediss"]),
    host=st.sampled_from(["localhost", "redis.example.org", "10.0.0.1", "[::1]"]),
    port=st.none() | st.integers(1, 65535),
    username=st.none() | WORD,
    password=st.none() | WORD,
    database=st.none() | st.integers(0, 99),
)
def test_a_url_is_read_as_redis_py_reads_it(
    scheme: str,
    host: str,
    port: int | None,
    username: str | None,
    password: str | None,
    database: int | None,
) -> None:
    credentials = quote(username or "", safe="")
    credentials += ":" + quote(password, safe="") if password else ""
    url = f"{scheme}://{credentials}{'@' if credentials else ''}{host}"
    url += (f":{port}" if port else "") + (f"/{database}" if database is not None else "")
    expected = read_by_redis_py(url)
    fields, _ = parse_url(url)
    assert fields["ssl"] == ("connection_class" in expected)
    expected.pop("connection_class", None)
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with redis://"),
        ("h:6379", "must begin with redis://"),
        ("http://h", "must begin with redis://"),
        ("redis+sentinel://h", "redis.sentinels"),
        ("redis://h:port", "no valid host and port"),
        ("redis://h:65536", "no valid host and port"),
        ("redis://h:0", "not between 1 and 65535"),
        ("redis://[::1", "no valid host and port"),
        ("redis://h/x", "no database number"),
        ("redis://h/-1", "no database number"),
        ("redis://h?db=x", "an option db"),
        ("redis://h?ssl_cert_reqs=x", "an option ssl_cert_reqs"),
        ("redis://h/0#x", "%23"),
        ("rediss://h?ssl_cert_req=none", "an unknown option"),
        ("redis://u:12?3=4@h", "%3F"),
        ("unix://", "three slashes"),
        ("unix://run/redis.sock", "three slashes"),
    ],
)
def test_what_is_no_url_of_a_redis_is_refused(url: str, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_url(url)
    assert words in str(caught.value)


def error_of(url: str) -> str:
    try:
        parse_url(url)
    except BadValue as error:
        return str(error)
    return ""


@given(password=st.text("abc/?#[]@:%\\ é", min_size=1))
def test_a_password_that_was_not_quoted_never_appears_in_the_error(password: str) -> None:
    assert "Secret" not in error_of(f"redis://:Secret{password}Secret@h:6379/0")
