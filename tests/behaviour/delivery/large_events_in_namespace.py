# SPDX-License-Identifier: Apache-2.0
"""What `test_large_events` runs in a network namespace: prints the jobs that a tab gets."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from testbed.servers import DEADLINE, RedisServer, Server
from testbed.superset import cookie, new_channel, publish

LIMIT = 100_000  # bytes, for maxSocketBufferBytes
LARGE = ["x" * 12 * LIMIT]
PREFIX = "async-events-"


@contextlib.contextmanager
def tab(server: Server, channel: str, last_id: str | None = None) -> Iterator[ClientConnection]:
    with connect(
        server.url(f"/?last_id={last_id}" if last_id else "/"),
        additional_headers={"Cookie": cookie(channel)},
        max_size=None,
        compression=None,
    ) as ws:
        yield ws


def show(ws: ClientConnection) -> str:
    """Print the next event's job; returns its ID."""
    event = json.loads(ws.recv(timeout=DEADLINE))
    print(event["job_id"], flush=True)
    return str(event["id"])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        redis_server = RedisServer(Path(directory))
        server = Server(
            Path(directory), redis_server.port, environ={"MAX_SOCKET_BUFFER_BYTES": str(LIMIT)}
        )
        with contextlib.closing(redis_server), contextlib.ExitStack() as stack:
            stack.callback(server.stop)
            channel, client = new_channel(), redis_server.client
            with tab(server, channel) as ws:
                publish(client, PREFIX, channel, job_id="large", errors=LARGE)
                publish(client, PREFIX, channel, job_id="small")
                show(ws)
                last_id = show(ws)
            publish(client, PREFIX, channel, job_id="missed", errors=LARGE)
            with tab(server, channel, last_id) as ws:
                show(ws)
                publish(client, PREFIX, channel, job_id="live")
                show(ws)


if __name__ == "__main__":
    main()
