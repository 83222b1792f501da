# SPDX-License-Identifier: Apache-2.0
"""A producer, and browser tabs that connect, come back, and tell what they have got."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, Server
from testbed.superset import cookie, event, publish
from wsgi_ws.superset.producer import STREAM_LIMIT_FIREHOSE

END = "the end"


class Superset:
    """A producer, whole or in halves."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        self.full = prefix + "full"
        self._prefix = prefix

    def says(self, channel: str, *jobs: str) -> list[str]:
        """Publish events; returns their IDs in the global stream."""
        return [publish(self.client, self._prefix, channel, job_id=job)[0] for job in jobs]

    def says_raw(self, channel: str, data: bytes) -> None:
        """Publish an event as it stands."""
        self.client.xadd(self.stream(channel), {"data": data})
        self.client.xadd(self.full, {"data": data})

    def says_half(self, channel: str, job: str) -> str:
        """Only the first XADD; returns the event as it was written."""
        data = json.dumps(event(channel, job_id=job))
        self.client.xadd(self.stream(channel), {"data": data})
        return data

    def says_the_rest(self, data: str) -> str:
        """The second XADD."""
        entry_id: bytes = self.client.xadd(self.full, {"data": data}, maxlen=STREAM_LIMIT_FIREHOSE)
        return entry_id.decode()

    def stream(self, channel: str) -> str:
        """The name of the channel's stream."""
        return self._prefix + channel


@contextlib.contextmanager
def tab(server: Server, channel: str, last_id: str | None = None) -> Iterator[ClientConnection]:
    """A browser tab, new or come back."""
    path = f"/?last_id={last_id}" if last_id else "/"
    headers = {"Cookie": cookie(channel)}
    with connect(
        server.url(path), additional_headers=headers, max_queue=None, compression=None
    ) as ws:
        yield ws


def message(ws: ClientConnection) -> dict[str, Any]:
    """The next event, as a browser reads it: numbers are floats there, of any number of digits."""
    return dict(json.loads(ws.recv(timeout=DEADLINE), parse_int=float))


def jobs(ws: ClientConnection, count: int) -> list[str]:
    """The jobs of the next events."""
    return [message(ws)["job_id"] for _ in range(count)]


def jobs_until_end(ws: ClientConnection) -> list[str]:
    """The jobs of all events up to the one called END."""
    return list(iter(lambda: message(ws)["job_id"], END))


def close_code(ws: ClientConnection) -> int:
    """With which code the server ends it, whatever comes before."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            ws.recv(timeout=DEADLINE)
    assert ws.close_code is not None
    return ws.close_code
