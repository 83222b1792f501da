# SPDX-License-Identifier: Apache-2.0
"""The units of deploy/systemd: what systemd says of them, and their command as it would run it.

PID 1 is no systemd where tests run, so its part is played here: a socket for notifications, one
that listens already, and the unit's restrictions by the kernel's own means (testbed/hardened.py).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from testbed import hardened, realtime
from testbed.ports import free_port
from testbed.programs import required
from testbed.servers import DEADLINE, ROOT, SECRET, RedisServer, eventually
from testbed.superset import cookie, new_channel, publish
from wsgi_ws.server import open_files
from wsgi_ws.server.master import Master
from wsgi_ws.server.worker import time_to_stop

UNITS = ROOT / "deploy/systemd"
SERVICE, TEMPLATE, SOCKET = (
    UNITS / name for name in ("wsgi-ws.service", "wsgi-ws@.service", "wsgi-ws.socket")
)
INSTALLED = "/opt/wsgi-ws/bin/wsgi-ws"
ADDRESS = "127.0.0.1:8080"
# systemd-analyze's measure times ten: 15 is "OK". More than the network alone makes 14.
EXPOSURE = 15
FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)


class Service:
    """ExecStart of the unit, or what comes before it, in a process of its own."""

    def __init__(
        self, directory: Path, port: int, before: Sequence[str] = (), **options: Any
    ) -> None:
        """
        :param before: a program and its arguments that runs the command.
        :param options: of `subprocess.Popen`; `environ` is added to a service's own.
        """
        environ = options.pop("environ", {})
        self.port = port
        self._log = directory / f"service-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "wsgi_ws", *exec_start(port)]
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "JWT_SECRET": SECRET}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, *command],
                **{
                    "cwd": directory,
                    "env": own | environ,
                    "stdout": log,
                    "stderr": subprocess.STDOUT,
                }
                | options,
            )

    def log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log_text()
        url = f"http://127.0.0.1:{self.port}/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(DEADLINE)


StartService = Callable[..., Service]


def exec_start(port: int) -> list[str]:
    """The arguments of ExecStart, with this port."""
    program, *arguments = shlex.split(hardened.unit_values(SERVICE)["ExecStart"][0])
    assert program == INSTALLED
    assert ADDRESS in arguments
    return [each.replace(ADDRESS, f"127.0.0.1:{port}") for each in arguments]


def seconds(name: str) -> int:
    return int(hardened.unit_values(SERVICE)[name][0])


@pytest.fixture
def environ(redis_server: RedisServer, prefix: str) -> dict[str, str]:
    """What the environment file has."""
    return {
        "REDIS_HOST": "localhost",
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM_PREFIX": prefix,
    }


@pytest.fixture
def start_service(tmp_path: Path, environ: Mapping[str, str]) -> Iterator[StartService]:
    started: list[Service] = []

    def start(port: int, before: Sequence[str] = (), **options: Any) -> Service:
        added = {**environ, **options.pop("environ", {})}
        started.append(Service(tmp_path, port, before, environ=added, **options))
        return started[-1]

    yield start
    for service in started:
        service.stop()


# --- the files ------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with a program that there is."""
    directory = tmp_path / "units"
    directory.mkdir()
    for unit in (SERVICE, TEMPLATE, SOCKET):
        text = unit.read_text(encoding="utf-8").replace(INSTALLED, sys.executable)
        (directory / unit.name).write_text(text)
    return directory


def output_of(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", ["wsgi-ws.service", "wsgi-ws@8080.service", "wsgi-ws.socket"])
def test_systemd_understands_every_line(installed: Path, unit: str) -> None:
    program = required("systemd-analyze", "systemd")
    done = output_of([program, "verify", "--man=no", f"./{unit}"], installed)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [SERVICE.name, TEMPLATE.name])
def test_systemd_finds_little_exposed(installed: Path, unit: str) -> None:
    program = required("systemd-analyze", "systemd")
    exposure = [f"--threshold={EXPOSURE}", f"./{unit}"]
    done = output_of([program, "security", "--offline=yes", *exposure], installed)
    assert done.returncode == 0, done.stdout


