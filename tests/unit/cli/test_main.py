# SPDX-License-Identifier: Apache-2.0
"""The commands' help, tokens and lines of `tail`."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from click.testing import CliRunner

from wsgi_ws import __version__
from wsgi_ws.cli.main import cli
from wsgi_ws.cli.publish import event
from wsgi_ws.cli.tail import as_line
from wsgi_ws.cli.token import NoToken, cookie, sign
from wsgi_ws.config.keys import Settings
from wsgi_ws.http.auth import Authenticator

SECRET = "a-secret-of-tests-with-more-than-32-bytes"
COMMANDS = ["check", "send", "tail", "token", "version"]


def output(*arguments: str, **environ: str) -> str:
    result = CliRunner().invoke(cli, arguments, env={"JWT_SECRET": SECRET} | environ)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_help_says_where_to_begin() -> None:
    text = output("--help")
    assert all(f"\n  {name}  " in text for name in COMMANDS)
    assert "python -m wsgi_ws check" in text


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "version"])
def test_each_command_has_an_example(command: str) -> None:
    assert f"python -m wsgi_ws {command}" in output(command, "--help")


def test_version_names_the_server_and_its_libraries() -> None:
    assert output("version").startswith(f"wsgi_ws {__version__}\nPython 3.")
    assert "\ngevent " in output("version")


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_is_what_the_server_admits() -> None:
    settings = Settings(jwt_secret=SECRET, jwt_cookie_name="c", jwt_channel_id_key="k")
    authenticator = Authenticator(SECRET, ["HS256"], "c", "k")
    identity = authenticator.identify(cookie(settings, "channel", expires_in=60), time.time())
    assert identity.channel == "channel"
    assert identity.expires_at is not None
    assert identity.expires_at - time.time() == pytest.approx(60, abs=5)


def test_what_can_not_be_signed_says_why() -> None:
    with pytest.raises(NoToken, match="private key"):
        sign(Settings(jwt_secret=SECRET, jwt_algorithms=("RS256",)), "channel")


def test_the_token_alone_for_other_tools() -> None:
    token = output("token", "c", "--raw").strip()
    claims = jwt.decode(token, SECRET, ["HS256"], options={"verify_sub": False})
    assert claims == {"channel": "c", "sub": None}


# --- tail ----------------------------------------------------------------------------------------


def line(**members: Any) -> str:
    return as_line({"id": "1700000000123-0", **event("c0ffee00-1111"), **members})


def test_a_line_has_time_channel_and_status() -> None:
    assert line(job_id="j", result_url="/x").split() == [
        *("22:13:20.123", "c0ffee00…", "j", "done", "/x")
    ]


def test_a_line_has_the_error() -> None:
    assert "no such table" in line(status="error", errors=[{"message": "no such table"}])


def test_what_comes_from_outside_can_not_command_the_terminal() -> None:
    text = line(status="\x1b[2J", result_url="/x\n\x07")
    assert text.isprintable()


def test_a_malformed_entry_has_a_line_too() -> None:
    text = as_line({"id": "1700000000123-0", "malformed": "data is not JSON"})
    assert text.endswith("1700000000123-0  malformed: data is not JSON")


def test_an_error_event_has_an_error() -> None:
    assert event("c", status="error")["errors"]
    assert event("c")["errors"] == []
