# SPDX-License-Identifier: Apache-2.0
"""SIGUSR2: a new master beside the old one, from what is installed and configured now."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from testbed.servers import DEADLINE, RedisServer, Server, eventually
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]


@contextlib.contextmanager
def successor_of(server: Server) -> Iterator[None]:
    """A second master, which follows the stream."""
    workers = set(server.pids())
    server.process.send_signal(signal.SIGUSR2)
    (pid,) = eventually(lambda: set(server.pids()) - workers, "a second master starts")
    master = psutil.Process(pid)
    try:
        eventually(lambda: server.log_text().count("following stream") == 2, "it serves")
        yield
    finally:
        master.terminate()
        master.wait(DEADLINE)


def test_a_tab_goes_over_to_a_new_master_with_the_file_as_it_is_now_and_misses_nothing(
    start_server: StartServer, redis_server: RedisServer, prefix: str
) -> None:
    server = start_server(config={"jwtCookieName": "old"})
    file = server.log_path.with_name(f"config-{server.port}.json")
    channel = new_channel()
    token = cookie(channel).partition("=")[2]
    with connect(server.url(), additional_headers={"Cookie": f"old={token}"}) as tab:
        file.write_text(json.dumps({"jwtCookieName": "new"}))
        with successor_of(server):
            publish(redis_server.client, prefix, channel, job_id="before")
            last_id = json.loads(tab.recv(DEADLINE))["id"]
            assert server.terminate() == 0
            with pytest.raises(ConnectionClosed) as closed:
                tab.recv(DEADLINE)
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 1001
            publish(redis_server.client, prefix, channel, job_id="between")
            headers = {"Cookie": f"new={token}"}
            with connect(server.url(f"/?last_id={last_id}"), additional_headers=headers) as again:
                assert json.loads(again.recv(DEADLINE))["job_id"] == "between"