def test_the_template_is_the_service_with_the_instance_as_its_port() -> None:
    lines = zip(SERVICE.read_text().splitlines(), TEMPLATE.read_text().splitlines(), strict=True)
    differing = [(one, other) for one, other in lines if one != other]
    (_, description), (one, other) = differing
    assert description.startswith("Description=")
    assert one.replace("8080", "%i") == other


def test_systemd_waits_longer_for_a_stop_than_gunicorn_does() -> None:
    master = Master()
    master.configure({"JWT_SECRET": SECRET})
    assert seconds("TimeoutStopSec") >= master.graceful_timeout + 2
    # A reload that is under way comes first.
    assert seconds("TimeoutStopSec") >= 2 * time_to_stop(master.loaded.settings) + 2


def test_the_limit_of_files_fits_what_the_documentation_promises() -> None:
    limit = seconds("LimitNOFILE")
    text = (ROOT / "docs/deployment/systemd.md").read_text(encoding="utf-8")
    assert f"{limit - open_files.OTHER:,} sockets" in text
    assert open_files.needed(limit - open_files.OTHER) <= limit


def test_the_socket_is_where_the_service_would_listen() -> None:
    values = hardened.unit_values(SOCKET)
    assert values["ListenStream"] == [ADDRESS]
    assert values["Backlog"] == ["4096"]  # as gunicorn's own here


def test_it_is_always_started_again_as_a_user_without_rights() -> None:
    values = hardened.unit_values(SERVICE)
    assert values["Restart"] == ["always"]
    assert values["StartLimitIntervalSec"] == ["0"]
    kind, name, number, *_ = shlex.split((UNITS / "wsgi-ws.sysusers").read_text().splitlines()[-1])
    assert (kind, [name], number) == ("u", values["User"], "-")


# --- the command ----------------------------------------------------------------------------------


class Notifications:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))

    def next(self, timeout: float = DEADLINE) -> tuple[int, list[str]] | None:
        """Who has sent the next one, and its lines; None: nobody in this time."""
        self._socket.settimeout(timeout)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except TimeoutError:
            return None
        ((_, _, credentials),) = ancillary
        pid, _, _ = struct.unpack("3i", credentials)
        return pid, data.decode().splitlines()

    def close(self) -> None:
        self._socket.close()


def test_the_main_process_tells_when_it_listens_and_nothing_else(
    start_service: StartService, tmp_path: Path
) -> None:
    """So Type=notify serves, but neither WatchdogSec= nor Type=notify-reload."""
    notifications = Notifications(tmp_path / "notify")
    port = free_port()
    with contextlib.closing(notifications):
        service = start_service(port, environ={"NOTIFY_SOCKET": str(notifications.path)})
        told = notifications.next()
        assert told
        pid, lines = told
        assert pid == service.process.pid  # NotifyAccess=main
        assert "READY=1" in lines
        socket.create_connection(("127.0.0.1", port)).close()
        eventually(service.is_ready, "it is ready")
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: service.log_text().count("following stream") == 2, "a new worker")
        assert service.stop() == 0
        assert notifications.next(timeout=0.1) is None
    values = hardened.unit_values(SERVICE)
    assert values["Type"] == ["notify"]
    assert "WatchdogSec" not in values


def test_exec_reload_replaces_the_workers_and_not_the_main_process(
    start_service: StartService,
) -> None:
    service = start_service(free_port())
    eventually(service.is_ready, "it is ready")
    (before,) = psutil.Process(service.process.pid).children()
    (line,) = hardened.unit_values(SERVICE)["ExecReload"]
    reload = [each.replace("$MAINPID", str(service.process.pid)) for each in shlex.split(line)]
    subprocess.run(reload, check=True)
    eventually(lambda: not before.is_running(), "the worker is replaced")
    eventually(service.is_ready, "it is ready again")


def test_a_wrong_configuration_ends_it_at_once(start_service: StartService) -> None:
    """systemd then tries again each second, and the journal has the reason."""
    service = start_service(free_port(), environ={"JWT_SECRET": "short"})
    assert service.process.wait(DEADLINE) == 1
    assert "jwtSecret" in service.log_text()


# --- a socket that systemd holds ------------------------------------------------------------------


