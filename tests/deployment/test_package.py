# SPDX-License-Identifier: Apache-2.0
"""The distribution: what is in wheel and sdist, and that the wheel alone is a server.

It is installed with the locked libraries into an environment that has nothing else, and run from an
empty directory, out of reach of the checkout.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from testbed.distribution import PACKED, build
from testbed.ports import free_port
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish
from wsgi_ws import __version__

pytestmark = pytest.mark.timeout(300)  # libraries may have to be downloaded

OTHER_SECRET = SECRET[::-1]


def run(*command: str | Path, directory: Path, **environ: str) -> str:
    """Run a command to its end and return what it prints."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environ,
        text=True,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(built[0]) as archive:
        yield archive


@pytest.fixture(scope="module")
def unpacked(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's content."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built[1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / PACKED


@pytest.fixture(scope="module")
def scripts(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the commands of an environment that has the wheel and its libraries."""
    environment = tmp_path_factory.mktemp("environment")
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--clear", "--python", sys.executable, environment, directory=environment)
    install = (uv, "pip", "install", "--python", environment)
    lock = ROOT / "requirements.lock"
    run(*install, "--require-hashes", "-r", lock, directory=environment)
    run(*install, "--no-deps", "--no-index", built[0], directory=environment)
    return environment / "bin"


# --- wheel and sdist -----------------------------------------------------------------------------


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    text = wheel.read(f"{PACKED}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_the_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    package = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "wsgi_ws").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert "wsgi_ws/demo/page/index.html" in package
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert {*wheel.namelist()} == package | {f"{PACKED}.dist-info/{name}" for name in about}


def test_the_wheel_needs_what_requirements_txt_says(wheel: zipfile.ZipFile) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    def parts(line: str) -> tuple[str, set[str]]:
        name, rest = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)(.*)", line.lower()).groups()  # type: ignore[union-attr]
        return name, {*rest.split(",")}

    wanted = [parts(line) for line in lines if not line.startswith("#")]
    needed = [parts(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    assert sorted(needed, key=str) == sorted(wanted, key=str)


def test_an_index_can_show_the_description(wheel: zipfile.ZipFile) -> None:
    about = metadata(wheel)
    text = about.get_payload()
    assert about["Description-Content-Type"] == "text/markdown"
    assert isinstance(text, str)
    assert text.startswith("# wsgi-ws")
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []  # there is nothing beside it
    assert about["License-Expression"] == "Apache-2.0"


def test_an_sdist_builds_the_same_bytes_elsewhere(
    built: tuple[Path, Path], unpacked: Path, tmp_path: Path
) -> None:
    """Another folder, other times, another umask, and no repository around it."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(unpacked, copy)
    for file in copy.rglob("*"):
        file.chmod(0o700 if file.is_dir() or os.access(file, os.X_OK) else 0o600)
        os.utime(file, (0, time.time()))
    before = os.umask(0o077)
    try:
        again = build(copy, tmp_path / "dist")
    finally:
        os.umask(before)
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in built]


def test_an_sdist_has_what_it_takes_to_test(unpacked: Path) -> None:
    for folder in ("tests", "testbed"):
        there = {p.relative_to(unpacked) for p in (unpacked / folder).rglob("*.py")}
        assert there == {p.relative_to(ROOT) for p in (ROOT / folder).rglob("*.py")}
    assert {"Makefile", "gunicorn.conf.py", "requirements-dev.lock", ".ci"} <= {
        path.name for path in unpacked.iterdir()
    }


# --- the installed server ------------------------------------------------------------------------

Start = Callable[..., Server]


@pytest.fixture
def start(scripts: Path, start_server: Start) -> Start:
    """Start the installed server with options of `Server`, from the test's empty directory."""

    def installed(**options: Any) -> Server:
        # What Server sets for a checkout must not be set.
        environ = {"PYTHONPATH": ""} | options.pop("environ", {})
        return start_server(program=(scripts / "wsgi-ws", "serve"), environ=environ, **options)

    return installed


def is_admitted(server: Server, secret: str) -> bool:
    headers = {"Cookie": cookie("c", secret)}
    try:
        with connect(server.url(), additional_headers=headers, open_timeout=DEADLINE):
            return True
    except (InvalidStatus, OSError):  # refused, or between two masters
        return False


def test_an_event_reaches_a_socket_and_sigterm_ends_it_with_0(
    start: Start, redis_server: RedisServer, prefix: str
) -> None:
    server, channel = start(workers=2), new_channel()
    with connect(server.url(), additional_headers={"Cookie": cookie(channel)}) as socket:
        identity, _ = publish(redis_server.client, prefix, channel)
        assert json.loads(socket.recv(DEADLINE))["id"] == identity
        assert server.terminate() == 0


@pytest.mark.parametrize("module", ["redis", "statsd", "gunicorn", "superset_config"])
def test_code_in_the_working_directory_is_not_run(
    start: Start, tmp_path: Path, module: str
) -> None:
    (tmp_path / f"{module}.py").write_text("open('it-ran', 'w')")
    server = start()
    assert is_admitted(server, SECRET)
    assert not (tmp_path / "it-ran").exists()


def test_sighup_reads_config_json_of_the_directory_anew(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"jwtSecret": SECRET}))
    server = start(environ={"JWT_SECRET": ""})
    assert is_admitted(server, SECRET)
    file.write_text(json.dumps({"jwtSecret": OTHER_SECRET}))
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: is_admitted(server, OTHER_SECRET), "the new secret admits")


