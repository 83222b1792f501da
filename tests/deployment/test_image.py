# SPDX-License-Identifier: Apache-2.0
"""The image, built as `make image` does it, and run with a read-only root, as any user."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from testbed import realtime
from testbed.absent import absent
from testbed.container import Container
from testbed.container_image import Image
from testbed.ports import free_port
from testbed.realtime import Superset7
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, eventually
from testbed.superset import cookie, new_channel, publish
from wsgi_ws import __version__

CONFIG = "/home/superset-websocket/config.json"
OPERATORS_COMMAND = "/app/docker/entrypoints/run-websocket.sh"
OPENSHIFTS_USER = "1000670000:0"
ABOVE_THE_BASE = 90 << 20  # bytes at most, of all files together

pytestmark = pytest.mark.timeout(400)  # the first test builds the image, and the base if need be

Start = Callable[..., Container]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    built = Image(tmp_path_factory.mktemp("image"))
    yield built
    built.close()


@pytest.fixture
def start(image: Image, tmp_path: Path) -> Iterator[Start]:
    """Start containers with the options of `Container`; they are ended after the test."""
    started: list[Container] = []

    def start(**options: Any) -> Container:
        container = Container(image, tmp_path, **options)
        started.append(container)
        return container

    yield start
    for container in started:
        container.close()


@pytest.fixture
def environ(redis_server: RedisServer, prefix: str) -> dict[str, str]:
    """All that a server has to know."""
    return {
        "PORT": str(free_port()),
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM_PREFIX": prefix,
        "REALTIME_CHANNEL_PREFIX": prefix,
        "JWT_SECRET": SECRET,
    }


def until_ready(container: Container, port: str) -> None:
    def is_ready() -> bool:
        assert not container.has_ended(), container.log_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    eventually(is_ready, "the server is ready")


def open_tab(port: str, channel: str) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{port}/", additional_headers={"Cookie": cookie(channel)}, proxy=None
    )


def size(root: Path) -> int:
    """Bytes of all files."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())


# --- what it does ---------------------------------------------------------------------------------


def test_an_event_reaches_a_browser_and_a_stop_closes_it(
    start: Start,
    environ: dict[str, str],
    redis_server: RedisServer,
    prefix: str,
    tmp_path: Path,
) -> None:
    """As Compose and Superset's chart run it: the file where the Node server has it."""
    config = tmp_path / "config.json"
    document = {
        "port": int(environ["PORT"]),
        "jwtSecret": SECRET,
        "redis": {"port": redis_server.port},
        "redisStreamPrefix": prefix,
    }
    config.write_text(json.dumps(document))
    container = start(environ={}, mounts={config: CONFIG})
    until_ready(container, environ["PORT"])
    channel = new_channel()
    with open_tab(environ["PORT"], channel) as tab:
        event_id, event = publish(redis_server.client, prefix, channel)
        assert json.loads(tab.recv(DEADLINE)) == {"id": event_id, **event}
        assert container.terminate() == 0
        with pytest.raises(ConnectionClosed) as closed:
            tab.recv(DEADLINE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_any_user_may_run_it_and_workers_share_their_metrics(
    start: Start, environ: dict[str, str]
) -> None:
    """As OpenShift runs it: a user that no file names, with group 0 and without HOME."""
    container = start(
        environ=environ, user=OPENSHIFTS_USER, command=("wsgi-ws", "serve", "--workers", "2")
    )
    until_ready(container, environ["PORT"])
    worker = eventually(
        lambda: psutil.Process(container.pid).children()[1:], "there are two workers"
    )[0]
    assert worker.uids().real == 1_000_670_000
    assert container.run("sh", "-c", "ls /tmp").stdout.startswith("wsgi_ws-metrics-")
    assert "WARNING" not in container.log_text()


def test_the_operators_command_and_variables_start_it(
    start: Start, environ: dict[str, str], redis_server: RedisServer, prefix: str
) -> None:
    """As Superset's Kubernetes operator runs it."""
    operators = {
        "PORT": environ["PORT"],
        "JWT_SECRET": SECRET,
        "JWT_COOKIE_NAME": "superset-ws-token",
        "ALLOWED_ORIGINS": "https://superset.example.com",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_server.port),
        "REDIS_DB": "7",
        "REDIS_SSL": "false",
        "REALTIME_CHANNEL_PREFIX": prefix,
    }
    container = start(environ=operators, command=[OPERATORS_COMMAND])
    until_ready(container, environ["PORT"])
    headers = {"Cookie": realtime.cookie("user:1")}
    url = f"ws://127.0.0.1:{environ['PORT']}/?tab_id=1"
    with connect(
        url, additional_headers=headers, origin=Origin("https://superset.example.com"), proxy=None
    ) as tab:
        superset = Superset7(redis_server.port, prefix)
        superset.publish("task.status", "tab", {"task_id": "x"}, ["user:1:1"])
        superset.close()
        assert json.loads(tab.recv(DEADLINE))["payload"] == {"task_id": "x"}
    assert container.terminate() == 0


