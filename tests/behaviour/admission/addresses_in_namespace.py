# SPDX-License-Identifier: Apache-2.0
"""What `test_addresses` runs in a network namespace: prints the addresses that answer, before and
after a SIGHUP with another port."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import tempfile
from pathlib import Path

from testbed.ports import free_port
from testbed.servers import RedisServer, Server, eventually


def show(server: Server) -> None:
    """Print the addresses at which it can be reached."""
    for host in ("127.0.0.1", "::1"):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, server.port), timeout=5) as client,
        ):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            if client.recv(1000).startswith(b"HTTP/1.1 200"):
                print(host, flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        redis_server, port = RedisServer(Path(directory)), free_port()
        server = Server(
            Path(directory),
            redis_server.port,
            port=port,
            config={"port": port},
            environ={"PORT": ""},
            wait=False,
        )
        with contextlib.closing(redis_server), contextlib.ExitStack() as stack:
            stack.callback(server.stop)
            eventually(lambda: server.log_text().count("following stream") == 1, "it follows")
            print("started")
            show(server)
            config, server.port = Path(directory) / f"config-{port}.json", free_port()
            config.write_text(json.dumps({"port": server.port}))
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: server.log_text().count("following stream") == 2, "it follows again")
            print("moved")
            show(server)


if __name__ == "__main__":
    main()
