# SPDX-License-Identifier: Apache-2.0
"""Sample queries: the events of one, or its messages, and the pauses between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wsgi_ws.superset.names import BROADCAST, ENTITY_CHANGED, TASK_STATUS
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


class Message(NamedTuple):
    """What Superset 7 publishes: the arguments of `superset.realtime.publish`."""

    topic: str
    scope: str
    payload: dict[str, Any]
    routes: list[str] | None = None


def run_task(
    principal: str,
    number: int,
    task_id: str,
    send: Callable[[Message], None],
    pause: Callable[[float], object],
    *,
    fails: bool = False,
) -> None:
    """Send a task's messages as Superset 7 does: everybody hears of each change, whoever waits for
    the task that it has ended."""
    changed = Message(ENTITY_CHANGED, BROADCAST, {"entity_type": "task", "id": number})
    for _ in range(2):
        send(changed)
        pause(random.uniform(0.5, 1.0))
    send(changed)
    payload = {"task_id": task_id, "status": "failure" if fails else "success"}
    send(Message(TASK_STATUS, "principal", payload, [principal]))
