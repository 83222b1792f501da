# SPDX-License-Identifier: Apache-2.0
"""The commands' help and output."""

from __future__ import annotations

import jwt
import pytest
from click.testing import CliRunner

from wsgi_ws import __version__
from wsgi_ws.cli.main import cli

SECRET = "a-secret-of-tests-with-more-than-32-bytes"
COMMANDS = ["check", "health", "send", "serve", "tail", "token", "version"]


def output(*arguments: str, **environ: str) -> str:
    env = {"JWT_SECRET": SECRET} | environ
    result = CliRunner().invoke(cli, arguments, env=env, prog_name="wsgi-ws")
    assert result.exit_code == 0, result.output
    return result.output


def test_the_help_says_where_to_begin() -> None:
    text = output("--help")
    assert all(f"\n  {name}  " in text for name in COMMANDS)
    assert "wsgi-ws check" in text


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "version"])
def test_each_command_has_an_example(command: str) -> None:
    assert f"wsgi-ws {command}" in output(command, "--help")


def test_the_examples_have_the_name_by_which_the_program_was_called() -> None:
    result = CliRunner().invoke(cli, ["check", "--help"], prog_name="python -m wsgi_ws")
    assert "  python -m wsgi_ws check --superset" in result.output
    assert "wsgi-ws check" not in result.output


def test_version_names_the_server_and_its_libraries() -> None:
    assert output("version").startswith(f"wsgi_ws {__version__}\nPython 3.")
    assert "\ngevent " in output("version")


def test_the_token_alone_for_other_tools() -> None:
    token = output("token", "c", "--raw").strip()
    claims = jwt.decode(token, SECRET, ["HS256"], options={"verify_sub": False})
    assert claims == {"channel": "c", "sub": None}


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, env={"JWT_SECRET": SECRET})
    assert result.exit_code == 2, result.output
    return result.output


def test_a_realtime_token_for_other_tools() -> None:
    arguments = ("token", "--transport", "realtime", "--principal", "user:42", "--raw")
    token = output(*arguments).strip()
    assert jwt.decode(token, SECRET, ["HS256"], audience="superset-websocket")["sub"] == "42"


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--transport", "realtime"),
        ("token", "--transport", "realtime", "--principal", "42"),
        ("token", "c", "--transport", "realtime", "--principal", "user:42"),
        ("token", "--principal", "user:42"),
        ("tail", "--transport", "realtime", "--since", "0"),
        ("check", "--page", "bi.example.org"),
        ("check", "--page", "https://bi:99999/"),
        ("send",),
        ("send", "c", "--topic", "t"),
        ("send", "c", "--transport", "realtime"),
        ("send", "user:42", "--transport", "realtime", "--payload", "{"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[str, ...]) -> None:
    assert "Error: " in refused(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "user:42"),
        ("send", "guest:abc"),
        ("send", "user:42:3", "--transport", "streams"),
        ("tail", "user:42", "--transport", "streams"),
        ("tail", "user:42", "--since", "0"),
        ("tail", "user:42", "--url", "ws://127.0.0.1:8080/"),
        ("token", "user:42"),
    ],
)
def test_nobody_has_a_channel_that_is_called_like_a_principal(arguments: tuple[str, ...]) -> None:
    assert "user:… and guest:… go with --transport realtime" in refused(*arguments)


@pytest.mark.parametrize("more", [(), ("--url", "ws://127.0.0.1:8080/")])
def test_no_principal_is_called_like_a_channel(more: tuple[str, ...]) -> None:
    text = refused("tail", "8d6c2f4e", "--transport", "realtime", *more)
    assert "user:… or guest:…" in text