def test_the_operators_command_finds_the_file_where_superset_7_has_it(
    start: Start, environ: dict[str, str], tmp_path: Path
) -> None:
    config, home = tmp_path / "config.json", tmp_path / "home"
    config.write_text(json.dumps({"jwtCookieName": 7}))
    home.mkdir()
    container = start(
        environ=environ,
        command=[OPERATORS_COMMAND],
        mounts={config: "/app/superset-websocket/config.json", home: "/app/superset_home"},
    )
    assert container.wait() == 1
    assert "/app/superset-websocket/config.json" in container.log_text()


def test_a_wrong_configuration_ends_it_with_the_line_that_names_the_key(
    start: Start, environ: dict[str, str]
) -> None:
    container = start(environ=environ | {"JWT_SECRET": "short"})
    assert container.wait() == 1
    (line,) = container.log_text().splitlines()
    assert "jwtSecret" in line
    assert "JWT_SECRET" in line


def test_the_health_command_says_whether_it_answers(
    start: Start, environ: dict[str, str], image: Image
) -> None:
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"  # no shell
    container = start(environ=environ)
    until_ready(container, environ["PORT"])
    assert container.run(*command).returncode == 0
    container.terminate()
    assert start(environ=environ, command=command).wait() == 1


def test_a_stop_while_it_starts_ends_it(
    start: Start, environ: dict[str, str], tmp_path: Path
) -> None:
    """To process 1 a signal without a handler does not get through."""
    with socket.create_server(("127.0.0.1", 0)) as witness:
        witness.settimeout(DEADLINE)
        settings = tmp_path / "superset_config.py"
        settings.write_text(
            "import socket, time\n"
            f"socket.create_connection({witness.getsockname()!r})\n"
            f"time.sleep({4 * DEADLINE})\n"
        )
        container = start(
            environ=environ | {"WSGI_WS_SUPERSET_CONFIG": "/settings/superset_config.py"},
            mounts={settings: "/settings/superset_config.py"},
        )
        connection, _ = witness.accept()
        with connection:
            assert container.terminate() == 128 + signal.SIGTERM


def test_a_relative_log_file_of_the_operators_command_lies_in_supersets_home(
    start: Start, environ: dict[str, str]
) -> None:
    more = {"LOG_TO_FILE": "true", "LOG_FILENAME": "ws.log", "SUPERSET_HOME": "/tmp"}
    container = start(environ=environ | more, command=[OPERATORS_COMMAND])
    until_ready(container, environ["PORT"])
    assert "following stream" in container.run("cat", "/tmp/ws.log").stdout


def test_an_end_of_the_test_ends_the_container(start: Start, environ: dict[str, str]) -> None:
    """Or its server would follow the next test's Redis."""
    container = start(environ=environ)
    until_ready(container, environ["PORT"])
    inside = psutil.Process(container.pid)
    processes = [inside, *inside.children(recursive=True)]
    container.close()
    assert psutil.wait_procs(processes, DEADLINE)[1] == []


