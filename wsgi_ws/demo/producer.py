# SPDX-License-Identifier: Apache-2.0
"""Sample queries: the events of one, and the pauses between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from wsgi_ws.superset.producer import Event, event


def events(channel: str, job_id: str, *, fails: bool = False) -> Iterator[Event]:
    """The life of one query: pending, running, then done or error."""
    yield event(channel, job_id=job_id, status="pending")
    yield event(channel, job_id=job_id, status="running")
    if fails:
        errors = [{"message": "Sample error: no such table"}]
        yield event(channel, job_id=job_id, status="error", errors=errors)
    else:
        yield event(channel, job_id=job_id, result_url=f"/api/v1/chart/data/qc-{job_id}")


def run_query(
    channel: str,
    job_id: str,
    send: Callable[[Event], None],
    pause: Callable[[float], object],
    *,
    fails: bool = False,
) -> None:
    """Send a query's events with about 1.5 s from the first to the last."""
    for update in events(channel, job_id, fails=fails):
        send(update)
        if update["status"] in ("pending", "running"):
            pause(random.uniform(0.5, 1.0))
