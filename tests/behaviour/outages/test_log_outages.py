# SPDX-License-Identifier: Apache-2.0
"""Log lines that can't be written: whatever the reason, the service goes on and says so once."""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.http_client import ask, metrics, upgrade
from testbed.ports import free_port
from testbed.servers import DEADLINE, Server, eventually

StartServer = Callable[..., Server]
OBSERVED = Path(__file__).parents[1] / "operating" / "observed_conf.py"
LONG_PATH = "/" + "x" * 199  # as much of a path as a line shows
FAILS, WORKS = "no log lines can be written to", "takes log lines again"


def refuse(server: Server, times: int = 1) -> None:
    """Handshakes that are refused: two lines for the first, one for each other."""
    for _ in range(times):
        assert ask(server, path=LONG_PATH, headers=upgrade(Cookie=None))[0] == 401


def metrics_somewhere() -> dict[str, str]:
    return {"METRICS_PORT": str(free_port())}


def dropped(server: Server) -> float:
    """The lines that the workers have dropped, by their metric."""
    pattern = re.compile(r"^wsgi_ws_log_lines_dropped_total (\S+)$", re.MULTILINE)
    (line,) = pattern.findall(metrics(server))
    return float(line)


def in_the_way(file: Path) -> Path:
    """Move a log away and put a directory in its place, which root can't write to either."""
    file.rename(file.with_suffix(".1"))
    file.mkdir()
    return file


def lines_of(server: Server, pid: int, text: str) -> list[str]:
    return [x for x in server.log_text().splitlines() if f"[{pid}]" in x and text in x]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ws.log"


@pytest.fixture
def with_file(start_server: StartServer, file: Path) -> Server:
    """A server that logs to a file, too."""
    environ = {"LOG_TO_FILE": "true", "LOG_FILENAME": str(file)}
    return start_server(environ=environ | metrics_somewhere())


# --- a file that can't be opened again ------------------------------------------------------------


def test_a_file_out_of_reach_ends_nothing(with_file: Server, file: Path) -> None:
    (worker,) = with_file.pids()
    in_the_way(file)
    refuse(with_file, 5)
    eventually(lambda: with_file.log_text().count("401 no_cookie") == 5, "the console has all")
    assert ask(with_file, path="/health")[0] == 200
    assert with_file.pids() == [worker]


def test_a_file_out_of_reach_is_told_once_with_its_name_and_reason(
    with_file: Server, file: Path
) -> None:
    (worker,) = with_file.pids()
    in_the_way(file)
    refuse(with_file, 5)
    eventually(lambda: with_file.log_text().count("401 no_cookie") == 5, "the console has all")
    (line,) = lines_of(with_file, worker, FAILS)
    assert f"logFilename {file} (Is a directory)" in line
    assert "Traceback" not in with_file.log_text()


def test_its_return_is_told_with_what_was_dropped(with_file: Server, file: Path) -> None:
    (worker,) = with_file.pids()
    in_the_way(file)
    refuse(with_file, 5)
    eventually(lambda: with_file.log_text().count("401 no_cookie") == 5, "the console has all")
    file.rmdir()
    refuse(with_file)
    (line,) = eventually(lambda: lines_of(with_file, worker, WORKS), "it is told")
    # Five access lines, the reason of the first, and what was told about the file itself.
    assert line.endswith("dropped: 7 lines")
    assert line in file.read_text()
    eventually(lambda: dropped(with_file) == 7, "they are counted")


def test_a_master_whose_log_is_out_of_reach_replaces_its_workers(
    with_file: Server, file: Path
) -> None:
    (worker,) = with_file.pids()
    in_the_way(file)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: with_file.pids() not in ([], [worker]), "there is another worker")
    eventually(with_file.is_ready, "it answers")


def test_sigusr1_with_a_log_out_of_reach_ends_nothing(with_file: Server, file: Path) -> None:
    (worker,) = with_file.pids()
    in_the_way(file)
    os.kill(with_file.process.pid, signal.SIGUSR1)
    eventually(lambda: FAILS in with_file.log_text(), "the master has noticed")
    refuse(with_file)
    assert with_file.pids() == [worker]
    assert with_file.process.poll() is None


