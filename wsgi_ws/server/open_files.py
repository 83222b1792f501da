# SPDX-License-Identifier: Apache-2.0
"""How many files a worker may open, and how many it needs: one for each socket, and some more.

Clients may not take the last ones: a connection to Redis that is lost then could not come back
while they stay, and all of them would wait for events in vain.
"""

from __future__ import annotations

import logging
import resource
import sys

log = logging.getLogger(__name__)

OTHER = 64  # Redis, logs, StatsD, the loop and the listener, with room to spare: the reserve
RESERVE = 32  # of these, kept from clients; Prometheus may use half of it


def needed(max_total_connections: int) -> int:
    """Descriptors that a worker with so many sockets needs."""
    return max_total_connections + OTHER


def ceiling(reserve: int = RESERVE) -> int:
    """Descriptors from this number on are in the reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return soft - min(reserve, soft // 4)


def raise_limit(max_total_connections: int) -> None:
    """Raise the limit of open files as far as allowed, and warn when it can't be enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = needed(max_total_connections)
    if max_total_connections and hard != resource.RLIM_INFINITY and wanted > hard:
        log.warning(
            "maxTotalConnections is %d, but a worker may open only %d files: "
            "raise the limit (ulimit -n, LimitNOFILE=) to at least %d",
            max_total_connections,
            hard,
            wanted,
        )
