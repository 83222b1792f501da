# SPDX-License-Identifier: Apache-2.0
"""Other servers of the same protocol, measured beside this one in the same minutes.

- `bun`: a minimal program on the fastest WebSocket stack there is (uWebSockets, C++), bun.ts beside
  this file; where BUN names its executable, or it is on PATH (`npm install @oven/bun-linux-x64`).
- `node`: the server that this one replaces, of which each version has one transport; where
  NODE_SERVER (streams) or NODE_SERVER_REALTIME names a built tree of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wsgi_ws.transport import Transport

HERE = Path(__file__).parent


class Peer(NamedTuple):
    """A server that finds PORT, REDIS_PORT and JWT_SECRET in its environment.

    :ivar directory: where its command is run.
    :ivar transports: those that it has.
    """

    name: str
    command: Sequence[str]
    directory: Path = HERE.parent
    transports: Sequence[Transport] = tuple(Transport)


# The least that a server in Python can do: for latencies only, always there.
STRAIGHT_LINE = Peer("straight line", (sys.executable, "-m", "bench.straight_line"))
NODE_PROGRAM = "dist/index.js"
NODE_SERVERS = {
    "NODE_SERVER": Transport.STREAMS,
    "NODE_SERVER_REALTIME": Transport.REALTIME,
}


class PeerNotFound(Exception):
    """A variable names a server that is not there. The text says what to do."""


def found() -> Iterator[Peer]:
    """Those that are on this machine.

    :raises PeerNotFound: when a variable names one that is not: a table without it would mislead.
    """
    bun = os.environ.get("BUN") or shutil.which("bun")
    if bun:
        if shutil.which(bun) is None:
            raise PeerNotFound(f"BUN={bun} is no program: name the executable of Bun")
        yield Peer("bun", (bun, str(HERE / "bun.ts")))
    for variable, transport in NODE_SERVERS.items():
        tree = os.environ.get(variable)
        if tree:
            if not Path(tree, NODE_PROGRAM).is_file():
                raise PeerNotFound(
                    f"{variable}={tree} has no {NODE_PROGRAM}: name the directory of the server, "
                    "after `npm ci && npm run build` there"
                )
            if shutil.which("node") is None:
                raise PeerNotFound(f"{variable} needs node, which is not on PATH")
            yield Peer("node", ("node", NODE_PROGRAM, "start"), Path(tree), (transport,))