# --- a full disk ----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_once_however_much_is_logged(start_server: StartServer) -> None:
    server = start_server(environ={"LOG_TO_FILE": "true", "LOG_FILENAME": "/dev/full"})
    refuse(server, 20)
    eventually(lambda: server.log_text().count("401 no_cookie") == 20, "the console has all")
    assert server.log_text().count("(No space left on device)") == 1
    assert "Traceback" not in server.log_text()


# --- output that nobody reads ---------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def fill(pipe_end: int) -> None:
    """Fill a pipe to the brim, whoever else writes to it."""
    own = os.open(f"/proc/self/fd/{pipe_end}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (4096, 1):
            while True:
                try:
                    os.write(own, b"." * size)
                except BlockingIOError:
                    break
    finally:
        os.close(own)


def read(pipe_end: int) -> str:
    """What is in the pipe."""
    found = b""
    while select.select([pipe_end], [], [], 0)[0]:
        found += os.read(pipe_end, 65536)
    return found.decode()


def test_output_that_nobody_reads_stops_nothing(
    start_server: StartServer, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    server = start_server(
        console=writer,
        wait=False,
        arguments=["-c", str(OBSERVED)],
        environ=metrics_somewhere(),
    )
    eventually(server.is_ready, "the server answers")
    (worker,) = server.pids()
    fill(writer)
    refuse(server, 1000)  # more than a worker keeps for a slow reader
    eventually(lambda: dropped(server) > 0, "lines are dropped and counted")
    assert server.pids() == [worker]
    seen: list[str] = []

    def told() -> bool:
        seen.append(read(reader))
        return WORKS in "".join(seen)

    eventually(told, "it is told when somebody reads again", DEADLINE)
    assert re.search(r"standard error takes log lines again; dropped: \d+ lines\n", "".join(seen))


def test_a_reload_and_a_stop_wait_for_no_reader(
    start_server: StartServer, pipe: tuple[int, int]
) -> None:
    _, writer = pipe
    server = start_server(console=writer, wait=False)
    eventually(server.is_ready, "the server answers")
    (worker,) = server.pids()
    fill(writer)
    os.kill(server.process.pid, signal.SIGHUP)
    eventually(lambda: len(server.pids()) == 1 and server.pids() != [worker], "it is replaced")
    eventually(server.is_ready, "the server answers")
    assert server.terminate() == 0


def test_a_slow_reader_gets_every_line(start_server: StartServer, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    server = start_server(console=writer, wait=False, environ=metrics_somewhere())
    eventually(server.is_ready, "the server answers")
    fill(writer)
    refuse(server, 100)
    seen: list[str] = []

    def all_there() -> bool:
        seen.append(read(reader))
        return "".join(seen).count("401 no_cookie") == 100

    eventually(all_there, "every line")
    assert dropped(server) == 0


# --- a wrong name ---------------------------------------------------------------------------------


def test_a_file_that_can_not_be_written_to_stops_the_start_in_one_line(
    start_server: StartServer, tmp_path: Path
) -> None:
    name = tmp_path / "missing" / "ws.log"
    config = {"logToFile": True, "logFilename": str(name)}
    server = start_server(config=config, wait=False)
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.log_text().splitlines()
    assert line.startswith(f"wsgi_ws does not start: logFilename {name} (from {tmp_path}/config")
    assert f"to in {tmp_path} (No such file or directory): name a file in a directory that" in line


def test_at_a_reload_the_file_before_stays(
    start_server: StartServer, tmp_path: Path, file: Path
) -> None:
    server = start_server(config={"logToFile": True, "logFilename": str(file)})
    (worker,) = server.pids()
    path = tmp_path / f"config-{server.port}.json"
    path.write_text(path.read_text().replace(str(file), str(tmp_path / "missing" / "ws.log")))
    os.kill(server.process.pid, signal.SIGHUP)
    eventually(lambda: server.pids() not in ([], [worker], [worker, *server.pids()]), "reloaded")
    refuse(server)
    eventually(lambda: "401 no_cookie" in file.read_text(), "the file before is used")
    assert "not all of the configuration is changed: logFilename" in file.read_text()
