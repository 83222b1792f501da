# SPDX-License-Identifier: Apache-2.0
"""A redis-server that a script holds up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import redis

from testbed.servers import RedisServer, eventually


@contextlib.contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """A script that does not end before this does. Redis refuses PUBLISH meanwhile."""
    server.client.config_set("busy-reply-threshold", 100)
    # By default redis-py gives up after five seconds and sends the script once more: it then runs
    # after the first one's end.
    other = redis.Redis(port=server.port, socket_timeout=None)

    def spin() -> None:
        with contextlib.suppress(redis.ResponseError):  # it is killed
            other.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        eventually(lambda: _is_busy(server), "Redis is busy")
        yield
    finally:
        server.client.script_kill()
        thread.join()
        other.close()


def _is_busy(server: RedisServer) -> bool:
    try:
        server.client.exists("")  # PING may be refused for other reasons
    except redis.ResponseError as error:
        return "busy" in str(error)
    return False
