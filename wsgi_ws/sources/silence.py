# SPDX-License-Identifier: Apache-2.0
"""Sockets are open, and nothing has ever come for them: a sign that two settings differ."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from wsgi_ws.hub import Hub
from wsgi_ws.sources.link import Link


def lasts(
    is_silent: Callable[[], bool], hub: Hub, link: Link, *, patience: float, interval: float
) -> bool:
    """Wait until there have been sockets for so long and Redis was read, but nothing has come.

    :param patience: seconds.
    :param interval: seconds between two looks.
    :returns: False as soon as something has come.
    """
    silence = 0.0
    while is_silent():
        if silence >= patience:
            return True
        gevent.sleep(interval)
        is_waited_for = len(hub) and link.connected.is_set()
        silence = silence + interval if is_waited_for else 0.0
    return False