def test_process_1_leaves_no_zombies(start: Start, environ: dict[str, str]) -> None:
    """What `docker exec` leaves behind becomes its child."""
    container = start(environ=environ)
    until_ready(container, environ["PORT"])
    container.run("sh", "-c", "sleep 0.3 >/dev/null 2>&1 </dev/null & echo $!")
    master = psutil.Process(container.pid)
    assert any(child.name() == "sleep" for child in master.children())
    eventually(lambda: all(child.name() != "sleep" for child in master.children()), "it is reaped")


def test_a_start_compiles_nothing(start: Start, environ: dict[str, str]) -> None:
    """With a read-only root it could not keep what it compiles."""
    container = start(
        environ=environ | {"PYTHONVERBOSE": "1"},
        command=("python3", "-c", "import wsgi_ws.server.entry.wsgi, wsgi_ws.server.worker"),
    )
    assert container.wait() == 0
    loaded = [line for line in container.log_text().splitlines() if "code object from" in line]
    assert any("/wsgi_ws/server/__pycache__/worker." in line for line in loaded)
    assert [line for line in loaded if line.endswith(".py")] == []


# --- what it is -----------------------------------------------------------------------------------


def test_the_start_is_no_shell_and_the_user_is_not_root(image: Image) -> None:
    assert image.config["Cmd"] == ["wsgi-ws", "serve"]
    assert not image.config["Entrypoint"]
    assert image.config["User"] == "1000:0"
    assert image.config["StopSignal"] == "SIGTERM"
    assert list(image.config["ExposedPorts"]) == ["8080/tcp"]


def test_the_labels_say_what_it_is_made_of(image: Image) -> None:
    labels = image.config["Labels"]
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    revision = done.stdout.strip() or "unknown"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == revision
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


@pytest.mark.parametrize("name", ["gcc", "cc", "pip", "pip3", "curl", "npm"])
def test_a_program_that_nobody_needs_is_not_in_it(image: Image, name: str) -> None:
    assert [*image.root.glob(f"**/bin/{name}")] == []


@pytest.mark.parametrize("name", ["pip", "setuptools", "hatchling"])
def test_a_package_that_only_installs_is_not_in_it(image: Image, name: str) -> None:
    assert [*image.root.glob(f"opt/wsgi-ws/lib/python3*/site-packages/{name}")] == []
    assert [*image.root.glob(f"usr/l*/**/*-packages/{name}")] == []


def test_it_is_small(image: Image) -> None:
    assert 20 << 20 < size(image.root) - size(image.base) < ABOVE_THE_BASE


def test_nothing_in_it_can_be_written_to_but_temporary_directories(image: Image) -> None:
    """By anybody but root: any user works, and group 0 is the usual one."""
    found = {path for path in image.root.rglob("*") if is_writable(path)}
    assert found <= {image.root / name for name in ("tmp", "var/tmp", "run/lock")}


def is_writable(path: Path) -> bool:
    """For user 1000, the group root, or all."""
    status = path.lstat()
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return False
    by_group = status.st_gid == 0 and status.st_mode & stat.S_IWGRP
    return bool(status.st_uid == 1000 or by_group or status.st_mode & stat.S_IWOTH)


# --- how it is built ------------------------------------------------------------------------------


