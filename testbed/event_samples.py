# SPDX-License-Identifier: Apache-2.0
"""Events for tests: one of Superset's, any object, and nesting of any depth."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from wsgi_ws.event import frame_of, head_of

ID = b"1700000000000-3"
EVENT: dict[str, Any] = {
    "channel_id": "c1",
    "job_id": "j1",
    "user_id": None,
    "status": "done",
    "errors": [],
    "result_url": "/api/v1/chart/data/qc-1",
}
DEPTHS = [10, 250, 300, 900, 990, 1000, 1023, 1100, 5000, 100_000]


def frame(data: bytes) -> bytes:
    return frame_of(ID, data, head_of(data))


def dumped(event: object) -> bytes:
    return json.dumps(event).encode()


def nested(depth: int) -> bytes:
    return b'{"channel_id":"c1","job_id":"j1","errors":' + b"[" * depth + b"]" * depth + b"}"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=8)
