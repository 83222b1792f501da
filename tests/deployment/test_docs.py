# SPDX-License-Identifier: Apache-2.0
"""What the documents say can be followed: links, commands, snippets, names.

A block of code has a language. `sh`: each of our commands has the options that it is given. `sh
run`: the block is also run as it stands, beside a server and its Redis. `json`: a configuration, or
a part of one. `ini`, `yaml` and `python` are parsed.
"""

from __future__ import annotations

import configparser
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click
import gunicorn.config
import pytest
import yaml

from testbed.markdown import Block, Command, Document, documents, files
from testbed.servers import ROOT, SECRET, RedisServer, Server
from testbed.superset import new_channel, publish
from wsgi_ws.cli.main import cli
from wsgi_ws.config.keys import keys
from wsgi_ws.config.load import CONFIG_PATH_VARIABLE, ConfigError, load
from wsgi_ws.server.entry import launch

DOCUMENTS = documents()
INDEX = ROOT / "docs" / "deployment" / "README.md"
GUIDES = [d for d in DOCUMENTS if d.path.is_relative_to(INDEX.parent)]
README = Document(ROOT / "README.md")
PATHS = {key.path for key in keys()} | {key.alias for key in keys()}
OWN_VARIABLES = {key.env for key in keys() if key.env} | {CONFIG_PATH_VARIABLE}
# Variables and settings of others that a guide may name.
FOREIGN_VARIABLES = re.compile(
    "(GLOBAL_ASYNC_QUERIES|WEBSOCKET|CACHE|DATA_CACHE|DISTRIBUTED_COORDINATION|SUPERSET|TALISMAN"
    "|CELERY|FEATURE|GUEST|PUBLIC_ROLE|SESSION|SECRET_KEY|SOURCE_DATE|PROMETHEUS_MULTIPROC|GUNICORN|CAP|COMPOSE"
    "|KUBERNETES|NODE|REDIS_(PROTO|USER|CELERY_DB|SSL_CERT_REQS)$)(_|$)|(_|^)(REDIS_CONFIG|FLAGS)$"
)
# Kubernetes' and Helm's words in camelCase; those that stand in deploy/ may be named too.
FOREIGN_WORDS = frozenset(
    "enableServiceLinks envFromSecret extraEnv httpGet imagePullPolicy livenessProbe maxSurge "
    "maxUnavailable podDisruptionBudget readinessProbe readOnlyRootFilesystem replicaCount "
    "runAsUser securityContext supersetWebsockets terminationGracePeriodSeconds".split()
)


