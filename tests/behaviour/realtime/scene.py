# SPDX-License-Identifier: Apache-2.0
"""Superset 7, a server and its browsers, ready for something to go wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from testbed.http_client import ask
from testbed.realtime import Browsers, Superset7, Tab, cookie, traffic, url_with
from testbed.servers import DEADLINE, Server, eventually
from wsgi_ws.superset.names import BROADCAST

GUEST = "guest:" + 32 * "5e"
PRINCIPALS = ("user:1", "user:42", GUEST)
# Of each principal: two browsers count alike, and one tab has no name.
TAB_IDS = ("1", "2", "2", None)

RESYNC = 1012  # the code of a close that says: messages may have been missed
END = "canvas"  # the entity whose changes only `received` publishes
_numbers = itertools.count()


class Scene:
    """Superset 7 at one end, tabs of several principals at the other one."""

    def __init__(self, superset: Superset7, server: Server, browsers: Browsers) -> None:
        self.superset = superset
        self.server = server
        self.browsers = browsers
        self.tabs: list[Tab] = []

    def open_tabs(self, *, url: str = "", **how: Any) -> None:
        """Open some; `url` is the server's unless it is another one's."""
        url = url or self.server.url()
        who = [(principal, tab_id) for principal in PRINCIPALS for tab_id in TAB_IDS]
        self.tabs = [self.browsers.open(url, *one, wait=False, **how) for one in who]
        eventually(self.all_open, "all tabs are open")

    def all_open(self) -> bool:
        return all(tab.page.is_open for tab in self.tabs)

    def all_closed_once(self) -> bool:
        return all(len(tab.closes) == 1 for tab in self.tabs)

    def codes(self) -> set[int]:
        """With which all sockets have ended."""
        return {close.code for tab in self.tabs for close in tab.closes}

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Tasks begin and end, before and after what happens meanwhile; at the end all is well."""
        with traffic(self.superset, self.tabs):
            time.sleep(0.5)
            yield
            time.sleep(0.5)
        self.browsers.check()


StartScene = Callable[..., Scene]


# --- one socket ----------------------------------------------------------------------------------


@contextlib.contextmanager
def socket(
    server: Server, principal: str, tab_id: str | None = None, **claims: Any
) -> Iterator[ClientConnection]:
    """A socket, to look at what comes.

    :param claims: of its token.
    """
    with connect(
        url_with(server.url(), tab_id),
        additional_headers={"Cookie": cookie(principal, **claims)},
        compression=None,
        max_queue=None,
        max_size=None,
    ) as client:
        yield client


def received(superset: Superset7, *clients: ClientConnection) -> list[list[str]]:
    """What each socket has got before a message that is published now for everybody."""
    end = {"entity_type": END, "id": next(_numbers)}
    superset.publish("entity.changed", BROADCAST, end)
    return [list(_texts_before(client, end)) for client in clients]


def _texts_before(client: ClientConnection, end: Any) -> Iterator[str]:
    while True:
        text = str(client.recv(timeout=DEADLINE))
        payload = json.loads(text)["payload"]
        if payload == end:
            return
        if not (isinstance(payload, dict) and payload.get("entity_type") == END):
            yield text  # the ends of others may be repeated to a socket that is new


@contextlib.contextmanager
def witnesses(server: Server) -> Iterator[list[ClientConnection]]:
    """Sockets of somebody, at least one at each worker: what they have got all workers know."""
    with contextlib.ExitStack() as stack:
        found: list[ClientConnection] = []
        while not all(_has_socket(pid, server.port) for pid in server.pids()):
            found.append(stack.enter_context(socket(server, "user:9")))
        yield found


def _has_socket(pid: int, port: int) -> bool:
    connections = psutil.Process(pid).net_connections("tcp")
    return any(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections)


def close_of(client: ClientConnection, deadline: float = DEADLINE) -> tuple[int, str]:
    """Code and reason with which the server ends a socket, whatever comes before."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(timeout=deadline)
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


def handshake_status(server: Server, principal: str = "user:1") -> int:
    """The answer to a handshake."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Cookie": cookie(principal),
    }
    return ask(server, path="/?tab_id=1", headers=headers)[0]


def await_log(server: Server, text: str, count: int = 1) -> None:
    eventually(lambda: server.log_text().count(text) >= count, f"{count} x {text!r} in the log")
