# SPDX-License-Identifier: Apache-2.0
"""Behind a real nginx that ends TLS: path `/ws`, cookie, forwarded headers and close codes pass."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from testbed.nginx import Nginx
from testbed.servers import DEADLINE, RedisServer, Server
from testbed.superset import cookie, new_channel, publish

StartServer = Callable[..., Server]

LOCATION = """
    proxy_pass http://127.0.0.1:{server_port};
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host {host};
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
"""

StartProxy = Callable[..., "Proxy"]


class Proxy(Nginx):
    """nginx that ends TLS in front of a server."""

    def __init__(self, directory: Path, server: Server, host: str) -> None:
        super().__init__(directory, LOCATION.format(server_port=server.port, host=host), tls=True)
        self.context = ssl.create_default_context(cafile=str(self.ca_file))

    def tab(self, channel: str, query: str = "", **headers: str) -> ClientConnection:
        """A browser tab on the page's own host."""
        own = {"Cookie": cookie(channel), "Origin": f"https://localhost:{self.port}"} | headers
        return connect(self.url("wss") + query, ssl=self.context, additional_headers=own)


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    started: list[Proxy] = []

    def start(server: Server, host: str = "$host") -> Proxy:
        started.append(Proxy(tmp_path, server, host))
        return started[-1]

    yield start
    for proxy in started:
        proxy.stop()


def test_events_and_catch_ups_pass_through_a_proxy_in_front_of_two_workers(
    start_server: StartServer, start_proxy: StartProxy, redis_server: RedisServer, prefix: str
) -> None:
    proxy = start_proxy(start_server(workers=2))
    channel = new_channel()
    with proxy.tab(channel) as client:
        last_id, _ = publish(redis_server.client, prefix, channel, job_id="live")
        assert '"job_id": "live"' in str(client.recv(timeout=DEADLINE))
    publish(redis_server.client, prefix, channel, job_id="missed")
    with proxy.tab(channel, f"?last_id={last_id}") as client:
        assert '"job_id": "missed"' in str(client.recv(timeout=DEADLINE))


def test_the_close_code_of_a_stop_passes_through(
    start_server: StartServer, start_proxy: StartProxy
) -> None:
    server = start_server()
    with start_proxy(server).tab("c") as client:
        server.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Cookie": "async-token=x"}, 401), ({"Origin": "https://evil.example.org"}, 403)],
)
def test_refusals_pass_through(
    start_server: StartServer, start_proxy: StartProxy, headers: dict[str, str], status: int
) -> None:
    proxy = start_proxy(start_server())
    with pytest.raises(InvalidStatus) as refused:
        proxy.tab("c", **headers)
    assert refused.value.response.status_code == status


@pytest.mark.parametrize(("trusted", "admitted"), [("127.0.0.1", True), ("", False)])
def test_the_forwarded_host_of_a_proxy_that_changes_the_host_counts_if_trusted(
    start_server: StartServer, start_proxy: StartProxy, trusted: str, admitted: bool
) -> None:
    proxy = start_proxy(start_server(environ={"TRUSTED_PROXIES": trusted}), host="backend.internal")
    if admitted:
        with proxy.tab("c") as client:
            assert client.ping().wait(DEADLINE)
    else:
        with pytest.raises(InvalidStatus):
            proxy.tab("c")