def by_name(found: list[Document]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", found, ids=lambda d: d.name)


def blocks(*languages: str, runs: bool = False) -> pytest.MarkDecorator:
    """All blocks of these languages, each with the document that it is in."""
    found = [
        pytest.param(document, block, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(document.blocks)
        if block.language in languages and block.runs is runs
    ]
    return pytest.mark.parametrize(("document", "block"), found)


# --- links and files -----------------------------------------------------------------------------


@by_name(DOCUMENTS)
def test_a_link_leads_somewhere(document: Document) -> None:
    assert [link for link in document.links if _leads_nowhere(document, link)] == []


def _leads_nowhere(document: Document, link: str) -> bool:
    if re.match("[a-z]+:", link):
        url = urlsplit(link)
        return url.scheme != "https" or "." not in url.netloc
    name, _, anchor = link.partition("#")
    target = (document.path.parent / name).resolve() if name else document.path
    if anchor and target.suffix == ".md" and target.exists():
        return anchor not in Document(target).anchors
    return not target.exists() or bool(anchor)


@by_name(DOCUMENTS)
def test_a_document_begins_with_its_name(document: Document) -> None:
    assert document.text.startswith("# ")


@by_name(GUIDES)
def test_a_guide_is_reached_from_the_index(document: Document) -> None:
    reached, found = {INDEX}, [INDEX]
    while found:
        here = found.pop()
        names = {link.partition("#")[0] for link in Document(here).links}
        linked = {(here.parent / name).resolve() for name in names if name.endswith(".md")}
        found += sorted((linked - reached) & {guide.path for guide in GUIDES})
        reached |= linked
    assert document.path in reached


def test_the_readme_leads_to_the_guides() -> None:
    assert "docs/deployment/README.md" in {link.partition("#")[0] for link in README.links}


def test_a_file_for_a_deployment_is_named_by_a_document_or_by_a_file_that_is() -> None:
    paths = [path.relative_to(ROOT) for path in files(ROOT / "deploy")]
    unknown = {path for path in paths if path.name != "__init__.py" and path.suffix != ".md"}
    texts = [document.text for document in DOCUMENTS]
    texts += [path.read_text("utf-8") for path in files() if path.name == "Dockerfile"]
    known = {path for path in unknown if any(_names(text, path) for text in texts)}
    while known:
        unknown -= known
        text = "".join((ROOT / path).read_text("utf-8") for path in known)
        words = set(re.findall(r"[\w.@-]+", text))
        known = {path for path in unknown if words & {path.name, path.parent.name}}
    assert unknown == set()


def _names(text: str, path: Path) -> bool:
    """By its path, as a module, or by its name beside that of its folder."""
    module = ".".join(path.with_suffix("").parts)
    return str(path) in text or module in text or (str(path.parent) in text and path.name in text)


# --- commands ------------------------------------------------------------------------------------


@by_name([d for d in DOCUMENTS if d.name != "CHANGELOG.md"])  # it tells of commands that were
def test_a_command_has_the_options_that_it_is_given(document: Document) -> None:
    wrong = [(c, problem) for c in document.commands if (problem := problem_of(c))]
    assert wrong == []


def problem_of(command: Command) -> str:
    """What is wrong with it; empty when nothing is."""
    foreign = [name for name in command.assigned if not _is_known(name)]
    if foreign:
        return f"no variables of the server: {', '.join(foreign)}"
    if command.program == "gunicorn":
        return _problem_of_gunicorns(command.arguments)
    return _problem_of_ours(command.arguments)


def _problem_of_ours(arguments: Sequence[str]) -> str:
    known = cli.list_commands(click.Context(cli))
    place = next((n for n, word in enumerate(arguments) if word in known), len(arguments))
    name, rest = "".join(arguments[place : place + 1]), list(arguments[place + 1 :])
    try:
        context = cli.make_context("wsgi-ws", list(arguments[: place + 1]))
        command = cli.get_command(context, name)
        if name == "serve":
            launch.command_line(rest)
        elif command:
            command.make_context(name, rest, parent=context)
        elif arguments:
            return "no such command"
    except click.exceptions.Exit:  # --help
        return ""
    except click.BadParameter as error:  # a path in an example need not exist
        return "" if error.param and isinstance(error.param.type, click.Path) else error.message
    except click.UsageError as error:
        return error.message if arguments else ""
    except (launch.Unsuitable, SystemExit) as error:
        return f"serve: {error}"
    return ""


def _problem_of_gunicorns(arguments: Sequence[str]) -> str:
    try:
        gunicorn.config.Config().parser().parse_args(arguments)
    except SystemExit as end:
        return "gunicorn refuses the options" if end.code else ""
    return ""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an operator: a server, events in its Redis, and `wsgi-ws` installed."""
    folder = tmp_path_factory.mktemp("installation")
    command = folder / "wsgi-ws"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m wsgi_ws "$@"\n')
    command.chmod(0o755)
    redis_server = RedisServer(folder)
    publish(redis_server.client, "async-events-", new_channel())
    try:
        server = Server(folder, redis_server.port)
        yield {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PORT": str(server.port),
            "REDIS_PORT": str(redis_server.port),
            "JWT_SECRET": SECRET,
        }
        server.stop()
    finally:
        redis_server.close()


@blocks("sh", "bash", runs=True)
def test_a_block_that_says_so_runs_as_it_stands(
    document: Document, block: Block, installation: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", "-euc", block.text.replace("8080", installation["PORT"])],
        cwd=tmp_path,
        env=installation,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- snippets ------------------------------------------------------------------------------------


@blocks("json")
def test_a_configuration_loads(document: Document, block: Block, tmp_path: Path) -> None:
    text = block.text.strip()
    content = json.loads(text if text.startswith("{") else f"{{{text}}}")
    (tmp_path / "config.json").write_text(json.dumps({"jwtSecret": SECRET} | content))
    try:
        warnings = load({}, tmp_path).warnings
    except ConfigError as error:
        pytest.fail(str(error))
    assert [w for w in warnings if "jwtSecret" not in w] == []


@blocks("ini", "yaml", "python")
def test_a_snippet_parses(document: Document, block: Block) -> None:
    if block.language == "python":
        compile(block.text, document.name, "exec")
    elif block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
    else:  # keys may come again, as in systemd's units
        unit = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
        unit.read_string(block.text)
        assert unit.sections()


# --- names ---------------------------------------------------------------------------------------


@by_name([README, *GUIDES])
def test_a_variable_that_is_named_exists(document: Document) -> None:
    named = {
        name
        for span in document.spans
        for name in re.findall(
            r"^(?:Environment=|export )?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?$", span
        )
    }
    assert {name for name in named if not _is_known(name)} == set()


def _is_known(name: str) -> bool:
    return name in OWN_VARIABLES or bool(FOREIGN_VARIABLES.search(name))


@by_name([README, *GUIDES])
def test_a_key_that_is_named_exists(document: Document) -> None:
    named = {
        name
        for span in document.spans
        for name in re.findall(r"^([a-z]+(?:[A-Z][a-z0-9]+)+)(?:[:=].*)?$", span)
        + re.findall(r"^((?:redis|statsd)\.\w+)$", span)
    }
    deployed = " ".join(path.read_text("utf-8", "replace") for path in files(ROOT / "deploy"))
    assert {n for n in named - PATHS - FOREIGN_WORDS if n not in deployed} == set()


@by_name(GUIDES)
def test_a_table_of_keys_has_keys_only(document: Document) -> None:
    tables = re.findall(r"^\| *key *\|.*\n\|.*\n((?:\|.*\n)+)", document.prose, re.M)
    cells = [line.split("|")[1] for table in tables for line in table.splitlines()]
    named = set(itertools.chain.from_iterable(re.findall("`([^`]+)`", cell) for cell in cells))
    assert named - PATHS == set()