def test_it_takes_a_socket_that_systemd_hands_over(start_service: StartService) -> None:
    program = required("systemd-socket-activate", "systemd")
    port = free_port()
    environ = ("JWT_SECRET", "PYTHONPATH", "REDIS_HOST", "REDIS_PORT", "REDIS_STREAM_PREFIX")
    passed = [option for name in environ for option in ("-E", name)]
    service = start_service(port, [program, "-l", f"127.0.0.1:{port}", *passed])
    eventually(lambda: "Listening on" in service.log_text(), "systemd-socket-activate listens")
    with connect(f"ws://127.0.0.1:{port}/", additional_headers=headers(), open_timeout=DEADLINE):
        assert "can't be listened at" not in service.log_text()


def test_nobody_is_refused_while_it_restarts(start_service: StartService) -> None:
    """A browser that comes meanwhile waits for the next one."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        first = start_service(port, handing_over(listening), pass_fds=[listening.fileno()])
        eventually(first.is_ready, "it is ready")
        assert first.stop() == 0
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as waiting:
            start_service(port, handing_over(listening), pass_fds=[listening.fileno()])
            with connect(
                f"ws://127.0.0.1:{port}/",
                sock=waiting,
                additional_headers=headers(),
                open_timeout=DEADLINE,
            ) as client:
                assert client.ping().wait(DEADLINE)


def headers() -> dict[str, str]:
    return {"Cookie": cookie(new_channel())}


def handing_over(listening: socket.socket) -> list[str]:
    """A program before another one, which gets this socket as systemd would give it."""
    script = (
        f"import os, sys; os.dup2({listening.fileno()}, {FIRST_DESCRIPTOR}); "
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}; "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", script]


# --- the restrictions -----------------------------------------------------------------------------


@pytest.fixture
def hardened_service(
    start_service: StartService, tmp_path: Path
) -> Callable[[int, Mapping[str, str]], Service]:
    """Start it with all that the unit forbids; skipped where a test may not do so."""
    required("systemd-analyze", "systemd")
    before = [sys.executable, "-m", "testbed.hardened", str(SERVICE), str(tmp_path), "--"]

    def start(port: int, environ: Mapping[str, str]) -> Service:
        service = start_service(port, before, environ=environ, cwd=ROOT)
        eventually(
            lambda: service.process.poll() is not None or "Listening at" in service.log_text(),
            "it listens",
        )
        if service.process.poll() == hardened.NOT_PERMITTED:
            pytest.skip("restrictions need root, CAP_SYS_ADMIN and Linux 6.3")
        return service

    return start


def test_everything_works_under_the_units_restrictions(
    hardened_service: Callable[[int, Mapping[str, str]], Service],
    redis_server: RedisServer,
    prefix: str,
) -> None:
    port, metrics_port = free_port(), free_port()
    options = {"METRICS_PORT": str(metrics_port), "GUNICORN_CMD_ARGS": "--workers 2"}
    service = hardened_service(port, options)
    eventually(service.is_ready, "it is ready")
    eventually(lambda: service.log_text().count("following stream") == 2, "both workers follow")
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status
    url = f"ws://127.0.0.1:{port}/"

    channel = new_channel()
    with connect(url, additional_headers={"Cookie": cookie(channel)}) as client:
        eventually(lambda: f"of channel {channel[:8]}" in service.log_text(), "it is admitted")
        last_id, _ = publish(redis_server.client, prefix, channel, job_id="live")
        assert '"job_id": "live"' in str(client.recv(timeout=DEADLINE))
    publish(redis_server.client, prefix, channel, job_id="missed")
    query = f"?last_id={last_id}"
    with connect(url + query, additional_headers={"Cookie": cookie(channel)}) as client:
        assert '"job_id": "missed"' in str(client.recv(timeout=DEADLINE))
    with connect(f"{url}?tab_id=a", additional_headers={"Cookie": realtime.cookie("user:1")}):
        pass

    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.log_text().count("following stream") == 4, "two new workers follow")
    metrics = f"http://127.0.0.1:{metrics_port}/metrics"

    def workers() -> bool:
        with urllib.request.urlopen(metrics, timeout=DEADLINE) as answer:
            return b"wsgi_ws_workers 2.0" in answer.read()

    eventually(workers, "the workers share their metrics")
    assert service.stop() == 0
    assert not [line for line in service.log_text().splitlines() if " ERROR " in line]
    assert "Operation not permitted" not in service.log_text()
    assert "Read-only file system" not in service.log_text()