def test_sigusr2_starts_a_second_master_that_takes_over(start: Start) -> None:
    server = start()
    server.process.send_signal(signal.SIGUSR2)
    second = psutil.Process(
        eventually(
            lambda: next((pid for pid in server.pids() if psutil.Process(pid).children()), None),
            "the second master has workers",
        )
    )
    try:
        assert server.terminate() == 0
        assert eventually(lambda: is_admitted(server, SECRET), "the second master serves")
    finally:
        second.send_signal(signal.SIGTERM)
        psutil.wait_procs([second], DEADLINE)


def test_a_wrong_configuration_ends_it_with_1_and_names_the_value(start: Start) -> None:
    server = start(environ={"JWT_SECRET": "short"}, wait=False)
    assert server.process.wait(DEADLINE) == 1
    problem = "wsgi_ws does not start: jwtSecret has 5 bytes (from environment variable JWT_SECRET)"
    assert server.log_text().startswith(problem)


def test_a_configuration_file_that_is_not_there_ends_it_with_1(
    start: Start, tmp_path: Path
) -> None:
    server = start(environ={"WSGI_WS_CONFIG": "missing.json"}, wait=False)
    assert server.process.wait(DEADLINE) == 1
    assert "missing.json does not exist" in server.log_text()


def test_the_other_commands_run_beside_it(
    start: Start, scripts: Path, redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    server = start()
    publish(redis_server.client, prefix, new_channel())  # or check misses the stream
    own = {
        "PYTHONPATH": "",
        "PORT": str(server.port),
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM_PREFIX": prefix,
        "JWT_SECRET": SECRET,
        "STATSD_MOCK": "true",
    }

    def wsgi_ws(*arguments: str) -> str:
        return run(scripts / "wsgi-ws", *arguments, directory=tmp_path, **own)

    assert wsgi_ws("version").startswith(f"wsgi_ws {__version__}\n")
    assert wsgi_ws("health") == wsgi_ws("health", "--ready") == "OK\n"
    assert f"this server answers on port {server.port} and is ready" in wsgi_ws("check")
    done = subprocess.run(
        [scripts / "wsgi-ws", "health"],
        env=os.environ | own | {"PORT": str(free_port())},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1


def test_the_advice_in_the_log_can_be_typed(start: Start, scripts: Path) -> None:
    server = start(redis_port=free_port(), environ={"PATH": os.defpath}, wait=False)
    advice = f"{scripts / 'wsgi-ws'} check names the setting"
    eventually(lambda: advice in server.log_text(), "the advice")