class Checkout:
    """A copy of what the build script looks at, and tools that only say what they are told."""

    def __init__(self, root: Path) -> None:
        self.root, self._tools = root / "checkout", root / "tools"
        for name in ("wsgi_ws/__init__.py", "deploy/image/build.py"):
            (self.root / name).parent.mkdir(parents=True)
            shutil.copy(ROOT / name, self.root / name)
        self._tools.mkdir()
        (self._tools / "git").symlink_to(shutil.which("git") or absent("no git"))
        self.tool("docker", works=False)  # the client is there, its daemon is not
        self.tool("podman", works=True)

    def tool(self, name: str, *, works: bool, says: str = "$0 $@") -> None:
        line = f"echo {says}" if works else "exit 1"
        (self._tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (self._tools / name).chmod(0o755)

    def git(self, *arguments: str) -> None:
        person = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", "-C", str(self.root), *person, *arguments], check=True)

    def build(self, *arguments: str, **environ: str) -> str:
        """What the tool is told, or what is said instead."""
        return self.output(*arguments, **environ)[-1]

    def output(self, *arguments: str, **environ: str) -> list[str]:
        """All lines: the script's own, then the tool's."""
        return subprocess.run(
            [sys.executable, str(self.root / "deploy" / "image" / "build.py"), *arguments],
            env={"PATH": str(self._tools), **environ},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout.splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_tool_that_does_not_work_is_not_chosen(checkout: Checkout) -> None:
    assert "/podman build --tag wsgi-ws:" in checkout.build()
    checkout.tool("docker", works=True)
    assert "/docker build --tag wsgi-ws:" in checkout.build()
    assert "/podman build --tag wsgi-ws:" in checkout.build("--tool", "podman")


def test_without_a_tool_that_works_a_line_names_those_that_were_tried(checkout: Checkout) -> None:
    checkout.tool("podman", works=False)
    assert checkout.build().endswith("not installed: docker, podman, buildah")
    assert checkout.build("--tool", "buildah").endswith("not installed: buildah")


def test_a_copy_without_git_can_be_built(checkout: Checkout) -> None:
    line = checkout.build()
    assert f"VERSION={__version__}" in line
    assert "REVISION=unknown" in line
    assert "--timestamp" not in line


def test_a_build_of_changed_files_does_not_pass_for_one_of_the_commit(checkout: Checkout) -> None:
    checkout.git("init", "--quiet")
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "-m", "x")
    clean = checkout.build()
    assert "--timestamp" in clean
    assert "-dirty" not in clean
    (checkout.root / "new").touch()
    assert "-dirty" in checkout.build()


def test_a_git_hook_of_another_checkout_does_not_lend_its_commit(
    checkout: Checkout, tmp_path: Path
) -> None:
    """Git's hooks have GIT_DIR in their environment."""
    other = Checkout(tmp_path / "other")
    for each in (checkout, other):
        each.git("init", "--quiet")
        each.git("add", ".")
        each.git("commit", "--quiet", "-m", str(each.root))
    assert checkout.build() == checkout.build(GIT_DIR=str(other.root / ".git"))


def test_the_password_of_a_package_index_is_not_shown(checkout: Checkout) -> None:
    index = "PIP_INDEX_URL=https://user:s3cr3t@pypi.example.com/simple"
    shown, told = checkout.output("--build-arg", index)
    assert "s3cr3t" not in shown
    assert "PIP_INDEX_URL=https://***@pypi.example.com/simple" in shown
    assert index in told


def test_docker_gets_the_commits_time_too(checkout: Checkout) -> None:
    checkout.git("init", "--quiet")
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "-m", "x")
    checkout.tool("podman", works=True, says="$SOURCE_DATE_EPOCH")
    time = checkout.build()
    assert time.isdecimal()


def test_what_goes_into_the_image_is_pinned_and_named() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    base = re.search(r"^ARG BASE_IMAGE=(.+)$", dockerfile, re.M)
    assert base
    assert re.search(r"@sha256:[0-9a-f]{64}$", base[1])
    for line in dockerfile.replace("\\\n", "").splitlines():
        if line.startswith("RUN") and " -r " in line:
            assert "--require-hashes" in line
    assert re.search(r"^HEALTHCHECK --interval=10s --timeout=5s ", dockerfile, re.M)
    first, *others = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {line for line in others if not line.startswith("!")} == {"**/__pycache__"}


def test_other_options_go_to_the_tool(checkout: Checkout) -> None:
    line = checkout.build("--build-arg", "SOURCE=https://git.example.com")
    assert line.endswith(" --build-arg SOURCE=https://git.example.com .")


@pytest.mark.parametrize(
    ("linter", "pattern"), [("hadolint", "**/Dockerfile"), ("shellcheck", "deploy/**/*.sh")]
)
def test_the_linter_has_nothing_to_say(linter: str, pattern: str) -> None:
    program = shutil.which(linter, path=str(Path(sys.executable).parent)) or shutil.which(linter)
    if program is None:
        absent(f"no {linter} (requirements-dev.lock has it)")
    files = [path for path in ROOT.glob(pattern) if ".venv" not in str(path)]
    assert files
    done = subprocess.run([program, *files], check=False, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
